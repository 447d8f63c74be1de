from typing import Any

import pytest

from napari_unet_seg.engine.config import FitConfig, UNetConfig


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
    ],
)
def test_a_number_out_of_its_range_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        FitConfig(**values)
