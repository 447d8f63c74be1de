from dataclasses import replace

import numpy as np
import pytest

from napari_unet_seg.engine.gate import (
    CONFIDENT,
    HELD_BACK,
    LEARNED,
    REHEARSAL,
    Contest,
    Verdict,
    confident_dice,
    held_back_dice,
    judge,
)
from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.engine.round_report import CaseReport

POLICY = replace(
    POLICIES["model"],
    least_gain=0.01,
    most_loss=0.005,
    most_loss_of_one=0.05,
    least_agreement=0.9,
    least_agreement_of_one=0.7,
    least_agreement_confirmed=0.25,
)


def verdict_on(*cases: CaseReport, only_empty: bool = False, contest: Contest | None = None) -> Verdict:
    return judge(cases, policy=POLICY, corrected={"a", "b"}, only_empty=only_empty, contest=contest)


def case(role: str, before: float, after: float, name: str = "a") -> CaseReport:
    return CaseReport(case=name, role=role, slices=3, before=before, after=after)


def test_a_gain_on_what_was_held_back_is_promoted() -> None:
    verdict = verdict_on(case(HELD_BACK, 0.5, 0.7), case(HELD_BACK, 0.7, 0.7, "b"))
    assert verdict.promoted
    assert (verdict.before, verdict.after) == (pytest.approx(0.6), pytest.approx(0.7))
    assert verdict.reason == "corrected slices held back from training rose from 0.600 to 0.700"


GAIN = case(HELD_BACK, 0.5, 0.7)


@pytest.mark.parametrize(
    ("cases", "why"),
    [
        ([case(HELD_BACK, 0.5, 0.505)], "from 0.500 to 0.505, which is no gain"),
        ([case(HELD_BACK, 0.5, 0.4)], "went from 0.500 to 0.400"),
        ([case(HELD_BACK, 0.0, 0.2)], "may not agree with one another"),
        ([GAIN, case(REHEARSAL, 0.9, 0.89, "r")], "other labelled cases fell from 0.900 to 0.890"),
        (
            [GAIN, *(case(REHEARSAL, 0.9, 0.92, name) for name in "stuv"), case(REHEARSAL, 0.9, 0.83, "r")],
            "case r fell from 0.900 to 0.830",
        ),
        ([GAIN, case(CONFIDENT, 1.0, 0.2)], "nobody corrected it and the model was sure"),
        ([GAIN, case(CONFIDENT, 1.0, 0.8, "r")], "the masks of other cases would change"),
        (
            [GAIN, *(case(CONFIDENT, 1.0, 1.0, name) for name in "stuv"), case(CONFIDENT, 1.0, 0.6, "r")],
            "the mask of case r would change",
        ),
        ([case(CONFIDENT, 1.0, 0.8)], "at least 0.90 is asked for"),
        ([], "nothing was there to check the round against"),
    ],
)
def test_a_loss_is_not_promoted_and_says_why(cases: list[CaseReport], why: str) -> None:
    verdict = verdict_on(*cases)
    assert not verdict.promoted
    assert why in verdict.reason
    assert (verdict.before is None) == (not cases)


def test_a_small_loss_elsewhere_is_borne() -> None:
    verdict = verdict_on(
        GAIN, case(REHEARSAL, 0.9, 0.896, "r"), case(CONFIDENT, 1.0, 0.5), case(CONFIDENT, 1, 0.95, "s")
    )
    assert verdict.promoted
    assert "other labelled cases went from 0.900 to 0.896" in verdict.reason


def test_a_single_slice_passes_where_it_was_learned_and_the_sure_mask_stays() -> None:
    verdict = verdict_on(replace(case(LEARNED, 0.6, 0.9), slices=1), case(CONFIDENT, 1.0, 0.95))
    assert (verdict.promoted, verdict.before, verdict.after) == (True, 0.6, 0.9)
    assert "a single corrected slice cannot be held back: the scores are of that slice" in verdict.reason
    two = replace(case(LEARNED, 0.6, 0.9), slices=2)
    assert "no time to hold slices back: the scores are of the corrected ones" in verdict_on(two).reason
    refused = verdict_on(case(LEARNED, 0.6, 0.5), case(CONFIDENT, 1.0, 0.95))
    assert not refused.promoted
    assert "the corrected slice itself, which it has learned from, went from 0.600 to 0.500" in refused.reason


