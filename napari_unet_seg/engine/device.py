"""Which device and number format a network runs on here, and why, in words; and whether its memory ran out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted

NAMES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True, kw_only=True)
class DeviceChoice:
    """A device with its precision."""

    device: torch.device
    precision: torch.dtype
    note: str
    """Why, for the user."""


def choose_device(wanted: str = "auto") -> DeviceChoice:
    """The fastest device that works, or the one asked for.

    Parameters
    ----------
    wanted : str
        "auto", "cpu", "mps", "cuda" or "cuda:N".

    Raises
    ------
    InputError
        If that device is not there, or does not work.
    """
    kind, _, number = str(wanted).partition(":")
    if kind not in NAMES or (number and (kind != "cuda" or not number.isdigit())):
        raise InputError(f"unknown device {wanted!r}; choose auto, cpu, mps, cuda or cuda:N")
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if kind == "cuda" and not cuda:
        raise InputError(f"device {wanted!r} is not available: {why_no_cuda()}; use cpu or auto")
    if kind == "mps" and not mps:
        raise InputError("device 'mps' is not available: it needs a Mac with Apple silicon; use cpu or auto")
    fault: str | None = None
    if kind == "cuda" or (kind == "auto" and cuda):
        index = int(number or 0)
        if index >= torch.cuda.device_count():
            devices = counted(torch.cuda.device_count(), "CUDA device")
            raise InputError(f"there is no cuda:{index}; this machine has {devices}")
        device = torch.device("cuda", index)
        fault = fault_of(device)
        if fault is None:
            half = has_bfloat16(device)
            return DeviceChoice(
                device=device,
                precision=torch.bfloat16 if half else torch.float32,
                note=f"{torch.cuda.get_device_name(device)} (CUDA), {'bfloat16' if half else 'float32'}",
            )
        if kind == "cuda":
            raise InputError(f"device {wanted!r} does not work: {fault}; use cpu or auto")
    if kind == "mps" or (kind == "auto" and mps):
        return DeviceChoice(device=torch.device("mps"), precision=torch.float32, note="Apple GPU (MPS), float32")
    half = has_bfloat16(torch.device("cpu"))
    reason = "" if kind == "cpu" else f"; {fault or why_no_cuda()}"
    number_format = "bfloat16" if half else "float32, as it has no bfloat16 instructions"
    return DeviceChoice(
        device=torch.device("cpu"),
        precision=torch.bfloat16 if half else torch.float32,
        note=f"CPU with {usable_cores()} cores, {number_format}{reason}",
    )


def usable_cores() -> int:
    """CPU cores that this process may use, not those that the machine has."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) or 1


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself, which is faster than float32; where it is emulated, it is slower."""
    if device.type == "cuda":
        # From Ampere on.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and cpu_has_bfloat16()


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX-512 BF16 or AMX), not by emulation."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in names)


def why_no_cuda() -> str:
    """Why there is no CUDA device, in words."""
    if torch.version.cuda is None and getattr(torch.version, "hip", None) is None:
        return "the installed PyTorch is built for the CPU alone"
    return "no CUDA graphics card was found"


def fault_of(device: torch.device) -> str | None:
    """Why a graphics card that is there cannot be used, in words; None where it can.

    PyTorch lists cards that it has no code for, the default one of 2.13 those before Turing; and one may be taken by
    another program, its driver broken, or cuDNN. The first convolution tells.
    """
    try:
        # As many channels as tensor cores take, eight images and eight kernels at once.
        ones = torch.ones(8, 8, 3, 3, device=device, dtype=torch.bfloat16 if has_bfloat16(device) else torch.float32)
        torch.nn.functional.conv2d(ones, ones).cpu()
    except Exception as error:
        # Whatever CUDA, cuDNN or the driver raise: not all of it is a RuntimeError. What follows the first line is how
        # to look for a fault in a program.
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        return f"the graphics card fails ({said})"
    return None


def out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error of torch or NumPy means that memory ran out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    # The last one is what torch says where a convolution lacks room to work in: it catches cuDNN's want of memory for
    # each way to compute it, and then has none left (aten/src/ATen/native/cudnn/Conv_v8.cpp).
    return any(said in text for said in ("out of memory", "can't allocate memory", "unable to find an engine"))
