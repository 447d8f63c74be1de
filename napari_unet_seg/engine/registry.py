"""The models a user has: the ones that come with the package, and their own."""

from __future__ import annotations

import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from napari_unet_seg.data.file_state import Signature, signature
from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.model_files import (
    MODEL_NAME,
    SUFFIX,
    find_model,
    is_model,
    shipped_models,
    user_folder,
    user_models,
)
from napari_unet_seg.data.write_lock import write_lock
from napari_unet_seg.engine.checkpoint import (
    Description,
    check_finite,
    file_hash,
    load_checkpoint,
    read_description,
    save_checkpoint,
)
from napari_unet_seg.engine.config import DEFAULT_UNET, SEED_UNET
from napari_unet_seg.errors import InputError, reading, reason

__all__ = ["SUFFIX", "RegisteredModel", "Registry", "user_folder"]

_FOREIGN = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A model in the registry."""

    name: str
    path: Path
    shipped: bool
    """It came with the package and cannot be removed."""

    problem: str = ""
    """Why it cannot be used, if so."""

    scope: str = "model"
    """``"scan"`` where it was adapted to one scan and is meant for that alone, else ``"model"``."""

    case: str = ""
    """Name of the case that it was adapted to."""


class Registry:
    """Models by name.

    Parameters
    ----------
    folder : Path, optional
        Where the user's models lie; by default `user_models`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = user_models() if folder is None else folder
        self.shipped_folder = shipped_models()

    def list(self) -> tuple[RegisteredModel, ...]:
        """All models, the shipped ones first."""
        return tuple(
            _described(path, shipped=shipped)[0]
            for folder, shipped in ((self.shipped_folder, True), (self.folder, False))
            for path in _model_files(folder)
        )

    def model_of_scan(self, image_hash: str) -> RegisteredModel | None:
        """The user's model that rounds for a scan went to, whichever version of it is in use; None if there is none.

        Parameters
        ----------
        image_hash : str
            What `image_hash.image_hash` says of the scan's volume. Of several models the one written last is taken, of
            those with a promoted round if there are any: to bring back a version of another is to choose that one.
        """
        found = []
        for path in _model_files(self.folder):
            model, adapted_to = _described(path, shipped=False)
            promoted = model.scope == "scan"
            if not promoted:
                adapted_to, promoted = self._rounds(model.name)
            if image_hash and adapted_to == image_hash:
                found.append((promoted, path.stat().st_mtime_ns, model.name, model))
        return max(found)[-1] if found else None

    def holds_rounds_for_a_scan(self, name: str) -> bool:
        """Whether a model of the user's has versions that were adapted to one scan, be they in use or not."""
        return bool(self._rounds(name)[0])

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
        path = find_model(name_or_path, folders=(self.shipped_folder, self.folder))
        if path is not None:
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
            If it is neither, it cannot be loaded (`load_checkpoint`), or the name is taken or cannot be a file's name.
        """
        target = self._new(name or path.stem)
        if not is_model(path):
            raise InputError("there is no such file", path=path)
        if path.suffix.lower() in _FOREIGN:
            _convert(path, target)
        else:
            load_checkpoint(path)
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
        with reading(destination):
            target = destination / source.name if destination.is_dir() else destination
            taken = target.exists()
        if taken:
            raise InputError("the file exists already; choose another name", path=target)
        if target.suffix != SUFFIX:
            raise InputError(f"a model file's name ends in {SUFFIX}", path=target)
        write_bytes(target, source.read_bytes())
        return target

    def remove(self, name: str) -> None:
        """Delete one of the user's models, with its versions.

        Raises
        ------
        InputError
            If there is none of that name, it came with the package, or the system refuses.
        """
        path, versions = self.own_path(name), self.versions_folder(name)
        if not is_model(path) and not versions.is_dir():
            raise InputError(f"there is no model {name!r} of yours; see `models list`")
        going = versions.with_name(f".{versions.name}.{secrets.token_hex(4)}.tmp")
        try:
            with self.alone():
                # All or nothing, where the system refuses: a name can be given back, what is deleted cannot.
                if versions.is_dir():
                    versions.rename(going)
                try:
                    path.unlink(missing_ok=True)
                except OSError:
                    if going.is_dir():
                        going.rename(versions)
                    raise
        except OSError as error:
            raise InputError(f"cannot be removed ({reason(error)})", path=path) from error
        try:
            if going.is_dir():
                shutil.rmtree(going)
        except OSError as error:
            problem = f"model {name!r} is removed, but not all that was kept of its versions ({reason(error)})"
            raise InputError(f"{problem}; delete this folder", path=going) from error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from changing what is in use; where no lock can be made, nothing is lost for it."""
        with ExitStack() as stack:
            with suppress(InputError, OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(write_lock(self.folder))
            yield

    def own_path(self, name: str) -> Path:
        """The file of a model of the user's, which may not exist yet.

        Raises
        ------
        InputError
            If the name cannot be a file's name, or is that of a model that comes with the package.
        """
        if not isinstance(name, str) or not MODEL_NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot be a model's name; use letters, digits, '.', '_' and '-', a hundred at most"
            )
        if (self.shipped_folder / f"{name}{SUFFIX}").is_file():
            raise InputError(f"model {name!r} comes with the package and stays as it is; choose another name")
        return self.folder / f"{name}{SUFFIX}"

    def owns(self, name: str) -> bool:
        """Whether the user has a model of that name; not one that the system does not let him look at."""
        try:
            return MODEL_NAME.fullmatch(name) is not None and is_model(self.folder / f"{name}{SUFFIX}")
        except InputError:
            return False

    def versions_folder(self, name: str) -> Path:
        """Where the versions of a model of the user's lie; see `VersionLine`."""
        return self.folder / f"{name}.versions"

    def _rounds(self, name: str) -> tuple[str, bool]:
        """Hash of the scan that rounds of a model were for, empty for none, and whether one of them was promoted."""
        headers = [_header(state) for path in _model_files(self.versions_folder(name)) if (state := signature(path))]
        # What a file put in place by hand was adapted to says nothing of the model.
        rounds = [header for header in headers if header.name == name and header.image_hash]
        return (rounds[0].image_hash if rounds else ""), any(header.promoted for header in rounds)

    def _new(self, name: str) -> Path:
        path = self.own_path(name)
        with reading(path):
            taken = path.exists()
        if taken:
            raise InputError(f"there is a model {name!r} already; choose another name with --name")
        return path


