"""A page a colleague can read: scores, and a picture of every case."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.segmentation import find_boundaries

from napari_unet_seg.data.formats.atomic import write_bytes
from napari_unet_seg.data.roles import arrange_channels, flair_index
from napari_unet_seg.data.volume import Mask, Volume
from napari_unet_seg.engine.evaluate import CaseScores
from napari_unet_seg.engine.summary import averaged_over

PAGE = "report.html"
"""Name of the file."""

_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}"
    "table{border-collapse:collapse}td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:.5em}"
    "figcaption{font-size:13px}img{width:256px;image-rendering:auto}"
)


def shown_channel(volume: Volume, channel_names: Sequence[str]) -> NDArray[Any]:
    """What a picture shows of a scan, ``(Z, Y, X)``: FLAIR, or the first of a model's channels where it has none."""
    arranged, _ = arrange_channels(volume, channel_names)
    return np.asarray(arranged.data[flair_index(channel_names) or 0])


def outline_picture(image: NDArray[Any], *, truth: NDArray[Any], y_pred: NDArray[Any]) -> NDArray[np.uint8]:
    """A slice with the outlines of truth (green) and prediction (magenta); white where they coincide.

    Parameters
    ----------
    image, truth, y_pred : ndarray
        ``(Y, X)``.

    Returns
    -------
    ndarray
        ``(Y, X, 3)`` uint8.
    """
    values = image.astype(np.float32)
    low, high = np.percentile(values, (1, 99.5)).astype(np.float32)
    grey = (np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    for mask, channels in ((truth, (1,)), (y_pred, (0, 2))):
        edge = find_boundaries(mask > 0, mode="inner")
        for channel in channels:
            picture[..., channel][edge] = 255
    return picture


def picture_figure(picture: NDArray[np.uint8], *, caption: str) -> str:
    """A picture ``(Y, X, 3)`` with a caption in plain text, as an HTML figure that needs no other file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    encoded = base64.b64encode(buffer.getvalue()).decode()
    escaped = html.escape(caption)
    return f"<figure><img alt='' src='data:image/png;base64,{encoded}'><figcaption>{escaped}</figcaption></figure>"


class CaseFigures:
    """The figure of each case, made while it is scored: its slice with most tumour, with both outlines.

    Parameters
    ----------
    channel_names : sequence of str
        The model's; FLAIR is shown where it has it.
    """

    def __init__(self, channel_names: Sequence[str]) -> None:
        self._channel_names = channel_names
        self.html: dict[str, str] = {}
        """By case."""

    def add(self, scores: CaseScores, volume: Volume, truth: Mask, y_pred: Mask) -> None:
        """Make the figure of a case; see `evaluate.Look`."""
        shown = truth if truth.any() else y_pred
        z = int((shown > 0).sum(axis=(1, 2)).argmax())
        image = shown_channel(volume, self._channel_names)[z]
        picture = outline_picture(image, truth=truth[z], y_pred=y_pred[z])
        caption = f"{scores.case}, slice {z}: Dice of the volume {scores.dice:.3f}"
        self.html[scores.case] = picture_figure(picture, caption=caption)


def write_report(result: dict[str, Any], figures: Mapping[str, str], *, folder: Path) -> Path:
    """Write the page, complete in one file: `PAGE`.

    Parameters
    ----------
    result : dict
        What `evaluate` returned.
    figures : mapping of str to str
        The HTML figure of each of its cases, see `CaseFigures`.
    folder : Path
        Where to; it is made.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    summary = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{_shown(value)}</td></tr>" for key, value in result["summary"].items()
    )
    ordered = sorted(result["cases"], key=lambda scores: scores["dice"])
    columns = list(ordered[0])
    heads = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_shown(scores[column]))}</td>" for column in columns) + "</tr>"
        for scores in ordered
    )
    pictures = "".join(figures[scores["case"]] for scores in ordered)
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Scores of {html.escape(result['model'])}</title>"
        f"<style>{_STYLE}</style><h1>Model {html.escape(result['model'])}</h1>"
        f"<p>Dataset {html.escape(result['dataset'])}. Scores: {averaged_over(result['summary'])}; every slice, hard "
        "mask, no smoothing. The figures from all_slice_dice_empty1 on are for comparison with what others report.</p>"
        f"<table>{summary}</table>"
        f"<h2>Cases, worst first</h2><table><tr>{heads}</tr>{rows}</table>"
        f"<h2>The slice with most tumour</h2><p>Truth green, prediction magenta, both white.</p>{pictures}</html>"
    )
    target = folder / PAGE
    write_bytes(target, page.encode(errors="backslashreplace"))
    return target


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(_shown(item) for item in value)
    return f"{value:.4f}" if isinstance(value, float) else "none" if value is None else str(value)
