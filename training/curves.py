"""Loss, scores and rate of a run over its epochs, as a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from napari_unet_seg.data.formats.atomic import write_bytes

_PANELS = {
    "loss": {"loss": "training", "validation_loss": "validation"},
    "validation": {"validation_dice": "Dice", "validation_iou": "IoU"},
    "validation accuracy": {"validation_accuracy": "accuracy"},
    "learning rate": {"learning_rate": "rate"},
}


def save_curves(path: Path, history: Sequence[Mapping[str, Any]], *, title: str) -> None:
    """Write a PNG of the history's rows, ``epoch`` and the figures beside it; a panel without figures is left out."""
    panels = {
        name: {key: label for key, label in lines.items() if any(key in row for row in history)}
        for name, lines in _PANELS.items()
    }
    panels = {name: lines for name, lines in panels.items() if lines}
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for number, (name, lines) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), number)
        for key, label in lines.items():
            rows = [row for row in history if key in row]
            axes.plot(
                [row["epoch"] for row in rows],
                [row[key] for row in rows],
                label=label,
                marker="o" if len(rows) < 3 else "",
            )
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(lines) > 1:
            axes.legend(frameon=False)
    figure.suptitle(title)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue())
