"""The versions of a user's model: what each round of retraining made, and the way back."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_unet_seg.data.file_state import Signature, read_bytes, signature
from napari_unet_seg.data.formats.atomic import check_room, check_writable, replace, sync_folder, write_through
from napari_unet_seg.data.model_files import HOME
from napari_unet_seg.engine.checkpoint import Description, checkpoint_bytes, file_hash, read_description, read_weights
from napari_unet_seg.engine.registry import SUFFIX, Registry
from napari_unet_seg.errors import InputError, reading, reason

if TYPE_CHECKING:
    from napari_unet_seg.engine.network import Network

_VERSION = re.compile(rf"(\d{{4,9}}){re.escape(SUFFIX)}")
_OTHER_FOLDER = f"or name another folder for models and kept edits in the variable {HOME}"
_ADVICE = f"free it, {_OTHER_FOLDER}"
_ABANDONED_SECONDS = 3600.0
"""A temporary file older than this belongs to a process that is gone: writing one takes a fraction of a second."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A model as it was after one round, or before the first."""

    number: int
    path: Path
    promoted: bool
    """Whether it took its parent's place when it was made."""

    current: bool
    """Whether this is what `load_model` gives now."""

    description: Description

    @property
    def before(self) -> float | None:
        """Dice on what was held back from the round, with the parent's weights; None where no round made it."""
        return _number(self._round.get("before"))

    @property
    def after(self) -> float | None:
        """The same with the weights of this version."""
        return _number(self._round.get("after"))

    @property
    def reason(self) -> str:
        """Why it was promoted or not, in words."""
        return str(self._round.get("reason") or ("" if self._round else "as it was before"))

    @property
    def time(self) -> str:
        """When it was made, UTC, ISO 8601."""
        if self._round.get("time"):
            return str(self._round["time"])
        with suppress(OSError):
            return datetime.fromtimestamp(self.path.stat().st_mtime, UTC).isoformat(timespec="milliseconds")
        return ""

    @property
    def scope(self) -> str:
        """``"scan"`` or ``"model"``."""
        return str(self._round.get("scope") or self.description.training.get("scope") or "model")

    @property
    def parent(self) -> str:
        """The model that the round began with: its name, or else its SHA-256."""
        return str(self._round.get("parent") or self.description.parent or "")

    @property
    def _round(self) -> dict[str, Any]:
        return _round_record(self.number, self.description)


