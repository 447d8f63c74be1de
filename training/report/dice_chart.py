"""Charts of the Dice of patients, as PNG files in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter


def dice_by_patient(cases: Sequence[Mapping[str, Any]], *, mean: float, interval: Sequence[float] | None) -> bytes:
    """Every patient's volume Dice: at the left from worst to best, at the right against the true volume.

    Parameters
    ----------
    cases : sequence of mapping
        With ``dice``, ``site`` and ``volume_ml_true``.
    mean : float
        Of all, drawn as a line.
    interval : (float, float), optional
        The 95% interval of the mean, drawn as a band.

    Returns
    -------
    bytes
        A PNG.
    """
    ordered = sorted(cases, key=lambda row: row["dice"])
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for site in sorted({row["site"] for row in ordered}):
        places = [place for place, row in enumerate(ordered) if row["site"] == site]
        dice = [ordered[place]["dice"] for place in places]
        # A logarithmic axis has no 0: a scan without tumour stands at its left end.
        volumes = [max(ordered[place]["volume_ml_true"], 0.1) for place in places]
        left.scatter([place + 1 for place in places], dice, s=22, label=site or "all")
        right.scatter(volumes, dice, s=22)
    for axes in (left, right):
        axes.axhline(mean, color="black", linewidth=1, label=f"mean {mean:.3f}")
        if interval is not None:
            axes.axhspan(*interval, color="grey", alpha=0.25, label="its 95% interval")
        axes.grid(alpha=0.3)
        axes.set_ylim(-0.02, 1.02)
    left.set(xlabel="patients, worst first", ylabel="volume Dice")
    left.legend(fontsize="small", loc="lower right")
    right.set(xlabel="true tumour volume in ml", xscale="log")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    right.xaxis.set_major_formatter(ScalarFormatter())
    right.xaxis.set_minor_formatter(NullFormatter())
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
