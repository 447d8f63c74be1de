"""A network on disk: one safetensors file whose header says all there is to know about it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.config import Normalisation, UNetConfig
from napari_unet_seg.engine.field_types import fits
from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from napari_unet_seg.engine.network import Network

FORMAT = "napari-unet-seg/1"
_HEADER_KEY = "napari_unet_seg"
_LEARNED = ("cases", "cases_before")
"""Lists of a header's ``training``: cases of the training itself, and those that its parents had learned from."""
NOT_A_CHECKPOINT = "this is not a model of napari-unet-seg; models are .safetensors files (see `models list`)"


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a checkpoint's header says."""

    name: str
    network: UNetConfig
    channel_names: tuple[str, ...] = ("pre", "flair", "post")
    """The sequences, in the order the network takes them."""

    class_names: tuple[str, ...] = ("tumour",)
    threshold: float = 0.5
    """Probability from which a voxel belongs to the mask."""

    min_fraction: float = 0.0
    """Connected pieces smaller than this fraction of the largest one are left out of the mask."""

    largest_component: bool = False
    """Whether only the largest connected piece of the mask is kept, unless the user says otherwise."""

    flip: bool = False
    """Whether the prediction is the mean over the slice and its mirror image, left and right exchanged."""

    normalisation: Normalisation = "head-zscore"
    """How intensities are brought to one scale; see `normalise.statistics_for`."""

    resize: tuple[int, int] | None = None
    """Height and width that whole slices are resized to for the network; None: their head alone is cut out, at its own
    size."""

    input_size: tuple[int, int] = (224, 192)
    """Height and width of the patches it was trained on; any size can be predicted."""

    training: dict[str, Any] = field(default_factory=dict)
    """Recipe, data fingerprint, cases, split, seconds, versions."""

    metrics: dict[str, Any] = field(default_factory=dict)
    """Scores, each with the protocol it was measured under."""

    parent: str | None = None
    """SHA-256 of the checkpoint it was trained on from, if any."""

    licence: str = ""

    @property
    def trained_patients(self) -> set[str]:
        """Patients that it learned from, by `data.splits.patient_of`; empty where nobody noted that.

        Those that it learned from before, as the checkpoint that its training began with, are among them.
        """
        return {patient_of(case_id) for case_id in self.learned_cases}

    @property
    def learned_cases(self) -> list[str]:
        """The cases that it, and what its training began with, learned from."""
        return sorted({str(case_id) for key in _LEARNED for case_id in self.training.get(key, [])})

    @property
    def adapted_to(self) -> str | None:
        """The scan that it was adapted to, and is used for alone; None where it is for all."""
        return str(self.training.get("case")) if self.training.get("scope") == "scan" else None

    def __post_init__(self) -> None:
        if len(self.channel_names) != self.network.in_channels:
            raise ValueError(f"{len(self.channel_names)} channel names for {self.network.in_channels} channels")
        if len(self.class_names) != self.network.classes:
            raise ValueError(f"{len(self.class_names)} class names for {self.network.classes} classes")
        if self.normalisation not in get_args(Normalisation):
            raise ValueError(f"unknown normalisation {self.normalisation!r}")
        if self.resize is not None and (len(self.resize) != 2 or min(self.resize) < 8):
            raise ValueError(f"resize must be a height and a width of at least 8 pixels, got {self.resize}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must lie in 0..1, got {self.threshold}")

    def to_json(self) -> str:
        """The header's text."""
        return json.dumps({"format": FORMAT, **dataclasses.asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """The description in a header.

        Raises
        ------
        ValueError
            If the text is no description of this format.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError("the header is of another format")
        # A network that has more to it cannot be built here; what more is said of it does no harm.
        network = UNetConfig(**_checked(UNetConfig, values.pop("network", None)))
        known = get_type_hints(cls)
        plain = {key: value for key, value in values.items() if key in known}
        return cls(network=network, **_checked(cls, plain))


def _checked(kind: type, values: Any) -> dict[str, Any]:
    """What a dataclass is made of, lists as tuples; ValueError where a value is of another type than its field."""
    if not isinstance(values, dict):
        raise ValueError("there is no object")
    hints = get_type_hints(kind)
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key, value in given.items():
        if key in hints and not fits(value, hints[key]):
            raise ValueError(f"{key} cannot be {value!r}")
    return given


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_description(path: Path) -> Description:
    """The description of a checkpoint, without its weights and without torch.

    Raises
    ------
    InputError
        If the file is missing, truncated, or no checkpoint of ours.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError("there is no such model file; `models list` shows what there is", path=path)
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
        return Description.from_json(header[_HEADER_KEY])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(NOT_A_CHECKPOINT, path=path) from error


def load_checkpoint(path: Path) -> tuple[Network, Description]:
    """The network, in evaluation mode on the CPU, and its description.

    Raises
    ------
    InputError
        If the file is no checkpoint of ours, its weights are damaged or don't fit its description, or its network
        cannot be built here, see `build_network`.
    """
    description = read_description(path)
    weights = read_weights(path)

    import torch

    from napari_unet_seg.engine.networks import build_network

    try:
        # The weights drawn for it are replaced: the caller's random numbers go on as if there had been none.
        with torch.random.fork_rng(devices=[]):
            network = build_network(description.network)
        network.load_state_dict(weights)
    except InputError as error:
        raise InputError(error.problem, path=path) from error
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        # Of sizes that make no sense, torch says so in many ways.
        raise InputError("its weights do not fit its description; the file is damaged", path=path) from error
    return network.eval(), description


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint, on the CPU.

    Raises
    ------
    InputError
        If the file is damaged, or they are not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError("its weights cannot be read; the file is damaged", path=path) from error
    check_finite(weights, path=path)
    return weights


def check_finite(weights: Mapping[str, Tensor], *, path: Path) -> None:
    """Raise InputError for weights that are NaN or infinite: every mask would be empty, and nobody would know why."""
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values()):
        raise InputError("refused: it holds weights that are NaN or infinite, as a failed training leaves", path=path)


def checkpoint_bytes(network: Network, description: Description) -> bytes:
    """The content of a checkpoint's file."""
    from safetensors.torch import save

    # safetensors refuses channels-last weights.
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return bytes(save(weights, metadata={_HEADER_KEY: description.to_json()}))


def save_checkpoint(path: Path, network: Network, description: Description) -> None:
    """Write a checkpoint, all of it or nothing.

    Raises
    ------
    InputError
        If the folder cannot be written; what was at `path` is untouched.
    """
    write_bytes(path, checkpoint_bytes(network, description))
