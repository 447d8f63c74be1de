import pytest

from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.incumbent import Incumbent
from tests.engine.models import SMALL, small_network


def incumbent(**training: object) -> Incumbent:
    return Incumbent(network=small_network(), description=Description(name="mine", network=SMALL, training=training))


def test_a_score_counts_on_the_slices_it_was_measured_on() -> None:
    known = incumbent(round={"after": 0.8}, held_back=["a", "b"], learned=["a", "b", "c"])
    assert known.held_back_dice(["b", "a"]) == 0.8
    assert known.held_back_dice(["a"]) is None
    assert known.held_back_dice(["a", "b", "c"]) is None
    assert known.learned == {"a", "b", "c"}


@pytest.mark.parametrize("training", [{}, {"round": {"after": None}}, {"round": "damaged"}, {"round": {"after": 0.8}}])
def test_where_no_score_is_known(training: dict[str, object]) -> None:
    assert incumbent(**training).held_back_dice(["a"]) is None
