"""The summary of an evaluation, for a terminal."""

from __future__ import annotations

from typing import Any

from napari_unet_seg.wording import counted


def averaged_over(summary: dict[str, Any]) -> str:
    """What the means of a summary are over, in words: ``mean over patients`` where each has one scan."""
    # Scores that were kept from before do not tell.
    patients = summary.get("patients", summary["cases"])
    if patients == summary["cases"]:
        return "mean over patients"
    return f"mean over the scans of {counted(patients, 'patient')}, who are drawn whole for the interval"


def summary_text(summary: dict[str, Any]) -> str:
    """Several lines: the honest figures first, the flattering ones below, named as such.

    Parameters
    ----------
    summary : dict
        What `evaluate.summarise` returned.
    """
    interval = "no interval: one patient"
    if summary["volume_dice_ci95"] is not None:
        low, high = summary["volume_dice_ci95"]
        interval = f"95% interval {low:.3f} to {high:.3f}"
    undefined = summary["hd95_mm_undefined"]
    note = f", undefined in {counted(undefined, 'case')} with one mask empty" if undefined else ""
    # Scores that were kept from before do not tell.
    if unknown := summary.get("spacing_unknown", 0):
        note += f", taking voxels as 1 mm in {counted(unknown, 'case')}"

    warnings = ""
    if trained_on := summary.get("cases_trained_on", 0):
        warnings += (
            f"\n  of patients that this model learned from, so it does worse on others: {counted(trained_on, 'case')}"
        )
    if corrected := summary.get("cases_corrected", 0):
        warnings += f"\n  scored against masks that you have corrected yourself: {counted(corrected, 'case')}"

    def shown(value: float | None) -> str:
        return "none there" if value is None else f"{value:.3f}"

    distance = shown(summary["hd95_mm_median"])
    if summary["hd95_mm_median"] is not None:
        distance += " mm"

    return f"""
{counted(summary["cases"], "case")}, {averaged_over(summary)}, every slice, hard mask, no smoothing{warnings}
  volume Dice        {summary["volume_dice_mean"]:.3f}  ({interval})
  median, worst 10%  {summary["volume_dice_median"]:.3f}, {summary["volume_dice_worst_tenth"]:.3f}
  volume IoU         {summary["volume_iou_mean"]:.3f}
  tumour slices      {shown(summary["tumour_slice_dice_mean"])}
  empty slices with a false mask  {shown(summary["empty_slice_false_positive_rate"])}
  HD95 median        {distance}{note}
for comparison with figures reported elsewhere; predicting nothing at all scores high on them
  all slices, empty = 1      {summary["all_slice_dice_empty1"]:.3f}
  soft, batches, smooth 100  Dice {summary["seed_dice_smooth100"]:.3f}, IoU {summary["seed_iou_smooth100"]:.3f}
  pixel accuracy             {summary["accuracy"]:.4f}"""
