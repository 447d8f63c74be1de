"""Where the models lie, by name. What is in their files concerns the engine alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import platformdirs

from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.errors import InputError, reading

SUFFIX = ".safetensors"
HOME = "NAPARI_UNET_SEG_HOME"
"""Environment variable: the folder for the user's models and kept edits, in place of the system's for such data."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""What can be a model's name, as it is a file's."""


def user_folder() -> Path:
    """The user's data folder of this package, or the one that the variable `HOME` names."""
    home = os.environ.get(HOME)
    return Path(home) if home else platformdirs.user_data_path("napari-unet-seg", appauthor=False)


def user_models() -> Path:
    """Where the user's models lie; the folder may not exist yet."""
    return user_folder() / "models"


def shipped_models() -> Path:
    """Where the models lie that come with the package."""
    return Path(str(files("napari_unet_seg") / "resources" / "models"))


def find_model(name_or_path: str, *, folders: Iterable[Path]) -> Path | None:
    """The file of a model; None where there is neither a model nor a file.

    Parameters
    ----------
    name_or_path : str
        A model's name, or the path of a file. A name wins.
    folders : iterable of Path
        Where models lie, in the order in which they are looked through.

    Raises
    ------
    InputError
        If the system does not let us look into one of them.
    """
    for folder in folders:
        if MODEL_NAME.fullmatch(name_or_path) and is_model(folder / f"{name_or_path}{SUFFIX}"):
            return folder / f"{name_or_path}{SUFFIX}"
    path = Path(name_or_path)
    try:
        return path if path.is_file() else None
    except OSError:
        # Too long for a name, for example.
        return None


def is_model(path: Path) -> bool:
    """Whether a model's file is there; InputError if the system does not let us look."""
    with reading(path):
        return path.is_file()


def model_hash(name_or_path: str) -> str:
    """SHA-256 of the file that a model's name, or a path, stands for now; empty where there is none to be read."""
    try:
        return sha256_of(find_model(name_or_path, folders=(shipped_models(), user_models()))) or ""
    except (InputError, OSError):
        return ""