def _model_files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    except OSError:
        # Of one that may be looked at and not into, glob finds nothing either.
        return []


@dataclass(frozen=True, kw_only=True)
class _Header:
    """What is known of a model file from its header."""

    problem: str = ""
    name: str = ""
    scope: str = "model"
    case: str = ""
    image_hash: str = ""
    """Of the scan that it is adapted to; empty for none."""

    promoted: bool = False
    """Whether the round that made it says so."""


def _described(path: Path, *, shipped: bool) -> tuple[RegisteredModel, str]:
    """A model as its header describes it, and the hash of the image it is adapted to, or an empty string."""
    state = signature(path)
    header = _header(state) if state is not None else _Header(problem="it is gone")
    model = RegisteredModel(
        name=path.stem,
        path=path,
        shipped=shipped,
        problem=header.problem,
        scope=header.scope,
        case=header.case,
    )
    return model, header.image_hash


@lru_cache(maxsize=1024)
def _header(state: Signature) -> _Header:
    """What the header says, read again when the file has changed."""
    try:
        description = read_description(Path(state[0]))
    except InputError as error:
        return _Header(problem=error.problem)
    training = description.training
    if training.get("scope") != "scan":
        return _Header(name=description.name)
    record = training.get("round")
    return _Header(
        name=description.name,
        scope="scan",
        case=str(training.get("case") or ""),
        image_hash=str(training.get("image_hash") or ""),
        promoted=isinstance(record, dict) and bool(record.get("promoted")),
    )


def _convert(path: Path, target: Path) -> None:
    """Turn a PyTorch file of weights into a checkpoint."""
    import torch

    from napari_unet_seg.engine.unet import UNet

    try:
        with warnings.catch_warnings():
            # Of a file that it does not know, before it raises.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged, it raises whatever the bytes that torch takes for its instructions come to.
        raise InputError(
            "refused: it is damaged, or holds code beside weights; save its state_dict alone and try again", path=path
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()
    ):
        weights = {}
    for config in (DEFAULT_UNET, SEED_UNET):
        network = UNet(config)
        try:
            # Without what a state_dict carries along: that may be damaged too.
            network.load_state_dict(dict(weights))
        except RuntimeError:
            continue
        check_finite(weights, path=path)
        description = Description(name=target.stem, network=config, training={"imported_from": file_hash(path)})
        save_checkpoint(target, network, description)
        return
    raise InputError("refused: its weights fit none of the networks known here", path=path)
