"""What is known of a case while its dataset is open: what was read, what a model said, the work on it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.scan import slice_numbers
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.errors import InputError
from napari_unet_seg.probability_map import MaskRule, ProbabilityMap
from napari_unet_seg.working_mask import SliceState, WorkingMask

if TYPE_CHECKING:
    from napari_unet_seg.data.autosave import Autosave
    from napari_unet_seg.data.dataset import Case, Dataset


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What the dataset has of a case's mask, as it was read."""

    mask: Mask | None = None
    """``(Z, Y, X)``; None where there is none."""

    corrected: tuple[int, ...] = ()
    """Slices of it that were corrected and saved."""

    saves: int = 0
    """Saves of the case from this window before it was read; after another one it is outdated."""

    def mask_of(self, shape: tuple[int, ...]) -> Mask | None:
        """The mask, empty where there is none; None if it has another shape, ``(Z, Y, X)``."""
        if self.mask is None:
            return np.zeros(shape, np.uint8)
        return self.mask if self.mask.shape == shape else None


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedCase:
    """A case's pixels, read."""

    case: Case
    volume: Volume
    truth: Mask | None
    """``(Z, Y, X)`` uint8, as it was before any correction; None where the dataset came without a mask of it."""

    labelled: NDArray[np.bool_]
    """``(Z,)``: slices that the truth speaks of."""

    reading: Reading = field(default_factory=Reading)
    """The mask as it is now, corrections included."""

    autosaved: Autosave | None = None
    """Edits that were never saved, because the program ended."""

    image_hash: str = ""
    """By which the scan is known again; see `engine.image_hash`."""

    adaptation: str = ""
    """Name of the model that was adapted to this scan; empty for none."""

    own_model: str = ""
    """Name of the model that rounds for this scan went to, also where none of them is in use; empty for none."""

    mask_notes: tuple[str, ...] = ()
    """What had to be assumed to read the mask, in words for the user."""

    mask_problem: InputError | None = None
    """Why the mask cannot be read; `truth` is None then, and `reading` has no mask to be shown."""

    @property
    def corrected(self) -> tuple[int, ...]:
        """Slices that were corrected and saved before."""
        return self.reading.corrected


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model said of a volume, or of one slice of it."""

    probability: ProbabilityMap | NDArray[np.float32]
    """Of the volume; or of the slice, ``(Y, X)`` or ``(K, Y, X)``."""

    z: int | None = None
    """The slice it is of; None for the volume."""

    model: str
    model_hash: str = ""
    """SHA-256 of its file as it was then: a round puts another one under the name."""

    min_fraction: float | None = None
    """As the model has it, see `MaskRule`; None where it does not say."""

    seconds: float


@dataclass(kw_only=True, eq=False)
class Work:
    """The segmentation of one scan as far as it has come."""

    mask: WorkingMask
    probability: ProbabilityMap
    case_id: str = ""
    """The case of the dataset that it is of; empty for images that belong to none."""

    begun: bool = False
    """It began as a mask to be corrected, without a model."""

    model: str = ""
    """Name of the model that made it."""

    model_hash: str = ""
    """SHA-256 of the file that the name stood for then."""

    successor: str = ""
    """Name of the model that a round, or going back a version, has put in its place since; empty for none."""

    min_fraction: float | None = None
    """That model's own: the one adapted to a scan leaves out other pieces than the model for all scans."""

    rule: MaskRule = field(default_factory=MaskRule)
    scores: list[float] = field(default_factory=list)
    """Dice of the volume against the ground truth, after each segmentation and each save."""

    scored_by: Hashable = None
    """What tells that ground truth from another one, that a later dock may have the history go on."""

    @property
    def is_bare(self) -> bool:
        """Whether there is at most what was saved or painted: no model's mask, and none that it began as."""
        return not self.begun and not self.probability.known.any()

    def speaks_of(self, z: int) -> bool:
        """Whether there is more to slice `z` than what was saved of it: a model's mask, or the one that it began as."""
        return self.begun or bool(self.probability.known[z])

    def is_blank(self, z: int) -> bool:
        """Whether slice `z` is empty because nobody and no model has said anything of it."""
        return not self.speaks_of(z) and self.mask.is_open(z)

    def has_blanks(self) -> bool:
        """Whether there is such a slice; only those that may have been changed are compared."""
        if self.begun or self.probability.known.all():
            return False
        return any(state is SliceState.OPEN and not self.speaks_of(z) for z, state in enumerate(self.mask.states()))

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        return self.mask.data.nbytes + self.mask.model.nbytes + self.probability.data.nbytes


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What the files have of a case."""

    truth: bool
    """It came with a mask."""

    corrected: int
    """Slices that were corrected and saved."""

    kept: bool = False
    """Edits of it were kept that nobody has saved."""

    def words(self, work: Work | None) -> tuple[str, ...]:
        """What there is of the case, in words.

        ``ground truth`` (or ``no mask``), then how far it has come: ``predicted``, ``3 corrected`` (saved),
        ``2 unsaved``; ``edits kept`` where those are of an earlier window, and not shown in this one yet.

        Parameters
        ----------
        work : Work or None
            What is being done to it in this window.
        """
        unsaved = 0
        if work is not None:
            unsaved = sum(state in (SliceState.EDITED, SliceState.ACCEPTED) for state in work.mask.states())
        words = ["ground truth"] if self.truth else []
        if self.corrected:
            words.append(f"{self.corrected} corrected")
        if unsaved:
            words.append(f"{unsaved} unsaved")
        elif work is not None and not self.corrected and work.probability.known.any():
            words.append("predicted")
        elif work is None and self.kept:
            words.append("edits kept")
        return tuple(words) or ("no mask",)


@dataclass(frozen=True, kw_only=True, eq=False)
class Overlay:
    """The open dataset once more, read with its corrections in a folder of their own."""

    dataset: Dataset
    stored: Mapping[str, Stored]
    """What the files have of each case, that folder included; by the case's name."""

    reading: Reading | None = None
    """What they have of the open case."""

    problem: InputError | None = None
    """Why that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What came of showing a prediction."""

    slices: list[int]
    """Slices of the mask that were changed."""

    kept: list[int]
    """Slices that keep a person's edit."""

    def kept_text(self) -> str:
        """What was kept, as a sentence to be appended; empty for nothing."""
        if not self.kept:
            return ""
        return f" Slice{'s' if len(self.kept) > 1 else ''} {slice_numbers(self.kept)} edited by hand: kept."
