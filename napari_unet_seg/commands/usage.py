"""One line for a command that was not written as it should be, in place of the parser's box of several."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence

from napari_unet_seg.commands.status import INPUT_AT_FAULT
from napari_unet_seg.errors import InputError

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_BORDER = " │"
_RULE = re.compile(r"╭.*╮|╰─*╯|[─-]{8,}")
_APPLIED = re.compile(r" \(applied to napari-unet-seg[a-z ]*\)")
_NO_NUMBER = re.compile(
    r"Error parsing (?P<option>--\S+): (?:no type matching|could not convert string to|invalid literal for) "
    r"(?P<kind>int|float)\b[^'\"]*(?P<given>'.*'|\".*\")\]?\.?",
    re.IGNORECASE,
)
_DEEP = 6
"""Columns from which a row is the help of the option above it."""


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Where the parser ends the process with exit status 2, say why in one line on standard error.

    Raises
    ------
    SystemExit
        As the parser raises it.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as ended:
        if ended.code == INPUT_AT_FAULT and sys.stderr is not None:
            print(f"napari-unet-seg: {_line(said.getvalue())}", file=sys.stderr, flush=True)
        raise


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise InputError for an empty argument: as a path, it would be the present folder."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not argument or (argument.startswith("--") and argument.endswith("=")):
            option = argument.rstrip("=") or (before if before.startswith("--") else "an argument")
            raise InputError(f"{option} is empty; give it a value, or leave it out")


def _line(box: str) -> str:
    """The problem, what is near to it, and where help is, of what the parser prints with rules between."""
    parts: list[list[str]] = [[]]
    for row in _STYLE.sub("", box).splitlines():
        if _RULE.fullmatch(row.strip(_BORDER)):
            parts.append([])
        else:
            parts[-1].append(row.strip("│").rstrip())
    # The title says nothing that the problem does not.
    problem, *others = parts[1:] or parts
    # What the parser tried comes after an empty row.
    words = _APPLIED.sub("", _words(problem[: problem.index("")] if "" in problem else problem))
    no_number = _NO_NUMBER.fullmatch(words)
    told = [_wants_number(no_number) if no_number else words]
    for part in others:
        words = _words(part)
        if words.startswith("For full helptext"):
            # "For full helptext, run:" stands before the command.
            told.append(f"see {words.split(maxsplit=4)[-1]}")
        elif words and not words.startswith("Argument helptext"):
            told.append(words[0].lower() + words[1:])
    return "; ".join(each.rstrip(".") for each in told)


def _wants_number(found: re.Match[str]) -> str:
    kind = "a whole number" if found["kind"].lower() == "int" else "a number"
    return f"{found['option']} must be {kind}, got {found['given']}"


def _words(rows: list[str]) -> str:
    """The rows as one, without the lines of help among them."""
    return " ".join(" ".join(row for row in rows if len(row) - len(row.lstrip()) <= _DEEP).split())
