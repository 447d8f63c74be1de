"""Everything that a training has to go on with as if it had never been interrupted."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.processes import Processes
from napari_unet_seg.engine.sampling import Sampler
from napari_unet_seg.engine.schedule import Schedule
from napari_unet_seg.errors import InputError

FORMAT = "napari-unet-seg-fit/1"

State = dict[str, Any]
"""Plain numbers, text and tensors. The tensors are those that train on: write or copy them before the next step."""


@dataclass(kw_only=True)
class Progress:
    """How far a training is."""

    step: int = 0
    """Steps done."""

    epoch_loss: float = 0.0
    """Sum of the losses of the epoch that is not over yet."""

    seconds: float = 0.0
    """Time that it has taken."""

    finished: bool = False
    """Whether nothing is left to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """The moving parts of a training; together with the store and the configuration they decide all that comes."""

    learner: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: Schedule
    sampler: Sampler
    generator: torch.Generator
    start: list[Tensor]
    """The weights that an anchor pulls to."""

    config: FitConfig
    processes: Processes
    device: torch.device

    def state(self, progress: Progress) -> State:
        """All of it; every process has to ask for it at the same step."""
        return {
            "format": FORMAT,
            "config": _settings(self.config),
            "progress": dataclasses.asdict(progress),
            "learner": self.learner.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": self.sampler.state_dict(),
            "generator": self.generator.get_state(),
            "start": self.start,
            "random": self.processes.gather(torch.get_rng_state()),
            "random_cuda": self.processes.gather(self._cuda_state()),
        }

    def restore(self, state: State) -> Progress:
        """Go on from a state; with another number of processes, dropout draws anew.

        Raises
        ------
        ValueError
            If it is of another format, or of a training with other settings.
        """
        if state.get("format") != FORMAT:
            raise ValueError("it is no state of a training of this version")
        if different := differences(state, self.config):
            raise ValueError(f"it is of a training with another {', '.join(different)}")
        self.learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        # Without the copy, the steps to come would change the state itself.
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.schedule.load_state_dict(state["schedule"])
        self.sampler.load_state_dict(state["sampler"])
        self.generator.set_state(state["generator"])
        for kept, saved in zip(self.start, state["start"], strict=True):
            kept.copy_(saved)
        if len(state["random"]) == self.processes.count:
            # A copy: torch 2.13 crashes on a state that begins in the middle of a tensor's memory.
            torch.set_rng_state(state["random"][self.processes.rank].clone())
            cuda = state["random_cuda"][self.processes.rank].clone()
            if self.device.type == "cuda" and len(cuda):
                torch.cuda.set_rng_state(cuda, self.device)
        return Progress(**state["progress"])

    def _cuda_state(self) -> Tensor:
        if self.device.type != "cuda":
            return torch.empty(0, dtype=torch.uint8)
        return torch.cuda.get_rng_state(self.device)


def differences(state: State, config: FitConfig) -> list[str]:
    """Names of the settings in which a state's training differs from a configuration."""
    then, now = json.loads(state["config"]), json.loads(_settings(config))
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def write_state(path: Path, state: State) -> None:
    """Write a state, all of it or nothing.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def read_state(path: Path) -> State:
    """Read what `write_state` wrote; nothing in it can run code.

    Raises
    ------
    InputError
        If it is missing, damaged, or no such state.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError("there is no state to go on from", path=path) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError("the state is damaged; delete it to begin anew", path=path) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError("this is no state of a training of this version; delete it to begin anew", path=path)
    return state


def _settings(config: FitConfig) -> str:
    return json.dumps(dataclasses.asdict(config), sort_keys=True)
