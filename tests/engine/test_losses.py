import pytest
import torch

from napari_unet_seg.engine.losses import make_loss


def test_dice_of_a_perfect_and_of_a_wrong_mask() -> None:
    y = torch.zeros(2, 1, 8, 8)
    y[0, :, :4] = 1
    dice = make_loss("dice", smooth=1e-6)
    assert dice(100 * (y - 0.5), y).item() == pytest.approx(0, abs=1e-5)
    assert dice(-100 * (y - 0.5), y).item() == pytest.approx(1, abs=1e-5)


def test_dice_against_a_sum_by_hand() -> None:
    y = torch.tensor([1.0, 0.0, 1.0, 0.0]).reshape(2, 1, 1, 2)
    logits = torch.zeros_like(y)
    # p = 1/2 everywhere, both slices in one sum: 1 - (2 * 1 + 1) / (2 + 2 + 1)
    assert make_loss("dice")(logits, y).item() == pytest.approx(1 - 3 / 5)


def test_the_sum_is_the_sum() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    parts = make_loss("bce")(logits, y) + make_loss("dice")(logits, y)
    torch.testing.assert_close(make_loss("bce+dice")(logits, y), parts)


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="no loss 'focal'"):
        make_loss("focal")  # type: ignore[arg-type]


def test_weights_of_one_change_nothing_and_of_zero_hide_a_sample() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(3, 1, 8, 8), (torch.rand(3, 1, 8, 8) > 0.7).float()
    weighted = make_loss("weighted bce+dice")
    torch.testing.assert_close(weighted(logits, y), make_loss("bce+dice")(logits, y))
    torch.testing.assert_close(weighted(logits, y, torch.ones(3)), weighted(logits, y))
    torch.testing.assert_close(weighted(logits, y, torch.tensor([1.0, 1.0, 0.0])), weighted(logits[:2], y[:2]))


def test_a_probability_is_a_target() -> None:
    y = torch.full((1, 1, 4, 4), 0.3)
    losses = {p: make_loss("weighted bce+dice")(torch.full_like(y, p).logit(), y).item() for p in (0.1, 0.3, 0.5)}
    assert min(losses, key=lambda p: losses[p]) == 0.3