def test_a_single_slice_of_which_nothing_was_learned_is_refused() -> None:
    nothing = replace(case(LEARNED, 0.0, 0.0), slices=1)
    refused = verdict_on(nothing, case(REHEARSAL, 0.9, 0.9, "b"))
    assert not refused.promoted
    assert "the corrected slice itself, which it has learned from, went from 0.000 to 0.000" in refused.reason
    # An empty one may have a few wrong pixels left of many.
    assert verdict_on(nothing, case(CONFIDENT, 1.0, 0.95), only_empty=True).promoted


def test_a_gain_after_few_steps_is_not_believed() -> None:
    verdict = judge([GAIN], policy=POLICY, corrected={"a"}, only_empty=False, few_steps=6)
    assert not verdict.promoted
    assert verdict.reason == (
        "after so few steps (6) a scan's masks are not to be trusted, even where those held back are better"
    )
    assert (verdict.before, verdict.after) == (GAIN.before, GAIN.after)


def test_empty_corrections_must_leave_the_rest_of_the_mask() -> None:
    gain = case(HELD_BACK, 0.0, 1.0)
    kept, lost = case(CONFIDENT, 1.0, 0.95), case(CONFIDENT, 1.0, 0.5)
    assert verdict_on(gain, kept, only_empty=True).promoted
    refused = verdict_on(gain, lost, only_empty=True)
    assert not refused.promoted
    assert refused.reason.startswith("every correction is an empty slice")
    assert verdict_on(gain, lost).promoted
    assert "nothing says which tumour is to stay" in verdict_on(gain, only_empty=True).reason


def test_no_corrected_scan_may_lose_its_other_mask_among_many() -> None:
    kept = [case(CONFIDENT, 1.0, 0.95, name) for name in "bc"]
    corrected, lost = {"a", "b", "c"}, case(CONFIDENT, 1.0, 0.1)
    options = {"policy": POLICY, "corrected": corrected, "only_empty": False}
    # Held-back slices of its own say that the mask had to change.
    assert judge([GAIN, lost, *kept], **options).promoted  # type: ignore[arg-type]
    refused = judge([case(HELD_BACK, 0.5, 0.7, "b"), lost, *kept], **options)  # type: ignore[arg-type]
    assert not refused.promoted
    assert refused.reason.startswith("the mask of case a would vanish where nobody corrected it (agreement 0.100")


def test_what_is_in_use_must_not_be_better() -> None:
    won, lost = (Contest(in_use=dice, offered=0.7, where="on what is new") for dice in (0.6, 0.8))
    assert verdict_on(GAIN, contest=won).promoted
    refused = verdict_on(GAIN, contest=lost)
    assert not refused.promoted
    # Nor where nothing could be held back.
    assert not verdict_on(case(CONFIDENT, 1.0, 0.95), contest=lost).promoted
    assert "the version in use does better on what is new (0.800 against 0.700)" in refused.reason


def test_dice_over_slices_together_and_over_empty_ones_in_turn() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    speck = empty.copy()
    speck[0, 0] = True
    assert held_back_dice([full, speck], [full, empty]) == pytest.approx(32 / 33)
    assert held_back_dice([empty, speck], [empty, empty]) == 0.5


def test_agreement_counts_where_the_parent_was_sure() -> None:
    before = np.array([0.99, 0.9, 0.6, 0.4, 0.01, 0.0], np.float32)
    assert confident_dice(before, np.array([1, 1, 0, 1, 0, 0], np.uint8), threshold=0.5) == 1.0
    assert confident_dice(before, np.array([1, 0, 0, 0, 0, 1], np.uint8), threshold=0.5) == 0.5
    assert confident_dice(before[2:], np.zeros(4, np.uint8), threshold=0.5) is None


def test_one_patient_cannot_speak_for_all() -> None:
    cases = GAIN, case(CONFIDENT, 1.0, 0.99), case(CONFIDENT, 1.0, 0.99, "s")
    told = {"policy": POLICY, "corrected": {"a"}, "only_empty": False}
    refused = judge(cases, **told, one_patient=True)  # type: ignore[arg-type]
    assert not refused.promoted
    assert refused.reason.startswith(
        "corrections of one patient cannot tell what becomes of others; correct a scan of a second"
    )
    assert judge(cases, **told).promoted  # type: ignore[arg-type]
    assert judge([*cases, case(REHEARSAL, 0.9, 0.9, "r")], **told, one_patient=True).promoted  # type: ignore[arg-type]
