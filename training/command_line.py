"""What the commands of `training` have in common."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_unet_seg.commands.interrupt import stop_at_first_interrupt
from napari_unet_seg.commands.status import FAILED, INPUT_AT_FAULT, INTERRUPTED
from napari_unet_seg.commands.streams import prepare_streams
from napari_unet_seg.data.report_file import check_report
from napari_unet_seg.errors import InputError, SegmentationError


def command_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """A parser whose help says how to call the module, and is its docstring as it stands there."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def command(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Make a main function say in one line what the user can put right, and return an exit status for it.

    Parameters
    ----------
    main : callable
        Takes the arguments, by default those of the process, and returns the exit status.

    Returns
    -------
    callable
        As `main`; 1 where the network failed, 2 where the input is at fault, 130 where it was interrupted.
    """

    @functools.wraps(main)
    def run(arguments: Sequence[str] | None = None) -> int:
        # A training goes on where nobody reads what it says.
        prepare_streams(lasting=True)
        try:
            status = main(arguments)
            # Here, where it can be caught that nobody reads any more, not when the interpreter ends.
            sys.stdout.flush()
        except InputError as error:
            print(error, file=sys.stderr)
            status = INPUT_AT_FAULT
        except SegmentationError as error:
            print(error, file=sys.stderr)
            status = FAILED
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            status = INTERRUPTED
        return status

    return run


@contextmanager
def ended_by_interrupt(*, terminate: bool = True) -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C end a training in good order, and the command with it: its half is not scored.

    Yields a callable that says whether the end was asked for. If it was, KeyboardInterrupt follows.

    Parameters
    ----------
    terminate : bool
        Heed SIGTERM too.
    """
    with stop_at_first_interrupt(terminate=terminate) as should_stop:
        yield should_stop
    if should_stop():
        raise KeyboardInterrupt


def positive_int(text: str) -> int:
    """The type of an argument: a whole number from 1 on."""
    return _whole_number(text, least=1)


def natural_int(text: str) -> int:
    """The type of an argument: a whole number from 0 on, a seed for NumPy for example."""
    return _whole_number(text, least=0)


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least {least}, got {text!r}")
    return number


def report_file(text: str) -> Path:
    """The type of an argument: a JSON file to be written in the end, tried before the work, which may take long."""
    path = Path(text)
    try:
        check_report(path)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path
