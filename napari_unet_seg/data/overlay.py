"""Where the files of a dataset are read and written: in it, or in a folder that lies over it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from napari_unet_seg.errors import InputError, ReadOnlyError, reason

STATE = ".unetseg"
"""Folder beside the data that holds the log, the originals and what else the corrections need."""


class Places:
    """The folder of a dataset and, where it may not be written to, another one whose files take precedence.

    A mask that is a symbolic link is replaced where it leads to, so the link stays one; with an overlay folder the
    copy in that folder takes its place.

    Parameters
    ----------
    root : Path
        The dataset: a folder, or a single file, whose folder counts then.
    overlay : Path, optional
        Corrected masks are written under it, at the same relative place, and so is everything beside them.
    """

    def __init__(self, root: Path, overlay: Path | None = None) -> None:
        self.nested: tuple[Path, ...] = ()
        """Further folders with such a log, of datasets that this one is part of, or that are part of this one."""
        self.folder = Path(os.path.abspath(root if root.is_dir() else root.parent))  # noqa: PTH100 - links stay
        self.overlay = Path(os.path.abspath(overlay.expanduser())) if overlay is not None else None  # noqa: PTH100
        if self.overlay is not None:
            self._check_overlay(self.overlay)

    @property
    def top(self) -> Path:
        """The folder that is written to."""
        return self.overlay or self.folder

    @property
    def state(self) -> Path:
        """Folder for the log and what belongs to it."""
        return self.top / STATE

    @property
    def states(self) -> tuple[Path, ...]:
        """Every folder with such a log; the one that is written to comes last."""
        return (*self.nested, self.state) if self.overlay is None else (*self.nested, self.folder / STATE, self.state)

    def base(self, state: Path) -> Path:
        """What the file names in one of these logs start from."""
        return state.parent if state in self.nested else self.folder

    @property
    def writable(self) -> bool:
        """Whether corrections can be saved, as far as that can be told without trying."""
        folder = self.top
        # An overlay folder is made when it is needed.
        while self.overlay is not None and not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)

    def check_writable(self) -> None:
        """Raise ReadOnlyError where corrections cannot be saved."""
        if self.writable:
            return
        if self.overlay is not None:
            raise ReadOnlyError("the overlay folder cannot be written to; choose another one", path=self.overlay)
        if not self.folder.is_dir():
            raise InputError("the dataset is no longer there; reconnect its drive, or open it anew", path=self.folder)
        raise ReadOnlyError("the dataset is read-only; choose an overlay folder for the corrections", path=self.folder)

    def relative(self, path: Path) -> str:
        """A file of the dataset as the log names it."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 - a link keeps its own place
        return Path(os.path.relpath(path, self.folder)).as_posix()

    def source(self, file: str) -> Path | None:
        """Where the content of a file lies, given as the log names it; None where it does not exist.

        Raises
        ------
        InputError
            If it cannot be told, for want of permission for example.
        """
        if self.overlay is not None:
            copy = self.overlay / PurePosixPath(file)
            if copy.is_file():
                return copy
        path = self.folder / PurePosixPath(file)
        try:
            # A link that leads nowhere is there, and cannot be read: that is said when it is tried.
            return path if path.is_file() or path.is_symlink() else None
        except OSError as error:
            raise InputError(f"cannot be opened ({reason(error)})", path=path) from error

    def has_copy(self, file: str) -> bool:
        """Whether the overlay folder holds a file, given as the log names it, in place of the dataset's."""
        return self.overlay is not None and (self.overlay / PurePosixPath(file)).is_file()

    def below(self, file: str) -> Path | None:
        """The file of the dataset that a copy in the overlay folder hides, or would hide."""
        if self.overlay is None:
            return None
        path = self.folder / PurePosixPath(file)
        return path if path.is_file() else None

    def target(self, file: str) -> Path:
        """Where a file is to be written, given as the log names it.

        Raises
        ------
        InputError
            If it has no place in the overlay folder, or is a link that leads in a circle.
        """
        if self.overlay is not None:
            if PurePosixPath(file).parts[:1] == ("..",):
                raise InputError("lies outside the dataset, so it has no place in the overlay folder", path=file)
            return self.overlay / PurePosixPath(file)
        path = self.folder / PurePosixPath(file)
        try:
            return path.resolve() if path.is_symlink() else path
        except (OSError, RuntimeError) as error:
            raise InputError("is a link that leads in a circle; remove it", path=path) from error

    def _check_overlay(self, overlay: Path) -> None:
        try:
            is_file = overlay.exists() and not overlay.is_dir()
        except OSError as error:
            raise InputError(f"the overlay folder cannot be opened ({reason(error)})", path=overlay) from error
        if is_file:
            raise InputError("this is a file; choose a folder for the corrections", path=overlay)
        if overlay == self.folder or overlay.is_relative_to(self.folder) or self.folder.is_relative_to(overlay):
            raise InputError("the overlay folder must lie outside the dataset; choose another one", path=overlay)
