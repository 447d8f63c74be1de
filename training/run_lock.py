"""One training at a time in a run's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from napari_unet_seg.data.write_lock import Holder, told_of
from napari_unet_seg.errors import InputError

LINGERING = 120.0
"""Seconds for which a shared drive may keep the lock of a machine that is gone."""


@contextmanager
def only_run(folder: Path, *, resume: bool) -> Iterator[None]:
    """Keep other trainings out of a folder: two would write their files over each other's, and both say "done".

    The system takes the lock back when the process ends, however it ends. Where none can be made, because the folder
    cannot be written or the drive knows no locks, there is none.

    Parameters
    ----------
    folder : Path
        Of the run; it need not be there.
    resume : bool
        Whether this may go on for a machine that is gone, whose lock is waited for.

    Raises
    ------
    InputError
        If another process is at work there: which one.
    """
    # Beside it: a finished run stays as it is, its folder's time included.
    place = folder.absolute().parent
    made = [path for path in (place, *place.parents) if not path.exists()]
    lock, note = FileLock(place / f".{folder.name}.lock"), place / f".{folder.name}.lock.json"
    try:
        place.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not resume:
                raise
            print(f"{folder}: another training is at work here{told_of(note)}; waiting for its end", flush=True)
            lock.acquire(timeout=LINGERING)
    except Timeout:
        remedy = f"wait for its end, give another --output, or, if it is gone, delete {lock.lock_file}"
        problem = f"another training is at work here{told_of(note)}; {remedy}"
        raise InputError(problem, path=folder) from None
    except (OSError, NotImplementedError):
        pass
    else:
        Holder.this().write(note)
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):
                note.unlink(missing_ok=True)
                # While it is held: whoever finds the name free makes another.
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
        with suppress(OSError):
            for path in made:
                path.rmdir()
