from dataclasses import replace

from napari_unet_seg.engine.round_text import report_text
from tests.engine.rounds import REPORT


def test_scores_are_told_where_there_are_any() -> None:
    assert "\nDice 0.500 before, 0.600 after; 3 steps in 2 s\n" in report_text(REPORT)
    refused = replace(REPORT, promoted=False, before=None, after=None, steps=0, reason="noise", cases=())
    assert report_text(refused) == "0 steps in 2 s\nnot promoted: noise\nmine is as it was"


def test_a_model_that_was_not_there_is_not_as_it_was() -> None:
    refused = replace(REPORT, promoted=False, reason="noise", version=1)
    kept = "what was learned is kept as version 1"
    assert report_text(refused).endswith(f"\nnot promoted: noise\nmine is as it was; {kept}")
    assert report_text(refused, made=True).endswith(f"\nmine is new, and the same as default; {kept}")
    assert report_text(REPORT, made=True) == report_text(REPORT)
