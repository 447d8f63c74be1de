import numpy as np

from napari_unet_seg.working_mask import WorkingMask


def mask_of(*values: int) -> np.ndarray:
    """A mask whose slices are filled with these labels."""
    return np.stack([np.full((2, 2), value, np.uint8) for value in values])


def values_of(work: WorkingMask) -> list[int]:
    return [int(plane[0, 0]) for plane in work.data]


def test_the_model_fills_what_nobody_painted() -> None:
    work = WorkingMask((3, 2, 2))
    assert work.offer(mask_of(0, 1, 1)) == ([1, 2], [])
    assert values_of(work) == [0, 1, 1]
    assert work.edited() == []


def test_an_edited_slice_is_kept_and_named() -> None:
    work = WorkingMask((3, 2, 2))
    work.offer(mask_of(1, 1, 1))
    work.data[1] = 0
    assert work.edited() == [1]
    assert work.offer(mask_of(1, 2, 0)) == ([2], [1])
    assert values_of(work) == [1, 0, 0]
    assert work.edited() == [1]


def test_an_edit_that_was_undone_follows_the_model_again() -> None:
    work = WorkingMask((2, 2, 2))
    work.offer(mask_of(1, 1))
    work.data[0] = 0
    work.offer(mask_of(2, 1))
    work.data[0] = 1
    assert work.edited() == []
    assert work.offer(mask_of(2, 1)) == ([0], [])
    assert values_of(work) == [2, 1]


def test_the_array_of_the_layer_is_written_in_place() -> None:
    work = WorkingMask((2, 2, 2))
    other = np.zeros((2, 2, 2), np.int32)
    work.data = other
    work.offer(mask_of(0, 3))
    assert other[1, 0, 0] == 3


def test_one_slice_is_offered_alone() -> None:
    work = WorkingMask((2, 2, 2))
    assert work.offer_slice(0, np.ones((2, 2), np.uint8))
    work.data[0, 0, 0] = 0
    assert not work.offer_slice(0, np.zeros((2, 2), np.uint8))
    assert work.data[0, 1, 1] == 1
    assert work.edited() == [0]
