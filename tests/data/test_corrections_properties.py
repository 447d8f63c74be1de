"""Painting, accepting, saving, reverting and reopening in two windows, beside a plain model of what must be there."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.errors import ChangedElsewhereError
from tests.data.corrected import content, kaggle, nifti

SLICES = 4
some_slices = st.sets(st.integers(0, SLICES - 1), min_size=1, max_size=3).map(sorted)
window = st.integers(0, 1)


class TwoWindows(RuleBasedStateMachine):
    layouts = ("kaggle", "kaggle without masks", "nifti", "nifti without mask")

    @initialize(layout=st.sampled_from(layouts))
    def start(self, layout):
        self.folder = Path(tempfile.mkdtemp())
        if layout.startswith("kaggle"):
            self.root = kaggle(self.folder, slices=SLICES, masks="without" not in layout)
        else:
            self.root = nifti(self.folder, slices=SLICES, mask="without" not in layout)
        self.before = content(self.root)
        self.case = open_dataset(self.root).cases[0].case_id
        shape = open_dataset(self.root)[self.case].read_image().shape
        mask = open_dataset(self.root)[self.case].read_mask()
        # None for an unlabelled slice.
        self.original = [None] * SLICES if mask is None else list(mask)
        self.plane = shape[1:]
        self.lines = []
        self.windows, self.seen = [None, None], [None, None]
        for number in (0, 1):
            self.reopen(number)

    def shown(self, z):
        standing = [line for line in self.lines if line["in force"] and z in line["planes"]]
        return standing[-1] if standing else None

    def now(self, z):
        line = self.shown(z)
        return self.original[z] if line is None else line["planes"][z]

    def conflicts(self, number, planes):
        return [
            z
            for z, plane in planes.items()
            if not same(self.seen[number][z], self.now(z)) and not same(plane, self.now(z))
        ]

    def save(self, number, planes, kind):
        mask = np.zeros((SLICES, *self.plane), np.uint8)
        for z, plane in planes.items():
            mask[z] = plane
        dataset = self.windows[number]
        if self.conflicts(number, planes):
            with pytest.raises(ChangedElsewhereError, match="another program or window has changed"):
                dataset.save_correction(self.case, mask, list(planes), kind=kind)
            self.read(number)
            return
        line = dataset.save_correction(self.case, mask, list(planes), kind=kind)
        self.lines.append({"id": line.id, "planes": planes, "in force": True, "taken back by": None})
        for z, plane in planes.items():
            self.seen[number][z] = plane

    @rule(number=window, slices=some_slices, seed=st.integers(0, 5))
    def paint_and_save(self, number, slices, seed):
        rng = np.random.default_rng(seed)
        self.save(number, {z: rng.integers(0, 2, self.plane, dtype=np.uint8) for z in slices}, "hand")

    @rule(number=window, slices=some_slices)
    def accept(self, number, slices):
        empty = np.zeros(self.plane, np.uint8)
        seen = self.seen[number]
        self.save(number, {z: empty if seen[z] is None else seen[z] for z in slices}, "accepted")

    @rule(number=window, slices=some_slices)
    def clear(self, number, slices):
        self.save(number, {z: np.zeros(self.plane, np.uint8) for z in slices}, "interpolated")

    @precondition(lambda self: any(line["in force"] for line in self.lines))
    @rule(number=window, data=st.data())
    def revert(self, number, data):
        line = data.draw(st.sampled_from([line for line in self.lines if line["in force"]]))
        self.switch(number, line, line["id"], False)

    @precondition(lambda self: any(line["taken back by"] for line in self.lines))
    @rule(number=window, data=st.data())
    def bring_back(self, number, data):
        line = data.draw(st.sampled_from([line for line in self.lines if line["taken back by"]]))
        self.switch(number, line, line["taken back by"], True)

    def switch(self, number, line, line_id, in_force):
        former = {z: (self.shown(z), self.now(z)) for z in line["planes"]}
        line["in force"] = in_force
        planes = {z: self.now(z) for z in line["planes"] if self.shown(z) is not former[z][0]}
        line["in force"] = not in_force
        if self.conflicts(number, planes):
            with pytest.raises(ChangedElsewhereError, match="another program or window has changed"):
                self.windows[number].revert(line_id)
            self.read(number)
            return
        done = self.windows[number].revert(line_id)
        line["in force"] = in_force
        line["taken back by"] = None if in_force else done.id
        for z, plane in planes.items():
            self.seen[number][z] = plane

    @rule(number=window)
    def read(self, number):
        self.windows[number][self.case].read_mask()
        self.seen[number] = [self.now(z) for z in range(SLICES)]

    @rule(number=window)
    def reopen(self, number):
        self.windows[number] = open_dataset(self.root)
        self.read(number)

    @invariant()
    def is_on_disk(self):
        case = open_dataset(self.root)[self.case]
        planes = [self.now(z) for z in range(SLICES)]
        labelled = [plane is not None for plane in planes]
        assert case.labelled_slices().tolist() == labelled
        mask = case.read_mask()
        assert (mask is not None) == any(labelled)
        assert case.has_mask == any(labelled)
        if mask is not None:
            for z, plane in enumerate(planes):
                np.testing.assert_array_equal(mask[z], 0 if plane is None else plane)
        assert case.corrected_slices() == [z for z in range(SLICES) if self.shown(z)]
        for z, plane in enumerate(self.original):
            original = case.read_original_mask()
            assert plane is None or np.array_equal(original[z], plane)

    def teardown(self):
        if not hasattr(self, "folder"):
            return
        try:
            dataset = open_dataset(self.root)
            for line in self.lines:
                if line["in force"]:
                    dataset.revert(line["id"])
            assert content(self.root) == self.before
        finally:
            shutil.rmtree(self.folder)


def same(one, other):
    return one is other if one is None or other is None else np.array_equal(one, other)


TestTwoWindows = TwoWindows.TestCase
TestTwoWindows.settings = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
