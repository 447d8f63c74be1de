"""Where the sample case that ships with the package lies."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import napari_unet_seg


def sample_case_path() -> Path:
    """Folder of the sample: three sequences of one synthetic head with a glioma, and its true mask, as NIfTI.

    Raises
    ------
    FileNotFoundError
        If the package was installed without it, or is run from a zip archive.
    """
    folder = Path(str(files(napari_unet_seg).joinpath("resources", "sample")))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: the sample case is missing; install the package again")
    return folder


def own_sample(folder: Path) -> Path:
    """A copy of the sample that belongs to the user: corrections of it are kept, whatever becomes of the package.

    Parameters
    ----------
    folder : Path
        The user's folder; the copy lies in ``sample`` in it. Files that are there and differ, as masks that were
        corrected do, stay.

    Returns
    -------
    Path
        The copy; the sample in the package where the folder cannot be written.
    """
    source, target = sample_case_path(), folder / "sample"
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            if not (target / file.name).exists():
                shutil.copyfile(file, target / file.name)
    except OSError:
        return source
    return target
