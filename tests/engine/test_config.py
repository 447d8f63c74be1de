import math
from typing import Any

import pytest

from napari_unet_seg.engine.config import AugmentConfig, FitConfig, KerasAugmentConfig, UNetConfig


@pytest.mark.parametrize(
    ("kind", "field"),
    [(UNetConfig, name) for name in ("architecture", "order")]
    + [(FitConfig, name) for name in ("optimiser", "schedule", "loss", "sampling", "precision")],
)
def test_a_word_that_is_none_of_those_known_is_refused(kind: type, field: str) -> None:
    with pytest.raises(ValueError, match=rf"^{field} must be one of '.+', '.+', got 'other'$"):
        kind(**{field: "other"})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"ema_decay": 1.0}, "ema_decay must be at least 0 and below 1, got 1.0"),
        ({"weight_decay": -1e-3}, "must not be negative"),
        ({"patch": (0, 64)}, r"patch must be positive, got \(0, 64\)"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be positive, got inf"),
        ({"weight_decay": math.nan}, "must not be negative"),
        ({"seconds": math.nan}, "seconds must be positive, got nan"),
        ({"clip_norm": math.nan}, "clip_norm must be positive or None, got nan"),
        ({"travel": math.nan}, "travel must be positive, got nan"),
        ({"seed": 2**64}, "seed must fit into 64 bits"),
    ],
)
def test_a_number_out_of_its_range_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FitConfig(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"noise": -0.1}, "ranges must not be negative"),
        ({"rotation": math.nan}, "rotation must be a finite number, got nan"),
        ({"elastic": math.inf}, "elastic must be a finite number, got inf"),
        ({"shift": 1.5}, "must be fractions of at most 1"),
        ({"flip": 2}, "must lie in 0..1"),
        ({"missing_sequence": 1.1}, "must lie in 0..1"),
    ],
)
def test_changes_of_slices_that_make_no_sense_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        AugmentConfig(**values)


def test_keras_changes_are_finite_numbers() -> None:
    with pytest.raises(ValueError, match="zoom must be a finite number, got nan"):
        KerasAugmentConfig(zoom=math.nan)


def test_a_round_may_have_no_end_to_its_time() -> None:
    assert FitConfig(seconds=math.inf).seconds == math.inf
