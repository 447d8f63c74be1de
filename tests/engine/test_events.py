import json
from dataclasses import replace

import pytest

from napari_unet_seg.engine.events import (
    CaseChecked,
    EpochDone,
    FitFinished,
    RoundFinished,
    RoundStarted,
    StepDone,
    ValidationDone,
    from_record,
    to_record,
)
from napari_unet_seg.engine.round_report import CaseReport
from tests.engine import rounds

REPORT = replace(
    rounds.REPORT,
    version=2,
    stopped=True,
    cases=(CaseReport(case="a", role="held back", slices=3, before=0.5, after=0.4),),
)


@pytest.mark.parametrize(
    "event",
    [
        StepDone(step=1, steps=9, loss=0.5, elapsed=0.1),
        EpochDone(epoch=1, step=2, loss=0.5, seconds=3.0, slices_per_second=4.0),
        FitFinished(steps=3, seconds=1.0, stopped=False),
        RoundStarted(scope="scan", slices_corrected=3, cases=1, rehearsal=0, seconds=60.0),
        ValidationDone(step=3, dice=0.7, before=0.6, elapsed=2.0),
        CaseChecked(case="a", elapsed=3.0),
        RoundFinished(report=REPORT),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_survives_the_journey(event: object) -> None:
    assert from_record(json.loads(json.dumps(to_record(event)))) == event  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record", [{}, {"event": "Unheard"}, {"event": "StepDone"}, {"event": "RoundFinished", "report": {}}]
)
def test_what_is_no_event_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no event"):
        from_record(record)


def test_the_report_has_the_keys_that_scripts_rely_on() -> None:
    told = REPORT.to_json()
    contract = {
        "name",
        "parent",
        "scope",
        "promoted",
        "seconds",
        "steps",
        "slices_corrected",
        "before",
        "after",
        "reason",
    }
    assert contract <= set(told)
    assert told["cases"] == [{"case": "a", "role": "held back", "slices": 3, "before": 0.5, "after": 0.4}]
