from itertools import pairwise

import pytest

from napari_unet_seg.engine.slice_order import alternate, spread


@pytest.mark.parametrize("count", [1, 2, 3, 8, 28, 155])
def test_every_beginning_is_spread_evenly(count: int) -> None:
    slices = list(range(100, 100 + count))
    order = spread(slices)
    assert sorted(order) == slices
    for first in range(2, count):
        chosen = sorted(order[:first])
        gaps = [after - before for before, after in pairwise(chosen)]
        assert max(gaps) <= 2.7 * count / first


def test_nothing_to_order() -> None:
    assert spread([]) == []
    assert alternate([], []) == []


def test_two_kinds_by_turns() -> None:
    assert alternate([1, 2, 3], [0]) == [1, 0, 2, 3]
    assert alternate([], [0, 4]) == [0, 4]
