"""The version of a model that a round may replace, where that is not the round's own parent."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

from napari_unet_seg.data.roles import channel_order
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description, file_hash, load_checkpoint
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Incumbent:
    """The version in use, whatever it was made of: its network may be another than the parent's."""

    network: Network
    """In evaluation mode."""

    description: Description

    @property
    def learned(self) -> frozenset[str]:
        """`Scan.fingerprints` of what it has learned."""
        return frozenset(self.description.training.get("learned", []))

    def held_back_dice(self, fingerprints: Collection[str]) -> float | None:
        """What it scored on some slices when they were held back from its own round; None where others were."""
        training = self.description.training
        record = training.get("round")
        scored = record.get("after") if isinstance(record, dict) else None
        if not isinstance(scored, int | float) or set(training.get("held_back", [])) != set(fingerprints):
            return None
        return float(scored)


def in_use(line: VersionLine, parent_hash: str) -> str:
    """SHA-256 of what the line gives now; of the parent, where it has nothing yet."""
    return file_hash(line.path) if line.path.is_file() else parent_hash


def find_incumbent(line: VersionLine, parent_hash: str) -> Incumbent | None:
    """What a promoted round would replace; None if that is its parent.

    Raises
    ------
    InputError
        If the file is damaged, or a model of several classes, which no round can make.
    """
    if in_use(line, parent_hash) == parent_hash:
        return None
    network, description = load_checkpoint(line.path)
    if description.network.classes != 1:
        raise InputError(f"model {line.name!r} has several classes, and a round makes one of one; choose another name")
    return Incumbent(network=network, description=description)


def check_comparable(incumbent: Incumbent, volume: Volume, *, name: str) -> None:
    """Raise InputError where the version in use cannot see what a round is trained on, before anything is trained.

    Parameters
    ----------
    incumbent : Incumbent
    volume : Volume
        A scan of the round, its channels as the round's parent takes them.
    name : str
        The model's.
    """
    with suppress(InputError):
        channel_order(volume, incumbent.description.channel_names)
        return
    wanted = ", ".join(incumbent.description.channel_names)
    raise InputError(
        f"model {name!r} takes other channels ({wanted}) than the model that the round begins with "
        f"({', '.join(volume.channel_names)}), so the two cannot be compared; choose another name"
    )
