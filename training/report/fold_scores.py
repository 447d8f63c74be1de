"""Scores of one fold: a model on the cases that its own header names as held out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.engine.checkpoint import file_hash
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores, score_cases
from napari_unet_seg.engine.metrics import Counts
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.errors import InputError, reading
from training.json_file import save_json
from training.report.held_out import unseen_cases


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """What one model scores on the patients it has not seen."""

    fold: int
    """Its number, from 0."""

    checkpoint: Path
    sha256: str
    """Of the checkpoint, so that scores of an older one are not taken for its own."""

    recipe: str
    training: dict[str, Any]
    """How it was trained, as its header says, without the lists of cases."""

    spacing_assumed: int
    """Cases whose files do not say their spacing: their ml and mm are those of voxels of 1 mm."""

    cases: list[CaseScores]
    slices: list[SliceScores]
    slice_counts: list[int] | None = None
    """How many of the slices are of each case, in order; None where an older version has not written it."""

    def only(self, case_ids: Container[str]) -> FoldScores:
        """The scores of those of its cases that are named.

        Raises
        ------
        InputError
            If it is not known which slices are theirs.
        """
        kept = [scores.case in case_ids for scores in self.cases]
        if all(kept):
            return self
        if any(kept) and self.slice_counts is None:
            problem = "does not say which slices are whose; delete it, and training.cross_validate --gather scores anew"
            raise InputError(problem, path=self.checkpoint.with_suffix(".json"))
        counts, slices = self.slice_counts or [0] * len(kept), iter(self.slices)
        parts = [(scores, list(islice(slices, count))) for scores, count in zip(self.cases, counts, strict=True)]
        chosen = [part for part, wanted in zip(parts, kept, strict=True) if wanted]
        return replace(
            self,
            cases=[scores for scores, _ in chosen],
            slices=[one for _, several in chosen for one in several],
            slice_counts=[len(several) for _, several in chosen],
        )

    def save(self, path: Path) -> None:
        """Write as JSON, the checkpoint by its way from there, so that both can be moved; InputError if that fails."""
        checkpoint = self.checkpoint.parent.resolve() / self.checkpoint.name
        # From one drive of Windows to another there is no way.
        if checkpoint.anchor == path.resolve().anchor:
            checkpoint = Path(os.path.relpath(checkpoint, path.parent.resolve()))
        save_json(path, asdict(self) | {"checkpoint": checkpoint.as_posix()})

    @classmethod
    def load(cls, path: Path) -> FoldScores:
        """Read what `save` has written.

        Raises
        ------
        InputError
            If the file cannot be read, or the checkpoint is another one by now.
        """
        try:
            with reading(path):
                content = json.loads(path.read_text())
            checkpoint = path.parent / content.pop("checkpoint")
            cases = [CaseScores(**item) for item in content.pop("cases")]
            slices = [SliceScores(**item | {"counts": Counts(**item["counts"])}) for item in content.pop("slices")]
            found = cls(checkpoint=checkpoint, cases=cases, slices=slices, **content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("holds no scores of a fold; run that fold again", path=path) from error
        if not checkpoint.is_file():
            where = "beside it" if checkpoint.parent == path.parent else f"in {checkpoint.parent}"
            raise InputError(f"its checkpoint {checkpoint.name} is not {where}; copy it there", path=path)
        if file_hash(checkpoint) != found.sha256:
            raise InputError(f"{checkpoint.name} was written anew since; run that fold again", path=path)
        return found


def scored_checkpoint(path: Path) -> Path:
    """The checkpoint whose scores `FoldScores.save` has written, whether it is there or not; InputError if none is."""
    try:
        with reading(path):
            checkpoint: str = json.loads(path.read_text())["checkpoint"]
        return path.parent / checkpoint
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("holds no scores of a fold; delete it, or give another --output", path=path) from error


def score_fold(
    checkpoint: Path,
    dataset: Dataset,
    *,
    fold: int,
    device: str = "auto",
    progress: Callable[[CaseScores], None] | None = None,
) -> FoldScores:
    """Score a model on its held-out cases.

    Parameters
    ----------
    checkpoint : Path
        Its header names the cases held out.
    dataset : Dataset
        It has those cases, with masks.
    fold : int
        The number of the fold.
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    progress : callable, optional
        Called with the scores of each case.

    Raises
    ------
    InputError
        See `unseen_cases`.
    """
    segmenter = load_model(checkpoint, device=device)
    unseen = unseen_cases(checkpoint, segmenter.description, dataset)
    cases, slices = score_cases(unseen, segmenter, progress=progress)
    lists = ("held_out", "cases", "cases_before")
    training = {key: value for key, value in segmenter.description.training.items() if key not in lists}
    return FoldScores(
        fold=fold,
        checkpoint=checkpoint,
        sha256=file_hash(checkpoint),
        recipe=str(training.get("recipe", segmenter.description.name)),
        training=training,
        spacing_assumed=sum(not dataset[scores.case].read_image().spacing_known for scores in cases),
        cases=cases,
        slices=slices,
        slice_counts=[int(dataset[scores.case].labelled_slices().sum()) for scores in cases],
    )