class VersionLine:
    """The versions of one of the user's models, in a folder beside the model's own file.

    ``models/NAME.safetensors`` is what is in use; ``models/NAME.versions`` holds a file for each round,
    ``0001.safetensors`` and so on, whether it was promoted or not, and in ``0000.safetensors`` the model as it was
    before the first. Files are written once and never changed, and the model's own is replaced in one step, so that a
    process ended at any moment leaves a whole model under its name.

    Parameters
    ----------
    name : str
        The model's name.
    registry : Registry
        Where it lies.

    Raises
    ------
    InputError
        If the name cannot be a file's name, or is that of a model that comes with the package.
    """

    def __init__(self, name: str, *, registry: Registry) -> None:
        self.name = name
        self._registry = registry
        self.path = registry.own_path(name)
        self.folder = registry.versions_folder(name)

    def versions(self) -> tuple[Version, ...]:
        """All versions, oldest first; damaged files are left out."""
        state, found = signature(self.path), list[Version]()
        for number, path in reversed(self._files()):
            try:
                description = read_description(path)
            except InputError:
                continue
            found.append(
                Version(
                    number=number,
                    path=path,
                    promoted=bool(_round_record(number, description).get("promoted", True)),
                    current=not any(version.current for version in found) and _same_content(state, signature(path)),
                    description=description,
                )
            )
        return tuple(reversed(found))

    def begin(self, parent: Path, *, content: bytes | None = None) -> None:
        """Start the line with a model, unless it has one.

        A file under the line's name that is none of its versions, imported for example, is kept as a version and
        stays in use.

        Parameters
        ----------
        parent : Path
            A checkpoint; its bytes become version 0 and the model in use.
        content : bytes, optional
            Those bytes, where they were read before: the file may have been replaced since.

        Raises
        ------
        InputError
            If there is no such checkpoint, the file under the line's name is none, or the system refuses.
        """
        self._remove_abandoned()
        if self.path.is_file():
            self._keep_current()
            return
        if content is None:
            read_description(parent)
            content = read_bytes(parent)
        with self._writing():
            # One that was cut short after the first of the two has the version already.
            if not self._has(content):
                self._write_new(content, first=0)
            replace(self.path, content)

    def add(self, network: Network, description: Description, *, promoted: bool) -> Version:
        """Write the weights of a round as the next version.

        Parameters
        ----------
        network : Network
        description : Description
            Its ``training["round"]`` says what came of the round.
        promoted : bool
            Whether it takes the place of what is in use, too.

        Raises
        ------
        InputError
            If the system refuses: the disk is full, say. Model and versions are as they were then.
        """
        self._remove_abandoned()
        if self.path.is_file():
            self._keep_current()
        payload = checkpoint_bytes(network, description)
        former = read_bytes(self.path) if promoted and self.path.is_file() else None
        with self._writing():
            try:
                number, path = self._write_new(payload, first=1, in_use=promoted)
            except BaseException:
                if promoted:
                    self._put_back(former, unless_kept=payload)
                raise
        return Version(number=number, path=path, promoted=promoted, current=promoted, description=description)

    def restore(self, number: int) -> Version:
        """Put a version in use, in one step; what is in use now stays among the versions.

        Raises
        ------
        InputError
            If there is no such version, its file is damaged, or the system refuses.
        """
        found = {version.number: version for version in self.versions()}
        if number not in found:
            there = ", ".join(map(str, found)) or "none"
            raise InputError(f"model {self.name!r} has no version {number}; its versions are: {there}")
        version = found[number]
        read_weights(version.path)
        payload = read_bytes(version.path)
        with self._registry.alone():
            # A damaged model is what one may want to go back from.
            if _is_checkpoint(self.path):
                self._keep_current()
            with self._writing():
                replace(self.path, payload)
        return Version(
            number=number,
            path=version.path,
            promoted=version.promoted,
            current=True,
            description=version.description,
        )

    def _files(self) -> list[tuple[int, Path]]:
        """Number and file of each version, damaged or not, in order."""
        if not self.folder.is_dir():
            return []
        with reading(self.folder):
            matches = [(match, path) for path in self.folder.iterdir() if (match := _VERSION.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in matches)

    def _keep_current(self) -> None:
        """Keep what is in use as a version, if it is none yet; another program may have put it there."""
        read_description(self.path)
        state = signature(self.path)
        if not any(_same_content(state, signature(path)) for _, path in self._files()):
            payload = read_bytes(self.path)
            with self._writing():
                self._write_new(payload, first=0)

    def _has(self, content: bytes) -> bool:
        """Whether a version has this content."""
        states = [state for _, path in self._files() if (state := signature(path)) and state[2] == len(content)]
        return bool(states) and hashlib.sha256(content).hexdigest() in map(_hash, states)

    def _write_new(self, payload: bytes, *, first: int, in_use: bool = False) -> tuple[int, Path]:
        """Write a file under the next free number, or none at all; two processes never get the same one.

        Where it is to be `in_use` it is so before it has its number: a process killed between the two leaves a model
        that becomes a version when there is a next one, and no version that is said to be promoted and never was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max([first, *(taken + 1 for taken, _ in self._files())])
        temporary = self.folder / f".{number:04d}{SUFFIX}.{secrets.token_hex(4)}.tmp"
        try:
            write_through(temporary, payload)
            if in_use:
                replace(self.path, payload)
            while not _name_if_free(temporary, path := self.folder / f"{number:04d}{SUFFIX}"):
                number += 1
        finally:
            temporary.unlink(missing_ok=True)
        try:
            sync_folder(self.folder)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return number, path

    def _put_back(self, former: bytes | None, *, unless_kept: bytes) -> None:
        """Have in use what was before, unless what is there now has become a version."""
        if self._has(unless_kept):
            return
        if former is None:
            self.path.unlink(missing_ok=True)
        elif read_bytes(self.path) != former:
            replace(self.path, former)

    def _remove_abandoned(self) -> None:
        """Remove what processes that were killed while they wrote have left."""
        left = [*self.folder.glob(f".*{SUFFIX}.*.tmp"), *self.path.parent.glob(f".{self.path.name}.*.tmp")]
        for path in left:
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

    def check_writable(self, *, size: int = 0) -> None:
        """Try whether `add` will work: what an hour has learned is not to be lost for a folder, or a full disk.

        Parameters
        ----------
        size : int
            Bytes of a version.

        Raises
        ------
        InputError
            If it will not.
        """
        check_writable(self.path, advice=_ADVICE)
        if self.folder.exists():
            check_writable(self.folder / self.path.name, advice=_ADVICE)
        # The new version, and what is in use while it is replaced; in a new line what `begin` writes as well.
        check_room(self.path.parent, size * (2 if self.path.is_file() else 4), advice=f"make room, {_OTHER_FOLDER}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            problem = f"the model cannot be saved ({reason(error)}), and is as it was; make room or check permissions"
            raise InputError(problem, path=self.folder) from error


def _is_checkpoint(path: Path) -> bool:
    try:
        read_description(path)
    except InputError:
        return False
    return True


def _name_if_free(temporary: Path, path: Path) -> bool:
    """Give a written file its name, unless that is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # A drive without hard links, such as a memory stick.
        if path.exists():
            return False
        temporary.rename(path)
    return True


def _round_record(number: int, description: Description) -> dict[str, Any]:
    """What is known of the round that made a version."""
    # The start of a line may be the copy of another line's version; that one's round is not part of this line.
    record = description.training.get("round") if number > 0 else None
    return record if isinstance(record, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _same_content(one: Signature | None, other: Signature | None) -> bool:
    # Sizes first: most versions need no reading.
    if one is None or other is None or one[2] != other[2]:
        return False
    try:
        return _hash(one) == _hash(other)
    except OSError:
        return False


@lru_cache(maxsize=1024)
def _hash(state: Signature) -> str:
    """SHA-256 of a file, worked out again when the file has changed."""
    return file_hash(Path(state[0]))
