"""The one exception for what a user can put right."""

from __future__ import annotations

from pathlib import Path


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
        super().__init__(f"{self.path}: {self.problem}" if self.path is not None else self.problem)
