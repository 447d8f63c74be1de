"""What a run leaves behind: settings, checkpoints, state, history, curves."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.engine.checkpoint import Description, file_hash, read_description, save_checkpoint
from napari_unet_seg.engine.events import EpochDone
from napari_unet_seg.engine.fit_state import State, read_state, write_state
from napari_unet_seg.engine.network import Network
from napari_unet_seg.errors import InputError, reading
from training.differences import told_differences
from training.json_file import finite, save_json

_SHARE = 0.1
"""Most of the time that may go into writing states, and into drawing."""

_WORDS = {"notes", "reported", "licence", "licensed_prefix"}
"""What a recipe says of a training without a say in it."""


class RunFolder:
    """The folder of a run.

    ``config.json`` (enough to repeat it), ``best.safetensors``, ``last.safetensors``, ``state.pt`` (to go on from),
    ``history.json`` (a row for each whole epoch), ``curves.png``, and ``tensorboard/``. The steps after the last whole
    epoch are in the weights alone, so a run shorter than an epoch has an empty history, and no curves. Every file is
    whole at any moment, and `begin` brings them to one epoch again.

    Parameters
    ----------
    path : Path
        Made when the first file is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "best.safetensors"
        self.last = path / "last.safetensors"
        self.history: list[dict[str, Any]] = []
        self._lowest = math.inf
        self._state_due = 0.0
        self._curves_due = 0.0
        self._board: Any = None

    def check_free(self) -> None:
        """Refuse to put another run in the place of one that is there.

        Raises
        ------
        InputError
            If there is one, finished or not, or its state is damaged.
        """
        if self.path.is_file():
            raise InputError("a run needs a folder, and this is a file; give another --output", path=self.path)
        if self.is_unfinished():
            problem = "there is an unfinished run here; go on with it by --resume, or delete the folder"
            raise InputError(problem, path=self.path)
        if (self.path / "state.pt").exists() or self.best.exists() or self.last.exists():
            problem = "there is a finished run here; give another --output, or delete the folder to train anew"
            raise InputError(problem, path=self.path)

    def is_unfinished(self) -> bool:
        """Whether a run that is there has not come to its end; InputError if its state is damaged."""
        file = self.path / "state.pt"
        if file.exists():
            return not read_state(file)["progress"]["finished"]
        # Broken off between the first weights and the first state, on a full disk for example.
        return (self.best.exists() or self.last.exists()) and self._before_its_first_state()

    def state(self) -> State | None:
        """The state to go on from; None where there is no run yet.

        Raises
        ------
        InputError
            If it is damaged, or there are weights without it.
        """
        file = self.path / "state.pt"
        if file.exists():
            return read_state(file)
        # A run that broke off while it wrote its first state begins again; other weights are nobody's to replace.
        if (self.best.exists() or self.last.exists()) and not self._before_its_first_state():
            problem = "there are weights here, but no state to go on from; give another --output, or delete the folder"
            raise InputError(problem, path=self.path)
        return None

    def _before_its_first_state(self) -> bool:
        config, history = self.path / "config.json", self.path / "history.json"
        if not config.is_file() or not history.is_file():
            return False
        rows, steps = self._read(history), self._read(config)["recipe"]["fit"]["steps"]
        # One shorter than an epoch has no row when it is done, only weights.
        return len(rows) < 2 and all(row["step"] < steps for row in rows) and not self.is_complete(steps)

    def begin(self, config: Mapping[str, Any], state: State | None) -> None:
        """Write the settings of a new run, or check that one that goes on has the same.

        One that is done stays as it is.

        Raises
        ------
        InputError
            If they are others, or the folder cannot be read or written.
        """
        file = self.path / "config.json"
        if state is None:
            for name in ("state.pt", "best.safetensors", "last.safetensors", "curves.png"):
                (self.path / name).unlink(missing_ok=True)
            write_bytes(file, (json.dumps(config, indent=2, allow_nan=False) + "\n").encode())
            self._write_history()
        else:
            self._check_same(file, config)
            step = state["progress"]["step"]
            rows = self._read(self.path / "history.json")
            # What came after the state was written is done once more.
            self.history = [row for row in rows if row["step"] <= step]
            if state["progress"]["finished"] and self.is_complete(step) and self.history == rows:
                return
            scores = read_description(self.best).training.get("validation") if self.best.is_file() else None
            loss = scores["loss"] if scores else None
            self._lowest = loss if loss is not None and math.isfinite(loss) else math.inf
            self._write_history()
        self._open_board()

    def is_complete(self, step: int) -> bool:
        """Whether both checkpoints are there, the last one of that step."""
        if not self.best.is_file() or not self.last.is_file():
            return False
        return bool(read_description(self.last).training.get("steps_done") == step)

    def epoch_done(self, event: EpochDone, network: Network, description: Description) -> None:
        """Write checkpoints, history and, now and then, the curves."""
        save_checkpoint(self.last, network, description)
        scores = event.validation
        # Without a validation, nothing tells one epoch from another.
        if scores is None or not self.best.is_file() or scores["loss"] < self._lowest:
            save_checkpoint(self.best, network, description)
            if scores is not None and math.isfinite(scores["loss"]):
                self._lowest = scores["loss"]
        self.history.append(_row(event))
        self._write_history()
        if self._board is not None:
            for key, value in self.history[-1].items():
                if key not in ("epoch", "step", "seconds") and value is not None:
                    self._board.add_scalar(key.replace("validation_", "validation/"), value, event.step)
            self._board.flush()
        if time.monotonic() >= self._curves_due:
            self._curves_due = _next(self._draw)

    def save_state(self, state: State, *, at_once: bool) -> None:
        """Write the state, unless that would take too much of the time."""
        if at_once or time.monotonic() >= self._state_due:
            self._state_due = _next(lambda: write_state(self.path / "state.pt", state))

    def finish(self, network: Network, description: Description, *, validated: bool) -> None:
        """Write the last weights, which are the best ones too where nothing was validated."""
        save_checkpoint(self.last, network, description)
        if not validated or not self.best.is_file():
            save_checkpoint(self.best, network, description)
        self._draw()
        self.close()

    def close(self) -> None:
        """Close the events' file."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def _check_same(self, file: Path, config: Mapping[str, Any]) -> None:
        then, now = self._read(file), json.loads(json.dumps(config))
        parts = sorted((now["recipe"].keys() | then["recipe"].keys()) - _WORDS)
        changed = [key for key in parts if now["recipe"].get(key) != then["recipe"].get(key)]
        # A part may have a setting more than the other, and then has to do.
        other = [
            told_differences({key: then["recipe"].get(key)}, {key: now["recipe"].get(key)}) or f"another {key}"
            for key in changed
        ]
        other += [f"another {key}" for key in ("data_fingerprint", "held_out", "parent") if then.get(key) != now[key]]
        if other:
            problem = f"the run was begun with {'; '.join(other)}; give the same settings, or another --output"
            raise InputError(problem, path=file)
        if (before := then.get("precision", now["precision"])) != now["precision"]:
            print(f"trained in {before} so far, and in {now['precision']} on this processor", flush=True)

    def _read(self, file: Path) -> Any:
        try:
            with reading(file):
                return json.loads(file.read_text())
        except json.JSONDecodeError as error:
            raise InputError("is damaged; delete the folder to begin anew", path=file) from error

    def _write_history(self) -> None:
        save_json(self.path / "history.json", self.history)

    def _open_board(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            print("no TensorBoard events: pip install tensorboard", flush=True)
            return
        step = self.history[-1]["step"] + 1 if self.history else 0
        # What an interrupted run wrote beyond its state is taken back.
        self._board = SummaryWriter(str(self.path / "tensorboard"), purge_step=step)

    def _draw(self) -> None:
        if not self.history:
            return
        try:
            from training.curves import save_curves
        except ImportError:
            return
        save_curves(self.path / "curves.png", self.history, title=self.path.name)


def folder_of(output: Path) -> Path:
    """The folder of a run whose output is that folder, or a ``.safetensors`` file beside it."""
    return output.with_suffix("") if output.suffix == ".safetensors" else output


def check_own(output: Path) -> None:
    """Refuse to begin again with an output that is there and not of the run in its folder.

    Raises
    ------
    InputError
        If it is another one.
    """
    best = RunFolder(folder_of(output)).best
    if output.suffix != ".safetensors" or not output.exists():
        return
    if not best.is_file() or file_hash(best) != file_hash(output):
        raise InputError("is there already, and of another run; give another --output, or delete it", path=output)


def check_free(output: Path) -> None:
    """Refuse an output of a run where something is already: the file, or a run in its folder.

    Raises
    ------
    InputError
        See `RunFolder.check_free`.
    """
    RunFolder(folder_of(output)).check_free()
    if output.suffix == ".safetensors" and output.exists():
        raise InputError("is there already; give another --output, or delete it", path=output)


def _row(event: EpochDone) -> dict[str, Any]:
    row = {
        "epoch": event.epoch,
        "step": event.step,
        "loss": event.loss,
        "learning_rate": event.learning_rate,
        "seconds": round(event.seconds, 2),
        "slices_per_second": round(event.slices_per_second, 2),
    }
    return row | {f"validation_{name}": value for name, value in finite(event.validation or {}).items()}


def _next(work: Callable[[], None]) -> float:
    """Do something, and say when it may be done again."""
    began = time.monotonic()
    work()
    ended = time.monotonic()
    return ended + (ended - began) / _SHARE
