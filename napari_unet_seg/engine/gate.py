"""Whether a round's weights take their parent's place, and why, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.volume import Mask
from napari_unet_seg.engine.metrics import count
from napari_unet_seg.engine.policy import TunePolicy
from napari_unet_seg.engine.round_report import CaseReport

HELD_BACK, LEARNED, REHEARSAL, CONFIDENT = "held back", "learned", "rehearsal", "confident"
_LEAST_DICE = 0.3
_ONE_PATIENT = (
    "corrections of one patient cannot tell what becomes of others; correct a scan of a second one, or adapt the model "
    "to this scan alone"
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says."""

    promoted: bool
    reason: str
    before: float | None = None
    """Mean Dice with the parent's weights over the cases that speak for the round; None where nothing was measured."""

    after: float | None = None


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What a round would replace, against the round, where that is not its parent."""

    in_use: float
    """Dice of the version in use."""

    offered: float
    """Dice of the round."""

    where: str
    """On which slices, in words."""


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


def judge(
    cases: Sequence[CaseReport],
    *,
    policy: TunePolicy,
    corrected: Collection[str],
    only_empty: bool,
    one_patient: bool = False,
    contest: Contest | None = None,
    few_steps: int | None = None,
) -> Verdict:
    """Weigh what a round gained on held-back slices against what it lost elsewhere.

    Parameters
    ----------
    cases : sequence of CaseReport
        Roles ``"held back"``, ``"learned"`` (a single corrected slice, which cannot be held back), ``"rehearsal"``
        (true masks) and ``"confident"`` (the parent's own, where it is sure).
    policy : TunePolicy
        The limits.
    corrected : collection of str
        Names of the cases that were corrected.
    only_empty : bool
        Whether every corrected slice is empty, so that nothing says where tumour is.
    one_patient : bool
        Whether weights that are for every scan were learned from scans of a single patient.
    contest : Contest, optional
        How the round does against the version in use.
    few_steps : int, optional
        How many steps it made, where they are too few for a scan.
    """
    gained = [case for case in cases if case.role == HELD_BACK]
    learned = [case for case in cases if case.role == LEARNED]
    known = [case for case in cases if case.role == REHEARSAL]
    own = [case for case in cases if case.role == CONFIDENT and case.case in corrected]
    others = [case for case in cases if case.role == CONFIDENT and case.case not in corrected]
    speaking = gained or learned or own or others or known
    if not speaking:
        return Verdict(promoted=False, reason="nothing was there to check the round against")
    before, after = _mean_before(speaking), _mean_after(speaking)
    refusal = (
        _no_gain(gained, policy)
        or _not_learned(learned, only_empty=only_empty)
        or _lost_contest(contest)
        or _lost_own(own, policy, gained=gained, only_empty=only_empty, alone=not known)
        or _lost_others(others, policy)
        or _lost_known(known, policy)
        or (_ONE_PATIENT if one_patient and not known else "")
        or _few(few_steps)
    )
    if refusal:
        return Verdict(promoted=False, reason=refusal, before=before, after=after)
    if gained:
        reason = f"corrected slices held back from training rose from {before:.3f} to {after:.3f}"
    else:
        several = sum(case.slices for case in learned) > 1
        what = "there was no time to hold slices back" if several else "a single corrected slice cannot be held back"
        which = "the corrected ones" if several else "that slice"
        reason = (
            f"{what}: the scores are of {which}, which the round has learned from; elsewhere the mask was kept where "
            "the model was sure"
        )
    if known:
        reason += f"; other labelled cases went from {_mean_before(known):.3f} to {_mean_after(known):.3f}"
    return Verdict(promoted=True, reason=reason, before=before, after=after)


def _mean_before(cases: Sequence[CaseReport]) -> float:
    return float(np.mean([case.before for case in cases]))


def _mean_after(cases: Sequence[CaseReport]) -> float:
    return float(np.mean([case.after for case in cases]))


def _few(steps: int | None) -> str:
    if steps is None:
        return ""
    return f"after so few steps ({steps}) a scan's masks are not to be trusted, even where those held back are better"


def _no_gain(gained: Sequence[CaseReport], policy: TunePolicy) -> str:
    """Why what was held back does not speak for a round; empty if it does, or nothing was."""
    if not gained:
        return ""
    before, after = _mean_before(gained), _mean_after(gained)
    if after < before + policy.least_gain:
        return f"corrected slices held back from training went from {before:.3f} to {after:.3f}, which is no gain"
    if after < _LEAST_DICE:
        return f"held back, the corrections score {after:.3f} only; they may not agree with one another"
    return ""


def _not_learned(learned: Sequence[CaseReport], *, only_empty: bool) -> str:
    """Why a single corrected slice speaks against a round."""
    if not learned:
        return ""
    before, after = _mean_before(learned), _mean_after(learned)
    # In an empty slice one pixel makes it 0, however many there were before.
    if after < before or (after == 0 and not only_empty):
        return f"the corrected slice itself, which it has learned from, went from {before:.3f} to {after:.3f}"
    return ""


def _lost_contest(contest: Contest | None) -> str:
    """Why the version in use speaks against a round."""
    if contest is None or contest.offered >= contest.in_use:
        return ""
    return (
        f"the version in use does better {contest.where} ({contest.in_use:.3f} against {contest.offered:.3f}); "
        "go on from that one"
    )


def _lost_own(
    own: Sequence[CaseReport],
    policy: TunePolicy,
    *,
    gained: Sequence[CaseReport],
    only_empty: bool,
    alone: bool,
) -> str:
    """Why the other slices of corrected scans speak against a round."""
    if not own:
        if only_empty and alone:
            return "every correction is an empty slice, and nothing says which tumour is to stay"
        return ""
    # What held-back corrections confirm may change the mask; what nothing confirms may not.
    asked = policy.least_agreement_confirmed if gained and not only_empty else policy.least_agreement
    agreement = _mean_after(own)
    if agreement < asked:
        what = "every correction is an empty slice, and " if only_empty else ""
        return (
            f"{what}the mask would change where nobody corrected it and the model was sure (agreement {agreement:.3f}, "
            f"at least {asked:.2f} is asked for)"
        )
    confirmed = {case.case for case in gained if case.after > case.before}
    worst = min((case for case in own if case.case not in confirmed), key=lambda case: case.after, default=None)
    if worst is not None and worst.after < policy.least_agreement_confirmed:
        return (
            f"the mask of case {worst.case} would vanish where nobody corrected it (agreement {worst.after:.3f}, at "
            f"least {policy.least_agreement_confirmed:.2f} is asked for)"
        )
    return ""


def _lost_others(others: Sequence[CaseReport], policy: TunePolicy) -> str:
    """Why scans that nobody corrected, and that have no mask, speak against a round."""
    if not others:
        return ""
    worst = min(others, key=lambda case: case.after)
    if _mean_after(others) < policy.least_agreement:
        return (
            f"the masks of other cases would change where the model was sure (agreement {_mean_after(others):.3f}, at "
            f"least {policy.least_agreement:.2f} is asked for)"
        )
    if worst.after < policy.least_agreement_of_one:
        return (
            f"the mask of case {worst.case} would change where the model was sure (agreement {worst.after:.3f}, at "
            f"least {policy.least_agreement_of_one:.2f} is asked for)"
        )
    return ""


def _lost_known(known: Sequence[CaseReport], policy: TunePolicy) -> str:
    """Why labelled scans speak against a round."""
    if not known:
        return ""
    before, after = _mean_before(known), _mean_after(known)
    if after < before - policy.most_loss:
        return f"other labelled cases fell from {before:.3f} to {after:.3f}"
    worst = min(known, key=lambda case: case.after - case.before)
    if worst.after < worst.before - policy.most_loss_of_one:
        return f"case {worst.case} fell from {worst.before:.3f} to {worst.after:.3f}"
    return ""
