import numpy as np

from napari_unet_seg.working_mask import SliceState, WorkingMask


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


def test_an_accepted_slice_is_kept_and_counts_as_unsaved() -> None:
    work = WorkingMask((3, 2, 2))
    work.offer(mask_of(1, 1, 1))
    work.accept(2)
    assert (work.unsaved(), work.kind(2)) == ([2], "accepted")
    assert work.offer(mask_of(0, 0, 0)) == ([0, 1], [2])
    assert values_of(work) == [0, 0, 1]
    work.accept(2, accepted=False)
    assert work.unsaved() == []


def test_a_saved_slice_is_kept_and_is_edited_only_when_painted_again() -> None:
    work = WorkingMask((2, 2, 2))
    work.offer(mask_of(1, 1))
    work.data[0] = 2
    work.note_saved({0: work.data[0].copy()})
    assert work.states() == [SliceState.SAVED, SliceState.OPEN]
    assert work.offer(mask_of(0, 0)) == ([1], [0])
    work.data[0] = 1
    work.touch([0])
    assert work.states() == [SliceState.EDITED, SliceState.OPEN]
    assert (work.unsaved(), work.kind(0)) == ([0], "hand")


def test_painting_while_a_save_runs_stays_an_edit() -> None:
    work = WorkingMask((1, 2, 2))
    work.data[0] = 1
    saved = work.data[0].copy()
    work.data[0] = 3
    work.note_saved({0: saved})
    assert work.unsaved() == [0]


def test_states_look_only_where_something_may_have_changed() -> None:
    work = WorkingMask((2, 2, 2))
    work.data[1] = 1
    assert work.states() == [SliceState.OPEN, SliceState.OPEN]
    work.touch()
    assert work.states() == [SliceState.OPEN, SliceState.EDITED]
    work.data[1] = 0
    work.touch([1])
    assert work.states() == [SliceState.OPEN, SliceState.OPEN]


def test_an_interpolated_slice_that_is_painted_on_is_one_by_hand() -> None:
    work = WorkingMask((1, 2, 2))
    work.data[0] = 1
    work.note_interpolated(0, work.data[0].copy())
    assert work.kind(0) == "interpolated"
    work.data[0, 0, 0] = 0
    assert work.kind(0) == "hand"


def test_an_undone_edit_lets_the_slice_follow_the_model() -> None:
    work = WorkingMask((2, 2, 2))
    work.offer(mask_of(1, 1))
    work.data[0] = 0
    work.offer(mask_of(2, 1))
    assert work.let_follow() == []
    work.data[0] = 1
    assert work.let_follow() == [0]
    assert values_of(work) == [2, 1]
    assert work.states() == [SliceState.OPEN, SliceState.OPEN]


def test_corrections_made_elsewhere_are_shown_where_nobody_edits() -> None:
    work = WorkingMask((3, 2, 2))
    work.offer(mask_of(1, 1, 1))
    work.data[1] = 0
    assert work.take_dataset(mask_of(3, 3, 3), [0, 1], former=mask_of(0, 0, 3)) == [0]
    assert values_of(work) == [3, 0, 1]
    assert work.states() == [SliceState.SAVED, SliceState.EDITED, SliceState.OPEN]
    assert work.contested() == {1}
    work.note_saved({1: work.data[1].copy()})
    assert work.contested() == set()


def test_what_was_written_without_a_correction_is_contested_until_the_case_is_opened() -> None:
    work = WorkingMask((2, 2, 2))
    work.take_dataset(mask_of(0, 3), [], former=mask_of(0, 0))
    assert values_of(work) == [0, 0]
    assert work.contested() == {1}
    work.take_dataset(mask_of(0, 3), [], former=mask_of(0, 0), anew=True)
    assert work.contested() == set()


def test_a_correction_reverted_elsewhere_follows_the_model_unless_it_is_edited() -> None:
    work = WorkingMask((2, 2, 2))
    work.offer(mask_of(1, 1))
    work.put_saved({0: mask_of(3)[0], 1: mask_of(3)[0]})
    work.data[1] = 4
    assert work.take_dataset(mask_of(0, 0), [], anew=True) == [0, 1]
    assert values_of(work) == [1, 4]
    assert work.states() == [SliceState.OPEN, SliceState.EDITED]
    assert work.contested() == {1}
