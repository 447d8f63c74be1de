"""How much memory there is for cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

GIB = 2**30


def default_limit(device: torch.device, *, processes: int = 1) -> int:
    """Half of what is free, in bytes: of this machine's memory, shared out among its processes, and of the device's.

    Parameters
    ----------
    device : torch.device
        What the cases are to lie on; they pass through the machine's memory on the way.
    processes : int
        That train on this machine, each with cases of its own.
    """
    free = available_memory() // processes
    if device.type == "cuda":
        free = min(free, torch.cuda.mem_get_info(device)[0])
    return free // 2


def available_memory() -> int:
    """Bytes that this process may still have: of the machine, or of its control group where that has a limit."""
    return max(0, min([int(psutil.virtual_memory().available), *_left_in_groups()]))


def _left_in_groups(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """What each control group that this process is in leaves, and those around it; nothing where there are none."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            base, limit, used = root, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            base, limit, used = root / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = base / path.lstrip("/")
        # In a container, the path may be that outside of it; the group itself is the base then.
        for folder in (group, *group.parents):
            if not folder.is_relative_to(base):
                break
            found, taken = _number(folder / limit), _number(folder / used)
            if found is not None and taken is not None:
                yield found - taken + _given_back(folder / "memory.stat")


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        # "max", where there is no limit.
        return None


def _given_back(file: Path) -> int:
    """What a group holds of files that were read once, and gives back when it is asked to."""
    try:
        rows = dict(line.split(maxsplit=1) for line in file.read_text().splitlines())
        return int(rows.get("total_inactive_file", rows.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0
