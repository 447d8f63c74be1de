"""Scores of one fold at many settings: its held-out patients are predicted once, and masks made in every way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_unet_seg.data.case import Case
from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import patient_of
from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, read_description
from napari_unet_seg.engine.evaluate import CaseScores, SliceScores, score_case
from napari_unet_seg.engine.postprocess import any_class, mask_from_probability
from napari_unet_seg.engine.segmenter import Segmenter
from napari_unet_seg.errors import InputError
from training.report.held_out import unseen_cases
from training.report.mask_settings import Setting

Scored = tuple[CaseScores, list[SliceScores]]


@dataclass(frozen=True, kw_only=True)
class FoldSettings:
    """What the held-out patients of one checkpoint score at every setting."""

    checkpoint: Path
    scores: Mapping[Setting, Sequence[Scored]]
    """The cases in the same order everywhere."""

    def dice(self, setting: Setting) -> dict[str, float]:
        """Volume Dice by case."""
        return {case.case: case.dice for case, _ in self.scores[setting]}


def held_out_cases(checkpoints: Sequence[Path], dataset: Dataset) -> tuple[Setting, list[list[Case]]]:
    """The checkpoints' own setting, and the labelled cases that each of them holds out.

    Raises
    ------
    InputError
        If there are fewer than two, one holds out nothing that has a mask or a patient it was trained on, two hold out
        the same patient, or they differ in recipe or setting.
    """
    if len(checkpoints) < 2:
        problem = "alone leaves no other fold to choose a threshold on; give two checkpoints or more"
        raise InputError(problem, path=checkpoints[0])
    first = read_description(checkpoints[0])
    owner: dict[str, Path] = {}
    folds = []
    for path in checkpoints:
        description = read_description(path)
        folds.append(unseen_cases(path, description, dataset))
        patients = {patient_of(case.case_id) for case in folds[-1]}
        if twice := patients & owner.keys():
            other = owner[min(twice)].name
            raise InputError(f"{min(twice)} is held out by another checkpoint too: {other}", path=path)
        if _kind(description) != _kind(first):
            other = checkpoints[0].name
            raise InputError(f"is of another recipe, threshold or rule about pieces than {other}", path=path)
        owner |= dict.fromkeys(patients, path)
    return Setting.of(first), folds


def _kind(description: Description) -> tuple[object, Setting]:
    return description.training.get("recipe"), Setting.of(description)


def score_fold_settings(
    checkpoint: Path,
    cases: Sequence[Case],
    settings: Sequence[Setting],
    *,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> FoldSettings:
    """Predict cases, once without and once with the mirror image, and score them at every setting.

    Parameters
    ----------
    checkpoint : Path
    cases : sequence of Case
        With masks.
    settings : sequence of Setting
    device : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".
    progress : callable, optional
        Called with the id of each case that is done.
    """
    network, description = load_checkpoint(checkpoint)
    scores: dict[Setting, list[Scored]] = {setting: [] for setting in settings}
    segmenters = {
        flip: Segmenter(network, replace(description, flip=flip), device=device)
        for flip in sorted({setting.flip for setting in settings})
    }
    for case in cases:
        truth, volume = case.read_mask(), case.read_image()
        assert truth is not None
        for flip, segmenter in segmenters.items():
            probability = segmenter.predict(volume)
            # Rules often come to the same mask; the distance between the surfaces takes time.
            known: dict[bytes, Scored] = {}
            for setting in settings:
                if setting.flip != flip:
                    continue
                mask = mask_from_probability(
                    probability,
                    threshold=setting.threshold,
                    largest_component=setting.largest_component,
                    min_fraction=setting.min_fraction,
                )
                key = mask.tobytes()
                if key not in known:
                    known[key] = score_case(
                        case.case_id,
                        y_pred=mask,
                        probability=any_class(probability),
                        y=truth,
                        labelled=case.labelled_slices(),
                        spacing=volume.spacing,
                        voxel_ml=volume.voxel_ml,
                    )
                scores[setting].append(known[key])
        if progress is not None:
            progress(case.case_id)
    return FoldSettings(checkpoint=checkpoint, scores=scores)
