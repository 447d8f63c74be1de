import pytest

from napari_unet_seg.engine.policy import POLICIES
from napari_unet_seg.errors import InputError
from training.simulation.ablation import changed_policy


def test_fields_of_the_round_and_of_its_training_are_set() -> None:
    assert changed_policy("scan", []) is None
    policy = changed_policy(
        "scan", ["blend=1", "fit.steps=20", "fit.learning_rate=0.003", "fit.frozen_statistics=false"]
    )
    assert policy is not None
    assert (policy.blend, policy.fit.steps, policy.fit.learning_rate) == (1, 20, 0.003)
    assert policy.fit.frozen_statistics is False
    assert policy.folds == POLICIES["scan"].folds


@pytest.mark.parametrize(
    "setting", ["blend", "blend=much", "nothing=1", "fit.loss=1", "fit.frozen_statistics=2", "fit=1"]
)
def test_what_cannot_be_set_is_one_line(setting: str) -> None:
    with pytest.raises(InputError, match="--set"):
        changed_policy("scan", [setting])
