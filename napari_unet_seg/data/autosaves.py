"""The unsaved edits of a dataset's cases: kept, found again, forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet_seg.data.autosave import UNKNOWN, Autosave, autosave_path, read_autosave, set_aside, write_autosave
from napari_unet_seg.data.given_mask import as_given, as_labels, as_slices
from napari_unet_seg.data.overlay import Places
from napari_unet_seg.data.scan import Scan
from napari_unet_seg.data.stored_mask import StoredMask
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.data.write_lock import now
from napari_unet_seg.errors import InputError, reason


class Autosaves:
    """One file a case, under ``autosave``.

    Parameters
    ----------
    root : Path
        The dataset: a folder or a file.
    places : Places
    scans : mapping
        Its cases by name.
    """

    def __init__(self, root: Path, places: Places, scans: Mapping[str, Scan]) -> None:
        self._root = root
        self._places = places
        self._scans = scans

    def path(self, case_id: str) -> Path:
        """The file of a case."""
        # Single files of one folder share it, and may have one name but for the extension.
        key = f"{self._root.name}/{case_id}" if self._root.is_file() else case_id
        return autosave_path(self._places.state / "autosave", key)

    def find(self, scan: Scan) -> Path:
        """The file of a case, which may have had another name before there were others of that name."""
        path = self.path(scan.case_id)
        if path.exists():
            return path
        with suppress(InputError, OSError):
            former = self.path(scan.former_id)
            for other in [former] if self._root.is_file() else sorted(path.parent.glob("*.npz")):
                if self._is_former(other, scan):
                    return other
        return path

    def write(
        self,
        scan: Scan,
        mask: Any,
        slices: Iterable[int],
        *,
        seen: Mapping[int, bytes],
        model: str,
        annotator: str,
    ) -> Autosave:
        """See `Dataset.autosave`; `seen` has the fingerprint of each slice as it was read."""
        self._places.check_writable()
        shape = scan.read_shape()
        wanted = as_slices(slices, shape[0], case_id=scan.case_id)
        values = as_given(mask, shape, case_id=scan.case_id, slices=wanted)
        autosave = Autosave(
            case=scan.case_id,
            time=now(),
            shape=shape,
            slices=tuple(wanted),
            masks=values.astype(np.uint8),
            base=tuple(seen[z].hex() if z in seen else UNKNOWN for z in wanted),
            model=model,
            annotator=annotator,
            mask=self._mask_of(scan),
        )
        self._put(scan, autosave)
        return autosave

    def put_back(self, scan: Scan, autosave: Autosave) -> None:
        """See `Dataset.put_back_autosave`."""
        self._places.check_writable()
        self._put(scan, replace(autosave, case=scan.case_id, mask=self._mask_of(scan)))

    def kept(self) -> frozenset[str]:
        """See `Dataset.kept_edits`."""
        try:
            names = {path.name for path in (self._places.state / "autosave").iterdir()}
        except OSError:
            return frozenset()
        return (
            frozenset(case_id for case_id in self._scans if self.path(case_id).name in names) if names else frozenset()
        )

    def read(self, scan: Scan, present: StoredMask | None, *, shape: tuple[int, ...]) -> Autosave | None:
        """See `Dataset.read_autosave`; InputError if it is damaged.

        `present` is None where that cannot be read; `shape` is that of the case.
        """
        autosave = read_autosave(self.find(scan))
        if autosave is None or autosave.shape != shape:
            return None
        if present is None:
            return autosave
        # Only here is it known whether 255 is a class.
        autosave = replace(autosave, masks=as_labels(autosave.masks, classes=present.several))
        unsaved = [
            z
            for z, plane in autosave.planes().items()
            if not (present.labelled[z] and np.array_equal(present.labels[z], plane))
        ]
        if not unsaved:
            return None
        autosave = _only(autosave, unsaved)
        based = zip(autosave.slices, autosave.base, strict=True)
        changed = tuple(z for z, base in based if base not in (UNKNOWN, present.fingerprint(z).hex()))
        return replace(autosave, changed=changed)

    def forget(self, scan: Scan, saved: Mapping[int, Mask], *, classes: bool) -> None:
        """Take out what is saved by now; that this fails never keeps a save from being done.

        `classes` says whether the masks have several, see `as_labels`.
        """
        path = self.find(scan)
        with suppress(OSError, InputError):
            autosave = read_autosave(path)
            if autosave is None:
                return
            labels = replace(autosave, masks=as_labels(autosave.masks, classes=classes))
            unsaved = [
                z for z, plane in labels.planes().items() if z not in saved or not np.array_equal(saved[z], plane)
            ]
            if not unsaved:
                path.unlink()
            elif len(unsaved) < len(autosave.slices):
                write_autosave(path, _only(autosave, unsaved))

    def drop(self, scan: Scan) -> None:
        """See `Dataset.drop_autosave`."""
        path = self.find(scan)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot be removed ({reason(error)})", path=path) from error

    def set_aside(self, scan: Scan) -> None:
        """Have a damaged file out of the way, without destroying it."""
        set_aside(self.find(scan))

    def _put(self, scan: Scan, autosave: Autosave) -> None:
        path, former = self.path(scan.case_id), self.find(scan)
        try:
            write_autosave(path, autosave)
        except OSError as error:
            raise InputError(f"cannot be autosaved ({reason(error)}); save before closing", path=path) from error
        if former != path:
            with suppress(OSError):
                former.unlink()

    def _mask_of(self, scan: Scan) -> str:
        """See `Autosave.mask`."""
        return "\n".join(
            part for file in scan.mask_files()[:1] for part in (self._places.relative(file.path), *file.names[:1])
        )

    def _is_former(self, path: Path, scan: Scan) -> bool:
        """Whether a file is of a scan, and the case that it names is no longer called so."""
        with suppress(InputError):
            autosave = read_autosave(path)
            if autosave is None or autosave.case in self._scans or path != self.path(autosave.case):
                return False
            if autosave.mask:
                return (autosave.mask, autosave.shape) == (self._mask_of(scan), scan.read_shape())
            # It was written before the mask was noted.
            called_so = (each for each in self._scans.values() if each.former_id == autosave.case)
            return [each.case_id for each in called_so if each.read_shape() == autosave.shape] == [scan.case_id]
        return False


def _only(autosave: Autosave, slices: list[int]) -> Autosave:
    """An autosave without the other slices."""
    places = [autosave.slices.index(z) for z in slices]
    return replace(
        autosave,
        slices=tuple(slices),
        masks=autosave.masks[places],
        base=tuple(autosave.base[place] for place in places),
    )
