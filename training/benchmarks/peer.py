"""Another framework in a process of its own, timed round by round: between its rounds it waits."""

from __future__ import annotations

import json
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.samples import LabelledVolume
from napari_unet_seg.errors import InputError, reason
from training.benchmarks.machine import Precision

KERAS_UNET = Path(__file__).with_name("peers") / "keras_unet.py"
"""The published projects' network in Keras."""

PATIENCE = 10.0
"""Seconds that a peer has to end by itself."""


class Peer:
    """A process that answers ``{"seconds": S}`` on its input with ``{"slices_per_second": R}`` on its output.

    Use it as a context manager: at the end the process is gone.

    Parameters
    ----------
    python : Path
        The interpreter that has the framework.
    script : Path
        What it runs; its one argument is the JSON of `config`.
    config : dict
        What to time, and how.

    Raises
    ------
    InputError
        If the interpreter cannot be started.
    """

    def __init__(self, python: Path, script: Path, config: dict[str, Any]) -> None:
        self._python = python
        # Its messages go to a file: a pipe that nobody reads would stop it when full.
        self._messages = tempfile.TemporaryFile("w+")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, script, json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                text=True,
            )
        except OSError as error:
            self._messages.close()
            raise InputError(f"cannot be started ({reason(error)})", path=python) from error

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rate(self, seconds: float) -> float:
        """Slices a second, over a round that lasts so long at least."""
        return float(self.ask(seconds)["slices_per_second"])

    def ask(self, seconds: float) -> dict[str, Any]:
        """The whole answer to one round.

        Raises
        ------
        InputError
            If the process has ended, or answers something else.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        try:
            answer = json.loads(line)
            float(answer["slices_per_second"])
        except (ValueError, TypeError, KeyError):
            words = line.strip() or self._last_words()
            raise InputError(f"gave no rate; its last words: {words}", path=self._python) from None
        return dict(answer)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            # It may have ended before it had read everything.
            with suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._messages.close()

    def _last_words(self) -> str:
        self._process.wait()
        self._messages.seek(0)
        return (self._messages.read().strip().splitlines() or ["none"])[-1]


def keras_peer(
    python: Path,
    slices: LabelledVolume,
    *,
    task: str,
    network: UNetConfig,
    batch: int,
    precision: Precision,
    threads: int,
    stack: ExitStack,
    **training: Any,
) -> Peer:
    """The published projects' network in Keras, in a process that `stack` ends.

    Parameters
    ----------
    python : Path
        An interpreter with TensorFlow, and with SciPy to train.
    slices : LabelledVolume
        Bytes, given to it as they are.
    task : {"train", "predict"}
        What a round times.
    network : UNetConfig
        Its features and dropout count.
    batch : int
        Slices of a step.
    precision : {"float32", "bfloat16"}
        Of the network's arithmetic.
    threads : int
        Of an operation on the CPU.
    stack : ExitStack
        Ends the process, and removes the slices that it was given.
    **training
        ``learning_rate`` and ``augment``, to train.

    Raises
    ------
    InputError
        If the interpreter cannot be started.
    """
    data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peer-"))) / "slices.npz"
    masks = np.where(slices.mask[..., None] > 0, 255, 0).astype(np.uint8)
    np.savez(data, images=np.moveaxis(slices.volume.data, 0, -1), masks=masks)
    config = {
        "task": task,
        "data": str(data),
        "features": network.features,
        "dropout": network.dropout,
        "batch": batch,
        "precision": precision,
        "threads": threads,
        **training,
    }
    return stack.enter_context(Peer(python, KERAS_UNET, config))
