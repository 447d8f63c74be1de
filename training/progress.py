"""How far a training has come, in a line."""

from __future__ import annotations

from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.events import EpochDone, StepDone


def step_line(event: StepDone, config: FitConfig) -> str:
    """How far an epoch has come that takes long."""
    return f"  step {event.step}/{event.steps}  loss {event.loss:.4f}  {_time(event.elapsed, event.step, config)}"


def progress_line(event: EpochDone, config: FitConfig) -> str:
    """What an epoch has brought, and how long the rest will take."""
    scores = event.validation or {}
    told = [
        f"{'validation ' if name == 'loss' else ''}{name} {scores[name]:.4f}"
        for name in ("loss", "dice", "iou")
        if name in scores
    ]
    return "  ".join(
        [
            f"epoch {event.epoch}  step {event.step}/{config.steps}  loss {event.loss:.4f}",
            *told,
            f"{event.slices_per_second:.1f} slices/s  {_time(event.seconds, event.step, config)}",
        ]
    )


def _time(seconds: float, step: int, config: FitConfig) -> str:
    """The time gone and left, where a step at full resolution takes four times as long as one at half."""

    def work(steps: int) -> float:
        coarse = min(steps, config.coarse_fraction * config.steps)
        return coarse / 4 + steps - coarse

    left = seconds / work(step) * (work(config.steps) - work(step))
    return f"{seconds / 60:.1f} min, about {left / 60:.1f} left"
