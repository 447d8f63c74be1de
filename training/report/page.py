"""The page of a cross-validation: one HTML file that a colleague can read, pictures within it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_unet_seg.engine.report import picture_figure
from training.report.case_pictures import CasePicture
from training.report.dice_chart import dice_by_patient

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2em auto;max-width:62em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.3em .9em;border-bottom:1px solid #ccc;text-align:right}"
    "td:first-child,th:first-child{text-align:left}figure{margin:.5em 0}figcaption{font-size:14px;color:#555}"
    "img{max-width:100%}figure img{width:640px}.headline{font-size:1.3em}.note{background:#fff3cd;padding:.6em 1em}"
    "@media print{h2,h3{break-after:avoid}figure,table{break-inside:avoid}}"
)


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A case to be shown."""

    row: Mapping[str, Any]
    """Its entry in ``cases`` of `out_of_fold.gather`."""

    pictures: Sequence[CasePicture]


def cross_validation_page(result: Mapping[str, Any], *, worst: Sequence[Portrait], typical: Sequence[Portrait]) -> str:
    """The page's text.

    Parameters
    ----------
    result : mapping
        What `out_of_fold.gather` returned, with ``data``, ``folds_from``, ``missing`` (what is not there, in words) and
        ``patients_assumed`` (how many pictures are of nobody knows whom).
    worst, typical : sequence of Portrait
        The cases to be shown, in order.
    """
    summary = result["summary"]
    interval = summary["volume_dice_ci95"]
    cases, title = result["cases"], f"Cross-validation of the recipe {result['recipe']}"
    poor = [row for row in cases if row["dice"] < 0.7]
    notes = f"<p class=note>{html.escape(result['missing'])}</p>" if result["missing"] else ""
    if result["spacing_assumed"]:
        notes += (
            f"<p class=note>The files of {result['spacing_assumed']} patients do not say how large a voxel is. Voxels "
            "of 1 mm stand in: millilitres and millimetres can be compared with one another, but are not true.</p>"
        )
    if result["patients_assumed"]:
        notes += (
            f"<p class=note>The names of {result['patients_assumed']} pictures tell no patient, and each is taken for "
            "one: a patient with several may be on both sides of a fold.</p>"
        )
    chart = base64.b64encode(dice_by_patient(cases, mean=summary["volume_dice_mean"], interval=interval)).decode()
    return f"""<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>
<style>{_STYLE}</style>
<h1>{html.escape(title)}</h1>
<p class=headline>Mean volume Dice <b>{summary["volume_dice_mean"]:.3f}</b> (95% interval {_interval(interval)}) over
{len(cases)} patients, each segmented by a model that never saw them.</p>{notes}
<p>Dice says how far two masks overlap: 0 not at all, 1 the same in every voxel. It is taken over the whole scan of a
patient, every slice with a mask among it, without smoothing; the mean is over patients, the interval a bootstrap over
patients. The data are <code>{html.escape(result["data"])}</code>. Folds: {html.escape(result["folds_from"])}.</p>
{_summary_table(summary)}
<p>{len(poor)} of {len(cases)} patients lie below a Dice of 0.7.</p>
<img alt="Volume Dice of each patient, and against the true tumour volume" src="data:image/png;base64,{chart}">
<h2>By site</h2>{_groups(result["by_site"], "name")}
<h2>By tumour size</h2><p>Thirds of the patients by the true volume.</p>{_groups(result["by_size"], "volume")}
<h2>By fold</h2>{_folds(result["folds"])}
<h2>The worst cases</h2>
<p>Left the slice as it is, FLAIR where there is one; right the same with the outlines of the truth (green) and of the
prediction (magenta), white where they coincide.</p>{"".join(map(_portrait, worst))}
<h2>A typical case, for comparison</h2>{"".join(map(_portrait, typical))}
<h2>Every patient</h2>{_cases(cases)}</html>
"""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


def _millimetres(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} mm"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}%"


def _interval(value: Sequence[float] | None) -> str:
    return "none" if value is None else f"{value[0]:.3f} to {value[1]:.3f}"


def _summary_table(summary: Mapping[str, Any]) -> str:
    undefined = summary["hd95_mm_undefined"]
    rows = [
        ("Median volume Dice", _number(summary["volume_dice_median"])),
        ("Mean of the worst tenth", _number(summary["volume_dice_worst_tenth"])),
        ("Mean volume IoU", _number(summary["volume_iou_mean"])),
        ("Mean Dice of the slices with tumour", _number(summary["tumour_slice_dice_mean"])),
        ("Slices without tumour that got a false mask", _percent(summary["empty_slice_false_positive_rate"])),
        ("Median distance of the outlines (HD95)", _millimetres(summary["hd95_mm_median"])),
        ("Patients without such a distance, one mask being empty", str(undefined)),
        (
            "For comparison with other reports only: soft Dice, smoothing 100, batches",
            _number(summary["seed_dice_smooth100"]),
        ),
    ]
    return _table(("", ""), rows)


def _groups(groups: Sequence[Mapping[str, Any]], second: str) -> str:
    def described(row: Mapping[str, Any]) -> str:
        return f"{row['volume_ml_from']:.1f} to {row['volume_ml_to']:.1f} ml" if second == "volume" else row["name"]

    rows = [
        (
            f"{row['group']} ({described(row)})" if row["group"] else described(row),
            str(row["cases"]),
            _number(row["volume_dice_mean"]),
            _interval(row["volume_dice_ci95"]),
            _number(row["volume_dice_median"]),
        )
        for row in groups
    ]
    return _table(("", "patients", "mean Dice", "95% interval", "median"), rows)


def _folds(folds: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            f"{fold['fold']} ({fold['checkpoint']})",
            str(fold["cases"]),
            _number(fold["volume_dice_mean"]),
            _interval(fold["volume_dice_ci95"]),
            _percent(fold["empty_slice_false_positive_rate"]),
        )
        for fold in folds
    ]
    return _table(("", "patients", "mean Dice", "95% interval", "empty slices with a false mask"), rows)


def _portrait(portrait: Portrait) -> str:
    row = portrait.row
    figures = "".join(
        picture_figure(each.pixels, caption=f"slice {each.z}, {each.why}: {each.wrong} pixels differ")
        for each in portrait.pictures
    )
    return (
        f"<h3>{html.escape(row['case'])}: Dice {row['dice']:.3f}</h3><p>{row['volume_ml_true']:.1f} ml of tumour, "
        f"{row['volume_ml_pred']:.1f} ml predicted; {_percent(row['recall'])} of the tumour found, "
        f"{_percent(row['precision'])} of the prediction right; HD95 {_millimetres(row['hd95_mm'])}.</p>{figures}"
    )


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            row["case"],
            str(row["fold"]),
            _number(row["dice"]),
            _number(row["iou"]),
            _percent(row["recall"]),
            _percent(row["precision"]),
            _number(row["hd95_mm"], 1),
            _number(row["volume_ml_true"], 1),
            _number(row["volume_ml_pred"], 1),
        )
        for row in cases
    ]
    heads = ("", "fold", "Dice", "IoU", "found", "right", "HD95, mm", "true, ml", "predicted, ml")
    return _table(heads, rows)
