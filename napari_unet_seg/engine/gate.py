"""Whether a round's weights take their parent's place, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.round_report import CaseReport

HELD_BACK, REHEARSAL, CONFIDENT = "held back", "rehearsal", "confident"
_LEAST_DICE = 0.3


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says."""

    promoted: bool
    reason: str
    before: float
    """Mean Dice with the parent's weights over the cases that speak for the round."""

    after: float


def held_back_dice(planes: Sequence[NDArray[np.generic]], truth: Sequence[NDArray[np.generic]]) -> float:
    """Dice over some slices ``(Y, X)``: of all their pixels together, or, where the truth has none, of each in turn.

    One wrong pixel in one of ten empty slices would otherwise cost the whole score.
    """
    if any(plane.any() for plane in truth):
        return count(np.stack(planes), np.stack(truth)).dice
    return float(np.mean([count(plane, true).dice for plane, true in zip(planes, truth, strict=True)]))


def confident_dice(before: NDArray[np.float32], after: Mask, *, threshold: float) -> float | None:
    """How far a new mask keeps to the parent's where the parent is sure; None where it is sure of no tumour.

    Parameters
    ----------
    before : ndarray
        The parent's probabilities, any axes.
    after : ndarray
        The new mask, of the same shape.
    threshold : float
        The parent's.
    """
    sure = (before >= (1 + threshold) / 2) | (before < threshold / 10)
    kept = (before >= threshold) & sure
    if not kept.any():
        return None
    return count((after > 0) & sure, kept).dice


def judge(cases: Sequence[CaseReport], *, policy: TunePolicy, only_empty: bool) -> Verdict:
    """Weigh what a round gained on held-back slices against what it lost elsewhere.

    Parameters
    ----------
    cases : sequence of CaseReport
        Roles ``"held back"``, ``"rehearsal"`` (true masks) and ``"confident"`` (the parent's own, where it is sure).
    policy : TunePolicy
        The limits.
    only_empty : bool
        Whether every corrected slice is empty, so that nothing says where tumour is.
    """
    by_role = {role: [case for case in cases if case.role == role] for role in (HELD_BACK, REHEARSAL, CONFIDENT)}
    means = {
        role: (float(np.mean([c.before for c in found])), float(np.mean([c.after for c in found])))
        for role, found in by_role.items()
        if found
    }
    before, after = means.get(HELD_BACK) or means.get(CONFIDENT) or means.get(REHEARSAL) or (0.0, 0.0)
    refusal = _refusal(means, policy=policy, only_empty=only_empty)
    if refusal:
        return Verdict(promoted=False, reason=refusal, before=before, after=after)
    if HELD_BACK in means:
        reason = f"corrected slices held back from training rose from {before:.3f} to {after:.3f}"
    else:
        reason = "a single corrected slice cannot be held back; the mask was kept wherever the model was sure"
    if REHEARSAL in means:
        known = means[REHEARSAL]
        reason += f"; other labelled cases went from {known[0]:.3f} to {known[1]:.3f}"
    return Verdict(promoted=True, reason=reason, before=before, after=after)


def _refusal(means: dict[str, tuple[float, float]], *, policy: TunePolicy, only_empty: bool) -> str:
    """Why a round is not promoted; empty if it is."""
    if not means:
        return "nothing was there to check the round against"
    if HELD_BACK in means:
        before, after = means[HELD_BACK]
        if after < before + policy.least_gain and not (before > 0.98 and after >= before):
            return (
                f"corrected slices held back from training went from {before:.3f} to {after:.3f}, "
                f"less than the gain of {policy.least_gain:.2f} that is asked for"
            )
        if after < _LEAST_DICE:
            return f"the corrections do not agree with one another: held back, they score {after:.3f}"
    if CONFIDENT in means:
        agreement = means[CONFIDENT][1]
        # What held-back corrections confirm may change the mask; what nothing confirms may not.
        asked = policy.least_agreement_confirmed if HELD_BACK in means and not only_empty else policy.least_agreement
        if agreement < asked:
            what = "every correction is an empty slice, and " if only_empty else ""
            return (
                f"{what}the mask would change where nobody corrected it and the model was sure (agreement "
                f"{agreement:.3f}, at least {asked:.2f} is asked for)"
            )
    if REHEARSAL in means:
        before, after = means[REHEARSAL]
        if after < before - policy.most_loss:
            return f"other labelled cases fell from {before:.3f} to {after:.3f}"
    return ""
