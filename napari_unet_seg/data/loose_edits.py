"""Edits that no dataset can keep, of images of none or of a read-only one: with the user's data, by image."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_unet_seg.data.autosave import UNKNOWN, Autosave, read_autosave, set_aside, write_autosave
from napari_unet_seg.data.model_files import user_folder
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.data.write_lock import now
from napari_unet_seg.errors import InputError, reason

_MOST = 500
"""Images of which edits are kept; of more, those written longest ago go."""


class LooseEdits:
    """One file an image.

    Parameters
    ----------
    folder : Path, optional
        By default ``edits`` in the user's data folder of this package.
    """

    @staticmethod
    def of_case(image_hash: str) -> str:
        """The identity of a case's images, from `engine.image_hash.image_hash`."""
        return f"case-{image_hash}"

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = user_folder() / "edits" if folder is None else folder
        self._unwritten: dict[str, Autosave] = {}
        self.unkept: dict[str, str] = {}
        """Identity to the name of the images of which edits go with the window: no file has them."""

    def write(self, identity: str, planes: Mapping[int, Mask], *, shape: tuple[int, int, int], name: str) -> None:
        """Keep edited slices of an image, in place of those that were kept of it.

        Parameters
        ----------
        identity : str
            Tells the image by its pixels; see `engine.image_hash`.
        planes : mapping
            Slice number to pixels ``(Y, X)``; at least one.
        shape : tuple of int
            ``(Z, Y, X)`` of the image.
        name : str
            What the user calls it.

        Raises
        ------
        InputError
            If they cannot be written. What was kept before is still there then, and these are kept in memory: `read`
            gives them as long as this object lives.
        """
        slices = sorted(planes)
        edits = Autosave(
            case=name,
            time=now(),
            shape=shape,
            slices=tuple(slices),
            masks=np.stack([planes[z] for z in slices]),
            base=(UNKNOWN,) * len(slices),
        )
        path = self._path(identity)
        is_new = not path.exists()
        try:
            write_autosave(path, edits)
        except OSError as error:
            self._unwritten[identity] = edits
            raise InputError(f"edits cannot be kept aside ({reason(error)}); save the layer", path=path) from error
        self._unwritten.pop(identity, None)
        if is_new:
            self._make_room()

    def read(self, identity: str, *, shape: tuple[int, int, int]) -> Autosave | None:
        """What was kept of an image of that shape; None where that is nothing.

        A damaged file is put out of the way, as ``.damaged``.

        Raises
        ------
        InputError
            If the file is damaged or cannot be opened.
        """
        path = self._path(identity)
        try:
            edits = self._unwritten.get(identity) or read_autosave(path)
        except InputError:
            set_aside(path)
            raise
        return edits if edits is not None and edits.shape == shape else None

    def has(self, identity: str) -> bool:
        """Whether there is a file of an image."""
        return self._path(identity).exists()

    def drop(self, identity: str) -> None:
        """Forget what was kept of an image.

        Raises
        ------
        InputError
            If the file cannot be removed.
        """
        path = self._path(identity)
        self._unwritten.pop(identity, None)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot be removed ({reason(error)})", path=path) from error

    def _path(self, identity: str) -> Path:
        return self._folder / f"{identity}.npz"

    def _make_room(self) -> None:
        with suppress(OSError):
            files = sorted(self._folder.glob("*.npz"), key=lambda path: path.stat().st_mtime)
            for path in files[:-_MOST]:
                path.unlink(missing_ok=True)
