"""Which slices train, validate and test: by patient, by slice as the Keras projects have it, or as folders say.

The functions know case ids and slice numbers alone, and give the same split for the same seed, whatever the order in
which the cases come.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

import numpy as np

from napari_unet_seg.data.layouts.folder_pairs import SPLITS
from napari_unet_seg.data.scan import natural_key
from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    # To read scans takes a quarter of a second to import, which a model that is loaded has no need of.
    from napari_unet_seg.data.case import Case
    from napari_unet_seg.data.dataset import Dataset

Part = Literal["train", "validation", "test"]
SliceId = tuple[str, int]
"""A case id and the number of a slice in it, from 0."""

PARTS: tuple[Part, ...] = get_args(Part)
LEAKY = "slice split (leaky)"
"""What every figure is labelled with whose test slices have neighbours, in the same patient, that trained."""

_Item = TypeVar("_Item")
_TCGA = re.compile(r"TCGA[_-](?P<site>[0-9A-Z]{2})[_-][0-9A-Z]{4}(?![0-9A-Z])")
_PUBLISHED = (
    _TCGA,
    # A last number counts the scans of a patient.
    re.compile(r"BraTS(?:-[A-Za-z]+)+-[0-9]+(?=-[0-9])"),
    re.compile(r"brats_[0-9a-z]+_pat[0-9]+(?=_[0-9])"),
    re.compile(r"UPENN-GBM-[0-9]+(?=_[0-9])"),
    re.compile(r"UCSF-PDGM-[0-9]+(?=_)"),
    re.compile(r"OAS[12]_[0-9]{4}(?=_MR[0-9])|OAS3[0-9]{4}(?=_MR_d[0-9])"),
    re.compile(r"(?:ADNI_)?[0-9]{3}_S_[0-9]{4}(?=_|$)"),
)
"""Names of public datasets: whatever folder they lie in, a patient has one."""

_NUMBERED = re.compile(
    r"sub-[0-9A-Za-z]+(?=[_.]|$)|(?i:patient|subject|subj|pat)[0-9]+(?=[_-]|$)"
    # Of two numbers that both stand apart, either may be the patient's.
    r"|(?i:patient|subject)[_-][0-9]+(?=[_-][A-Za-z]|$)"
)
"""A patient by a number, as in BIDS; unique in its folder."""

_PART_OF_SCAN = re.compile(
    # What has no number of its own, as "brain_slice_3", is hardly a patient.
    r"(?i:(?P<patient>(?:patient|subject).*?|.*?[0-9].*?)"
    r"(?:[_-](?:slice|slc|frame|z|ses|session|visit|timepoint|tp|week)[_-]?[0-9]+)+(?:_(?:png|jpe?g|tiff?))?)"
)
_EXPORTED = re.compile(r"(?P<picture>.+)\.rf\.[0-9a-f]{16,}")
_PART_OF_NAME: dict[str, Part] = {name: part for part, names in zip(PARTS, SPLITS, strict=True) for name in names}
_FOLDER = re.compile(
    rf"(?:instances_)?(?P<name>{'|'.join(sorted(_PART_OF_NAME, key=len, reverse=True))})(?:[_-][a-z]+)?(?:\.json)?"
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where every slice belongs; the slices of a part lie in the order in which they were drawn."""

    train: tuple[SliceId, ...]
    validation: tuple[SliceId, ...]
    test: tuple[SliceId, ...]

    def part(self, name: Part) -> tuple[SliceId, ...]:
        """The slices of one part."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def by_case(self, name: Part) -> dict[str, list[int]]:
        """Slice numbers of one part, ascending, by case id in natural order."""
        found: dict[str, list[int]] = {}
        for case_id, z in self.part(name):
            found.setdefault(case_id, []).append(z)
        return {case_id: sorted(found[case_id]) for case_id in sorted(found, key=natural_key)}

    @property
    def leaky(self) -> bool:
        """Whether a patient who validates or tests has slices that train."""
        trained = {patient_of(case_id) for case_id, _ in self.train}
        return any(patient_of(case_id) in trained for case_id, _ in (*self.validation, *self.test))

    def unseen_cases(self, name: Part = "test") -> list[str]:
        """Cases with slices in a part, of whose patient no slice is in another one, in natural order."""
        others = {patient_of(case_id) for part in PARTS if part != name for case_id, _ in self.part(part)}
        return [case_id for case_id in self.by_case(name) if patient_of(case_id) not in others]


def patient_of(case_id: str) -> str:
    """The patient a case is of, by its name.

    ``TCGA_CS_4941_19960909`` is a scan of ``TCGA_CS_4941``, ``BraTS-GLI-00001-000`` one of ``BraTS-GLI-00001``,
    ``sub-01_ses-02`` (BIDS) one of ``sub-01``, and ``patient07_slice12`` a slice of ``patient07``;
    ``96_jpg.rf.<hash>`` is one of the copies of ``96_jpg`` that an export with augmentation has made. Any other case
    counts as a patient by itself.
    """
    if found := _named_patient(case_id):
        return found
    exported = _EXPORTED.fullmatch(case_id)
    return "/".join(_folders_and_name(exported["picture"])) if exported else case_id


def pictures_of_unknown(depths: Mapping[str, int]) -> list[str]:
    """Cases of a single slice whose name tells no patient: several may well be of one, and each counts as one.

    Parameters
    ----------
    depths : mapping of str to int
        Slices of each case.
    """
    return [case_id for case_id, depth in depths.items() if depth == 1 and not _named_patient(case_id)]


def site_of(case_id: str) -> str:
    """The hospital in a TCGA id, the two letters after ``TCGA_``; ``""`` where the id is of another kind."""
    found = _TCGA.match(case_id)
    return found["site"] if found else ""


def _named_patient(case_id: str) -> str:
    """The patient that a name tells, or ``""``."""
    if exported := _EXPORTED.fullmatch(case_id):
        case_id = exported["picture"]
    parts = _folders_and_name(case_id)
    for part in parts:
        for pattern in _PUBLISHED:
            if found := pattern.match(part):
                return found.group(0).removeprefix("ADNI_")
    for place, part in enumerate(parts):
        if found := _NUMBERED.match(part):
            return "/".join([*parts[:place], found.group(0)])
    if found := _PART_OF_SCAN.fullmatch(parts[-1]):
        return "/".join([*parts[:-1], found["patient"]])
    return ""


def _folders_and_name(case_id: str) -> list[str]:
    """The parts of a case id, without folders that are named after a part of a split: a patient may lie in several."""
    *folders, name = case_id.split("/")
    return [*(folder for folder in folders if not _FOLDER.fullmatch(folder.lower())), name]


def labelled_slices(cases: Iterable[Case]) -> dict[str, list[int]]:
    """The slices that have a mask, by case id, as the functions here take them; cases without one are left out."""
    found = {case.case_id: [int(z) for z in np.flatnonzero(case.masked_slices())] for case in cases if case.has_mask}
    return {case_id: numbers for case_id, numbers in found.items() if numbers}


def by_patient(
    slices: Mapping[str, Sequence[int]], *, train: float, validation: float, test: float = 0.0, seed: int = 0
) -> Split:
    """Every slice of a patient into one part, drawn at random.

    Parameters
    ----------
    slices : mapping of str to sequence of int
        The labelled slices of each case.
    train, validation, test : float
        Shares of the patients; together 1.
    seed : int
        Seed of the draw.

    Raises
    ------
    ValueError
        If the shares are negative or do not add up to 1.
    InputError
        If there are too few patients to give each wanted part one.
    """
    patients: dict[str, list[SliceId]] = {}
    for case_id in sorted(slices, key=natural_key):
        patients.setdefault(patient_of(case_id), []).extend((case_id, z) for z in sorted(slices[case_id]))
    parts = _draw(list(patients), (train, validation, test), seed=seed, what="patients")
    groups = [tuple(one for patient in part for one in patients[patient]) for part in parts]
    return Split(train=groups[0], validation=groups[1], test=groups[2])


def by_slice(
    slices: Mapping[str, Sequence[int]], *, train: float, validation: float, test: float = 0.0, seed: int = 0
) -> Split:
    """Every slice by itself into a part, as the published Keras projects do. It flatters: label it `LEAKY`.

    The neighbours of almost every test slice train the network; see `by_patient` for the parameters.
    """
    all_slices = [(case_id, z) for case_id in sorted(slices, key=natural_key) for z in sorted(slices[case_id])]
    parts = _draw(all_slices, (train, validation, test), seed=seed, what="labelled slices")
    return Split(train=tuple(parts[0]), validation=tuple(parts[1]), test=tuple(parts[2]))


def given(slices: Mapping[str, Sequence[int]], parts: Mapping[str, Part]) -> Split:
    """The split that a dataset comes with.

    Parameters
    ----------
    slices : mapping of str to sequence of int
        The labelled slices of each case.
    parts : mapping of str to {"train", "validation", "test"}
        The part of each case, from `parts_of_folders`.

    Raises
    ------
    InputError
        If a case is in none, or none trains.
    """
    groups: dict[Part, list[SliceId]] = {part: [] for part in PARTS}
    for case_id in sorted(slices, key=natural_key):
        if case_id not in parts:
            raise InputError(f"case {case_id} lies in no folder called train, valid or test; move it into one")
        groups[parts[case_id]] += [(case_id, z) for z in sorted(slices[case_id])]
    if not groups["train"]:
        raise InputError("no case with a mask lies in a folder called train")
    train, validation, test = (tuple(groups[part]) for part in PARTS)
    return Split(train=train, validation=validation, test=test)


def parts_of_folders(dataset: Dataset) -> dict[str, Part]:
    """The part of each case, by the folder or COCO file in the dataset, nearest to its mask, that is named after one.

    ``train/_annotations.coco.json``, ``annotations/instances_val.json``, ``val_mask/`` and ``masks/test`` are such; a
    case that lies in none is left out.
    """
    root = dataset.root if dataset.root.is_dir() else dataset.root.parent
    found: dict[str, Part] = {}
    for case in dataset:
        for name in reversed(case.scan.mask_files()[0].path.relative_to(root).parts):
            if match := _FOLDER.fullmatch(name.lower()):
                found[case.case_id] = _PART_OF_NAME[match["name"]]
                break
    return found


def patient_folds(case_ids: Iterable[str], *, count: int = 5, seed: int = 0) -> list[list[str]]:
    """Case ids in folds of about one size; no patient is in two, and every site is spread over all of them.

    Raises
    ------
    InputError
        If there are fewer patients than folds.
    """
    patients: dict[str, list[str]] = {}
    for case_id in sorted(case_ids, key=natural_key):
        patients.setdefault(patient_of(case_id), []).append(case_id)
    if count < 2 or len(patients) < count:
        raise InputError(f"{len(patients)} patients cannot be shared out among {count} folds")
    rng = np.random.default_rng(seed)
    names = [list(patients)[place] for place in rng.permutation(len(patients))]
    # One site after the other, dealt out like cards: the sort keeps the random order within a site.
    names.sort(key=site_of)
    return [
        sorted((case_id for name in names[fold::count] for case_id in patients[name]), key=natural_key)
        for fold in range(count)
    ]


def _draw(items: Sequence[_Item], shares: tuple[float, float, float], *, seed: int, what: str) -> list[list[_Item]]:
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"the shares of train, validation and test must add up to 1, got {shares}")
    ends = [round(float(share) * len(items)) for share in np.cumsum(shares)]
    order = [items[place] for place in np.random.default_rng(seed).permutation(len(items))]
    parts = [order[start:end] for start, end in zip([0, *ends[:2]], ends, strict=True)]
    if any(share > 0 and not part for share, part in zip(shares, parts, strict=True)):
        raise InputError(f"{len(items)} {what} are too few for a split of {shares[0]}, {shares[1]} and {shares[2]}")
    return parts
