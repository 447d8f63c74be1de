"""Correcting and reverting in every layout that can be written."""

import numpy as np
import pytest

from napari_unet_seg.data.convert import TARGETS, convert
from napari_unet_seg.data.dataset import open_dataset
from tests.data.corrected import content, kaggle, opened


@pytest.fixture(params=sorted(TARGETS))
def root(request, tmp_path):
    """Two cases of four slices, or as many cases of one where the layout knows no more."""
    source = kaggle(tmp_path, patients=2)
    for path in source.rglob("*_3_mask.tif"):
        path.unlink()
    target = tmp_path / "converted"
    convert(open_dataset(source), target, layout=request.param)
    return target


def edited(mask, shape, z):
    new = np.zeros(shape, np.uint8) if mask is None else mask.copy()
    new[z] = np.indices(shape[1:]).sum(axis=0) % 7 == 0
    return new


@pytest.mark.parametrize("newest_first", [True, False])
def test_corrected_and_reverted(root, newest_first):
    before = content(root)
    dataset, _ = opened(root)
    cases = [case.case_id for case in dataset.cases]
    masks = {name: dataset[name].read_mask() for name in cases}
    labelled = {name: dataset[name].labelled_slices() for name in cases}
    lines = []
    expected = dict(masks)
    for name in (cases[0], cases[-1], cases[0]):
        shape = dataset[name].read_shape()
        z = len(lines) % shape[0]
        expected[name] = edited(expected[name], shape, z)
        lines.append(dataset.save_correction(name, expected[name], [z]))
    again = open_dataset(root)
    assert [case.case_id for case in again.cases] == cases
    for name in cases:
        found = again[name].read_mask()
        assert (found is None) == (expected[name] is None)
        np.testing.assert_array_equal(found, expected[name])
    assert again[cases[0]].labelled_slices()[again[cases[0]].corrected_slices()].all()
    for name in {cases[0], cases[-1]}:
        np.testing.assert_array_equal(again[name].read_original_mask(), masks[name])
    for line in reversed(lines) if newest_first else lines:
        again.revert(line.id)
    assert content(root) == before
    for name in cases:
        np.testing.assert_array_equal(open_dataset(root)[name].labelled_slices(), labelled[name])


def test_an_unlabelled_slice_and_an_empty_one(root):
    before = content(root)
    dataset, _ = opened(root)
    bare = [(case.case_id, z) for case in dataset.cases for z in np.flatnonzero(~case.labelled_slices()).tolist()]
    if not bare:
        pytest.skip("this layout cannot leave a slice of a scan unlabelled")
    name, z = bare[0]
    labelled = dataset[name].labelled_slices()
    line = dataset.save_correction(name, np.zeros(dataset[name].read_shape(), np.uint8), [z], kind="accepted")
    again = open_dataset(root)[name]
    labelled[z] = True
    np.testing.assert_array_equal(again.labelled_slices(), labelled)
    dataset.revert(line.id)
    assert not open_dataset(root)[name].labelled_slices()[z]
    assert content(root) == before
