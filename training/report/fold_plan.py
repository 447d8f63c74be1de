"""Which patients are in which fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from napari_unet_seg.data.splits import patient_folds, patient_of
from napari_unet_seg.errors import InputError
from training.json_file import save_json
from training.split import read_folds


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Folds of a dataset, and where they come from."""

    folds: list[list[str]]
    """Case ids."""

    source: str
    """In words, for the report."""

    def save(self, path: Path) -> None:
        """Write the JSON that ``training.run --folds`` reads.

        Jobs on several nodes may do so at the same time: each writes the same.

        Raises
        ------
        InputError
            If other folds lie there already, or it cannot be written.
        """
        if path.exists() and read_folds(path) != self.folds:
            raise InputError("holds other folds than these; choose another --output, or remove it", path=path)
        save_json(path, {"source": self.source, "folds": self.folds})


def plan_folds(labelled: Collection[str], *, file: Path | None = None, count: int = 5, seed: int = 0) -> FoldPlan:
    """The folds of a file where its case ids are those of the dataset, else patients drawn at random.

    Parameters
    ----------
    labelled : collection of str
        Cases of the dataset that have a mask.
    file : Path, optional
        JSON with the key ``folds``. It may name cases that the dataset does not have; every labelled case of the
        dataset has to be in exactly one fold, and no patient in two.
    count, seed : int
        Of the folds that are drawn.

    Raises
    ------
    InputError
        If the file is no such file, there are fewer patients than folds, or the seed is negative.
    """
    if seed < 0:
        raise InputError(f"the seed that folds are drawn with must not be negative, got {seed}")
    drawn = f"{count} folds drawn by patient, every site spread over them, seed {seed}"
    if file is None:
        return FoldPlan(folds=patient_folds(labelled, count=count, seed=seed), source=drawn)
    folds = [[case_id for case_id in fold if case_id in set(labelled)] for fold in read_folds(file)]
    problem = _problem(folds, labelled)
    if not problem:
        return FoldPlan(folds=folds, source=file.name)
    return FoldPlan(
        folds=patient_folds(labelled, count=count, seed=seed), source=f"{drawn} ({file.name} was not used: {problem})"
    )


def _problem(folds: list[list[str]], labelled: Collection[str]) -> str:
    """Why folds do not apply to a dataset, or ``""``."""
    times = Counter(case_id for fold in folds for case_id in fold)
    if missing := sorted(set(labelled) - set(times)):
        return f"{len(missing)} of {len(labelled)} cases are in no fold of it, {missing[0]} for one"
    if len(folds) < 2 or not all(folds):
        return "a fold of it has no case of this dataset"
    if twice := [case_id for case_id, number in times.items() if number > 1]:
        return f"{twice[0]} is in two folds"
    patients = Counter(patient for fold in folds for patient in {patient_of(case_id) for case_id in fold})
    if twice := [patient for patient, number in patients.items() if number > 1]:
        return f"the patient {twice[0]} is in two folds"
    return ""
