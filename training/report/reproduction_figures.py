"""Figures of the reproductions: predictions beside the truth, curves, one input size against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_unet_seg.data.dataset import Dataset
from napari_unet_seg.data.splits import SliceId
from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.metrics import count
from training.report.honest import FROM_LEAKED

_CURVES = {
    "loss": "training loss",
    "validation_loss": "validation loss",
    "validation_dice": "validation Dice",
    "validation_accuracy": "validation accuracy",
}
"""What a row of a history holds, and what it is called in the picture."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A slice with its truth and the masks that models give it."""

    slice_id: SliceId
    image: NDArray[np.uint8]
    """``(Y, X)`` or ``(Y, X, 3)``."""

    truth: Mask
    """``(Y, X)``."""

    predictions: Mapping[str, tuple[Mask, Mask]]
    """By model: the mask ``(Y, X)`` it gives, and the truth at that model's own size."""


def slice_picture(dataset: Dataset, slice_id: SliceId) -> NDArray[np.uint8]:
    """A slice as one looks at it, ``(Y, X, 3)`` or ``(Y, X)``: the first three channels as colours, or the first."""
    case_id, z = slice_id
    pixels = dataset[case_id].read_image().data[:, z]
    shown = np.moveaxis(pixels[:3], 0, -1) if len(pixels) >= 3 else pixels[0]
    if shown.dtype == np.uint8:
        return shown
    values = shown.astype(np.float32)
    low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
    return (np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def save_examples(path: Path, examples: Sequence[Example], *, title: str) -> None:
    """A row a slice: the image, the true mask, and the mask of each model with the Dice of the slice.

    Parameters
    ----------
    path : Path
        The PNG to write.
    examples : sequence of Example
        At least one, all of the same models.
    title : str
        Above it all.
    """
    names = list(examples[0].predictions)
    columns = 2 + len(names)
    figure = Figure(figsize=(2.6 * columns, 2.75 * len(examples) + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(len(examples), columns, squeeze=False)
    for row, example in zip(grid, examples, strict=True):
        for axes in row:
            axes.axis("off")
        row[0].imshow(example.image, cmap="gray")
        row[0].set_title(f"{example.slice_id[0][:24]}\nslice {example.slice_id[1]}", fontsize="small")
        row[1].imshow(example.truth, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        row[1].set_title("truth", fontsize="small")
        for axes, name in zip(row[2:], names, strict=True):
            mask, truth = example.predictions[name]
            axes.imshow(mask, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(f"{name}\nDice {count(mask, truth).dice:.3f}", fontsize="small")
    figure.savefig(path, dpi=110)


def save_curves(path: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Training and validation loss, Dice and accuracy on the validation, of each recipe over its epochs.

    Parameters
    ----------
    path : Path
        The PNG to write.
    histories : mapping
        By recipe the rows of its ``history.json``; a figure that a row lacks is left out.
    """
    figure = Figure(figsize=(17, 4.2), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, len(_CURVES)), _CURVES.items(), strict=True):
        for name, rows in histories.items():
            points = [(row["epoch"], row[key]) for row in rows if row.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set(xlabel="epoch", title=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def save_size_bars(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Reported figures, ours in the same metric and the honest volume Dice of recipes side by side, with gaps.

    Parameters
    ----------
    path : Path
        The PNG to write.
    rows : sequence of mapping
        Entries of ``recipes`` in the JSON of `training.reproduce`.
    """
    figure = Figure(figsize=(1.5 + 3.2 * len(rows), 4.2), layout="constrained")
    axes = figure.subplots()
    leaked = any(row["honest"]["kind"] == FROM_LEAKED for row in rows)
    honest = f"volume Dice, no smoothing{', from leaked patients' if leaked else ''}"
    kinds = ("Dice reported", "Dice, the same metric", "IoU reported", "IoU, the same metric", honest)
    colours = ("lightsteelblue", "tab:blue", "moccasin", "tab:orange", "tab:green")
    for number, (kind, colour) in enumerate(zip(kinds, colours, strict=True)):
        heights = [_heights(row)[number] for row in rows]
        places = [place + (number - 2) * 0.16 for place in range(len(rows))]
        shown = [(place, height) for place, height in zip(places, heights, strict=True) if height is not None]
        if shown:
            bars = axes.bar(*zip(*shown, strict=True), width=0.15, color=colour, label=kind)
            axes.bar_label(bars, fmt="%.2f", fontsize="x-small")
    labels = [f"{row['recipe']}\n{row['split']['label']}\n{row['length']['text']}" for row in rows]
    axes.set_xticks(range(len(rows)), labels, fontsize="small")
    axes.set_ylim(0, 1.15)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=110)


def _heights(row: Mapping[str, Any]) -> tuple[float | None, ...]:
    part = row["honest"]["part"]
    told, ours = row["reported"].get(part, {}), row["seed_metrics"][part]
    honest = row["honest"]["summary"]["volume_dice_mean"]
    return told.get("dice"), ours["dice"], told.get("iou"), ours["iou"], honest
