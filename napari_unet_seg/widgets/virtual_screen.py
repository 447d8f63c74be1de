"""A screen for machines that have none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from napari_unet_seg.errors import InputError

_END_SECONDS = 10
HOW_TO_INSTALL = (
    "install Xvfb (Debian and Ubuntu: apt-get install xvfb; Fedora: dnf install xorg-x11-server-Xvfb) or set DISPLAY"
)


def has_screen() -> bool:
    """Whether a window can be shown: always outside of Linux, where nothing tells."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def virtual_screen(*, width: int = 1600, height: int = 1000) -> Iterator[dict[str, str]]:
    """A virtual X server while the block runs.

    Qt's own "offscreen" platform is no way out: it has no OpenGL on Linux, and napari's canvas needs that.

    Yields
    ------
    dict
        The environment for a program that is to use it. It must have ended before the block does: Qt takes the loss
        of its server for a reason to crash.

    Raises
    ------
    InputError
        If Xvfb is not installed or does not start; it says what to install.
    """
    program = shutil.which("Xvfb")
    if program is None:
        raise InputError(f"there is no screen here; {HOW_TO_INSTALL}")
    reading, writing = os.pipe()
    # The server picks a free number itself and writes it to the pipe.
    command = [program, "-displayfd", str(writing), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[writing], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with os.fdopen(reading) as pipe:
            # An empty line: the server has ended, and its end of the pipe with it.
            number = pipe.readline().strip()
        if not number:
            raise InputError(f"there is no screen here, and Xvfb did not start; {HOW_TO_INSTALL}")
        yield {**os.environ, "DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
    finally:
        server.terminate()
        try:
            server.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
