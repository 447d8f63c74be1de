import numpy as np
import pytest

from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.schedule import Schedule, learning_rate_factor


def plateau(**changes: object) -> Schedule:
    settings = {"schedule": "plateau", "learning_rate": 0.8, "plateau_patience": 2}
    return Schedule(FitConfig(**{**settings, **changes}))


@pytest.mark.parametrize("coarse", [0.0, 0.75])
def test_the_rate_rises_then_falls(coarse: float) -> None:
    factors = [learning_rate_factor(step / 100, coarse_fraction=coarse) for step in range(100)]
    peak = int(np.argmax(factors))
    assert factors[peak] == pytest.approx(1)
    assert all(np.diff(factors[: peak + 1]) >= 0)
    assert all(np.diff(factors[peak:]) <= 1e-9)
    assert factors[-1] < 0.02


def test_a_cosine_falls_from_the_first_step_to_nothing() -> None:
    schedule = Schedule(FitConfig(schedule="cosine", learning_rate=0.4))
    assert [schedule.rate(progress) for progress in (0, 0.5, 1)] == pytest.approx([0.4, 0.2, 0])


@pytest.mark.parametrize(
    ("steps", "travelled", "largest"), [(400, 0.045, 2.25e-4), (50, 0.045, 1.8e-3), (15, 0.0086, 1.15e-3)]
)
def test_the_weights_go_equally_far_in_many_steps_and_less_far_in_few(
    steps: int, travelled: float, largest: float
) -> None:
    schedule = Schedule(FitConfig(steps=400, learning_rate=2e-3, travel=0.045))
    rates = [schedule.rate(step / steps) for step in range(steps)]
    assert sum(rates) == pytest.approx(travelled, rel=0.02)
    assert max(rates) == pytest.approx(largest, rel=0.02)


def test_a_constant_rate_stays() -> None:
    schedule = Schedule(FitConfig(schedule="constant", learning_rate=0.4))
    schedule.validated(1.0)
    for _ in range(20):
        schedule.validated(1.0)
    assert schedule.rate(0.9) == 0.4


def test_a_plateau_cuts_the_rate_each_time_it_has_lasted() -> None:
    schedule, rates = plateau(), []
    # A loss as low as before is no lower one.
    for loss in (1.0, 1.0, 0.9, 0.9, 0.95, 1.0, 1.0, 0.8, 0.8):
        schedule.validated(loss)
        rates.append(schedule.rate(0.5))
    assert rates == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.2, 0.2, 0.2]


def test_early_stopping_counts_from_the_lowest_loss_whatever_the_rate_did() -> None:
    schedule = plateau(early_stopping=4)
    over = []
    for loss in (1.0, 0.9, 1.0, 1.0, 1.0, 1.0):
        schedule.validated(loss)
        over.append(schedule.over)
    assert over == [False] * 5 + [True]


def test_it_goes_on_from_its_state() -> None:
    schedule, later = plateau(early_stopping=5), plateau(early_stopping=5)
    for loss in (1.0, 1.0, 1.0, 1.0):
        schedule.validated(loss)
    later.load_state_dict(schedule.state_dict())
    for one in (schedule, later):
        one.validated(1.0)
        one.validated(1.0)
    assert later.rate(0.1) == schedule.rate(0.1) == 0.2
    assert later.over
    assert schedule.over
