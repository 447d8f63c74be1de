import numpy as np
import pytest
from numpy.typing import NDArray

from napari_unet_seg.engine.borderline import borderline_slices


def tumour_with_a_piece(bridge: float, *, between: float = 0.0) -> NDArray[np.float32]:
    """A tumour of 27 voxels in slices 1 to 3 and a sure piece of four in slice 3, one voxel between them."""
    probability = np.zeros((6, 8, 9), dtype=np.float32)
    probability[1:4, 2:5, 1:4] = 0.9
    probability[3, 2:4, 5:7] = 0.8
    probability[3, 3, 4] = bridge
    probability[5, 6, 6] = between
    return probability


def found(probability: NDArray[np.float32], *, fraction: float = 0.25, largest: bool = False) -> list[int]:
    return borderline_slices(probability, threshold=0.5, largest_component=largest, min_fraction=fraction)


@pytest.mark.parametrize("bridge", [0.48, 0.5, 0.52])
@pytest.mark.parametrize("largest", [False, True])
def test_a_piece_that_hangs_on_an_undecided_voxel_is_told(bridge: float, largest: bool) -> None:
    assert found(tumour_with_a_piece(bridge), fraction=0.0 if largest else 0.25, largest=largest) == [3]


@pytest.mark.parametrize("bridge", [0.1, 0.46, 0.54, 0.9])
def test_a_piece_that_hangs_on_a_sure_voxel_is_not(bridge: float) -> None:
    assert found(tumour_with_a_piece(bridge)) == []


def test_a_slice_beside_the_piece_is_told_where_it_is_undecided_itself() -> None:
    probability = np.zeros((6, 8, 9), dtype=np.float32)
    probability[1:4, 2:5, 1:4] = 0.9
    probability[5, 2:4, 1:3] = 0.8
    probability[4, 3, 2] = 0.51
    assert found(probability) == [4]


def test_a_piece_that_is_nearly_large_enough_is_told() -> None:
    probability = np.zeros((4, 12, 12), dtype=np.float32)
    probability[1, :5, :4] = 0.9
    probability[2, 8:10, 8:10] = 0.9
    probability[2, 10, 8] = 0.49
    assert found(probability) == [2]
    assert found(probability, fraction=0.1) == []


def test_where_every_piece_stays_nothing_hangs_on_a_voxel() -> None:
    assert found(tumour_with_a_piece(0.5), fraction=0.0) == []


def test_undecided_voxels_on_which_nothing_else_hangs_are_let_be() -> None:
    probability = tumour_with_a_piece(0.9, between=0.5)
    probability[2, 5, 1:4] = 0.51
    assert found(probability) == []


def test_an_empty_map_has_none() -> None:
    assert found(np.zeros((3, 8, 8), dtype=np.float32)) == []
