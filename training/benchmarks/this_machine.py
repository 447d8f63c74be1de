"""What a benchmark was run on, for its report; without torch, which some of them time the import of."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def this_machine() -> dict[str, Any]:
    """``processor``, ``cores``, ``system``, ``python``, and the versions of ``torch`` and ``napari_unet_seg``."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "napari_unet_seg": version("napari-unet-seg"),
    }


def machine_line(told: dict[str, Any]) -> str:
    """What `this_machine` found, as the line above a table."""
    return f"{told['processor']}, {told['cores']} cores, {told['system']}; PyTorch {told['torch']}"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's own name where the system tells it: Python has but the architecture for it on Linux."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next((name for name in names if name), platform.processor() or platform.machine())
