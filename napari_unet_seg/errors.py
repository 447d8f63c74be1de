"""The exception for what a user can put right, how an error of the system becomes one, and the one for the rest."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


class InputError(ValueError):
    """Input that cannot be used, with one line for the user.

    Parameters
    ----------
    problem : str
        What is wrong, and what to do about it. One line.
    path : Path or str, optional
        The file or folder at fault; it opens the line.
    """

    def __init__(self, problem: str, *, path: Path | str | None = None) -> None:
        self.problem = " ".join(problem.split())
        self.path = Path(path) if path is not None else None
        # A name may hold a line break; spaces stay as they are, so that it can be looked for.
        where = "" if self.path is None else f"{' '.join(str(self.path).splitlines())}: "
        super().__init__(where + self.problem)


def reason(error: OSError) -> str:
    """Why the system refused, in its own words: ``permission denied``."""
    return (error.strerror or str(error)).lower()


def disk_full(error: BaseException) -> OSError | None:
    """The system's word, in an error or behind it, that there is no room left to write."""
    for each in (error, error.__cause__):
        if isinstance(each, OSError) and each.errno in _FULL:
            return each
    return None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system raises while a file is read into an InputError that names the file.

    What a library says of the content (among it OSErrors without a number, as gzip's) passes through.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError("there is no such file", path=path) from None
    except MemoryError as error:
        raise InputError("does not fit in memory, or its header is damaged", path=path) from error
    except OSError as error:
        if error.errno is None:
            raise
        raise InputError(f"cannot be opened ({reason(error)})", path=path) from error


class ChangedElsewhereError(InputError):
    """A mask is no longer as it was read: another program or window has changed it, and nothing was written.

    Parameters
    ----------
    problem, path
        As in `InputError`.
    slices : sequence of int
        The slices that were changed.
    """

    def __init__(self, problem: str, *, path: Path | str | None = None, slices: Sequence[int] = ()) -> None:
        super().__init__(problem, path=path)
        self.slices = tuple(slices)


class ReadOnlyError(InputError):
    """The dataset cannot be written to, and no overlay folder was chosen."""


class SegmentationError(Exception):
    """The prediction failed for a reason that is not the input's; the message says which."""
