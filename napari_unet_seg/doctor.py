"""What this machine offers, and what it lacks, in words."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

_BINDINGS = ("PySide6", "PyQt6")
# In a process of its own: a Qt that cannot start aborts the process it is tried in.
_TRY_OPENGL = """
from qtpy.QtGui import QGuiApplication, QOffscreenSurface, QOpenGLContext
app = QGuiApplication([])
surface = QOffscreenSurface(); surface.create()
context = QOpenGLContext()
assert context.create() and context.makeCurrent(surface), "no OpenGL context"
major, minor = context.format().version()
print(f"Qt platform {app.platformName()}, OpenGL {major}.{minor}")
"""


def installed(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def window_finding() -> str:
    """Whether Qt can open a window with OpenGL here."""
    present = [f"{name} {found}" for name in _BINDINGS if (found := installed(name))]
    if not present:
        return 'Qt: missing; install one with: pip install "napari-unet-seg[app]"'
    if sys.version_info < (3, 12) and (installed("PySide6") or "").startswith("6.12."):
        return 'Qt: PySide6 6.12 crashes on this Python after a while; run: pip install "PySide6<6.12"'
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return f"Qt: {', '.join(present)}; no screen here, so only `demo --screenshot` and the other commands work"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _TRY_OPENGL], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return f"Qt: {', '.join(present)}; it did not start within a minute"
    if tried.returncode == 0:
        return f"Qt: {', '.join(present)}; {tried.stdout.strip().splitlines()[-1]}"
    reason = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"Qt: {', '.join(present)}; a window cannot be opened: {reason}"


def findings() -> Iterator[str]:
    """A line for each thing looked at."""
    yield f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    for package in ("napari-unet-seg", "napari", "numpy", "torch"):
        found = installed(package)
        yield f"{package}: {found or 'missing'}"
    if installed("torch"):
        from napari_unet_seg.engine.device import choose_device

        yield f"device: {choose_device().note}"
    yield window_finding()

    from napari_unet_seg.engine.registry import Registry

    registry = Registry()
    models = registry.list()
    unusable = [f"{model.name} ({model.problem})" for model in models if model.problem]
    yield f"models: {', '.join(model.name for model in models) or 'none'}; your own lie in {registry.folder}"
    if unusable:
        yield f"models that cannot be used: {'; '.join(unusable)}"
