"""The models a user has: the ones that come with the package, and their own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import platformdirs

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.engine.checkpoint import Description, file_hash, read_description, save_checkpoint
from napari_unet_seg.engine.config import DEFAULT_UNET, SEED_UNET
from napari_unet_seg.errors import InputError

SUFFIX = ".safetensors"
_FOREIGN = (".pt", ".pth", ".ckpt", ".bin")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model in the registry."""

    name: str
    path: Path
    shipped: bool
    """It came with the package and cannot be removed."""

    problem: str = ""
    """Why it cannot be used, if so."""


def user_folder() -> Path:
    """The user's data folder of this package, or the one that the variable ``NAPARI_UNET_SEG_HOME`` names."""
    home = os.environ.get("NAPARI_UNET_SEG_HOME")
    return Path(home) if home else platformdirs.user_data_path("napari-unet-seg", appauthor=False)


class Registry:
    """Models by name.

    Parameters
    ----------
    folder : Path, optional
        Where the user's models lie; by default the folder ``models`` in `user_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = user_folder() / "models" if folder is None else folder
        self.shipped_folder = Path(str(files("napari_unet_seg") / "resources" / "models"))

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, the shipped ones first."""
        return tuple(
            RegisteredModel(name=path.stem, path=path, shipped=shipped, problem=_problem(path))
            for folder, shipped in ((self.shipped_folder, True), (self.folder, False))
            for path in (sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ())
        )

    def path(self, name_or_path: str) -> Path:
        """The file of a model.

        Parameters
        ----------
        name_or_path : str
            A name in the registry, or the path of a file. A name wins.

        Raises
        ------
        InputError
            If there is neither.
        """
        for folder in (self.shipped_folder, self.folder):
            if _NAME.fullmatch(name_or_path) and (folder / f"{name_or_path}{SUFFIX}").is_file():
                return folder / f"{name_or_path}{SUFFIX}"
        path = Path(name_or_path)
        if path.is_file():
            return path
        names = ", ".join(model.name for model in self.list()) or "none"
        raise InputError(f"there is no model or model file {name_or_path!r}; the models here are: {names}")

    def import_file(self, path: Path, *, name: str | None = None) -> RegisteredModel:
        """Take a checkpoint into the registry; a ``.pt`` of plain weights is converted, never unpickled.

        Parameters
        ----------
        path : Path
            A ``.safetensors`` checkpoint of ours, or a PyTorch file of weights that fit one of our networks.
        name : str, optional
            By default the file's stem.

        Raises
        ------
        InputError
            If it is neither, or the name is taken or cannot be a file's name.
        """
        target = self._new(name or path.stem)
        if not path.is_file():
            raise InputError("there is no such file", path=path)
        if path.suffix.lower() in _FOREIGN:
            _convert(path, target)
        else:
            read_description(path)
            write_bytes(target, path.read_bytes())
        return RegisteredModel(name=target.stem, path=target, shipped=False)

    def export(self, name: str, destination: Path) -> Path:
        """Copy a model to a file, or into a folder.

        Raises
        ------
        InputError
            If there is no such model, or the file exists already.
        """
        source = self.path(name)
        target = destination / source.name if destination.is_dir() else destination
        if target.exists():
            raise InputError("the file exists already; choose another name", path=target)
        if target.suffix != SUFFIX:
            raise InputError(f"a model file's name ends in {SUFFIX}", path=target)
        write_bytes(target, source.read_bytes())
        return target

    def remove(self, name: str) -> None:
        """Delete one of the user's models.

        Raises
        ------
        InputError
            If there is none of that name, or it came with the package.
        """
        path = self.folder / f"{name}{SUFFIX}"
        if _NAME.fullmatch(name) and path.is_file():
            path.unlink()
        elif _NAME.fullmatch(name) and (self.shipped_folder / path.name).is_file():
            raise InputError(f"model {name!r} comes with the package and stays")
        else:
            raise InputError(f"there is no model {name!r} of yours; see `models list`")

    def _new(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InputError(f"{name!r} cannot be a model's name; use letters, digits, '.', '_' and '-'")
        for folder in (self.shipped_folder, self.folder):
            if (folder / f"{name}{SUFFIX}").exists():
                raise InputError(f"there is a model {name!r} already; choose another name with --name")
        return self.folder / f"{name}{SUFFIX}"


def _problem(path: Path) -> str:
    try:
        read_description(path)
    except InputError as error:
        return error.problem
    return ""


def _convert(path: Path, target: Path) -> None:
    """Turn a PyTorch file of weights into a checkpoint."""
    import pickle

    import torch

    from napari_unet_seg.engine.unet import UNet

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(
            "refused: it is damaged, or holds code beside weights; save its state_dict alone and try again", path=path
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    for config in (DEFAULT_UNET, SEED_UNET):
        network = UNet(config)
        try:
            network.load_state_dict(weights if isinstance(weights, dict) else {})
        except (RuntimeError, TypeError):
            continue
        description = Description(name=target.stem, network=config, training={"imported_from": file_hash(path)})
        save_checkpoint(target, network, description)
        return
    raise InputError("refused: its weights fit none of the networks known here", path=path)
