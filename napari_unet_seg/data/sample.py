"""Where the sample case that ships with the package lies."""

from __future__ import annotations

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
