"""Splits of a COCO dataset: where they are, where their images are, and one numbering of the labels for all."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts.coco_labels import Numbering
from napari_unet_seg.errors import InputError
from tests.data.test_coco import (
    BESIDE,
    FAR,
    FAR_BOX,
    NAME,
    SQUARE,
    SQUARE_BOX,
    annotation,
    cases,
    decode,
    encode,
    entries,
    plane,
    write,
)

CORE, EDEMA = {"id": 1, "name": "core"}, {"id": 2, "name": "edema"}


@pytest.fixture
def two(tmp_path):
    """Both categories in train, the second alone in valid."""
    outlines = [annotation(1, 0, SQUARE, category=1), annotation(2, 0, FAR, category=2)]
    write(tmp_path / "train", outlines, names=("t.png",), categories=[CORE, EDEMA])
    write(tmp_path / "valid", [annotation(1, 0, FAR, category=2)], names=("v.png", "w.png"), categories=[CORE, EDEMA])
    return tmp_path


def labels_of(case):
    return np.unique(decode(case)).tolist()


class TestLabels:
    def test_are_the_same_in_every_split(self, two):
        assert {name: labels_of(case) for name, case in cases(two).items()} == {"t": [0, 1, 2], "v": [0, 2], "w": [0]}

    @pytest.mark.parametrize("part", ["valid", f"valid/{NAME}"])
    def test_are_the_same_in_a_split_opened_alone(self, two, part):
        assert labels_of(cases(two / part)["v"]) == [0, 2]

    def test_are_the_same_in_a_file_of_instances_opened_alone(self, two):
        (two / "annotations").mkdir()
        for split in ("train", "valid"):
            (two / split / NAME).rename(two / "annotations" / f"instances_{split}.json")
        assert labels_of(cases(two)["v"]) == [0, 2]
        assert labels_of(cases(two / "annotations" / "instances_valid.json")["v"]) == [0, 2]

    def test_other_datasets_have_no_say(self, two):
        (two / "valid").rename(two / "mine")
        assert labels_of(cases(two / "mine")["v"]) == [0, 1]

    def test_broken_splits_have_no_say(self, two):
        (two / "train" / NAME).write_text("{")
        assert labels_of(cases(two / "valid")["v"]) == [0, 1]

    def test_one_class_under_an_unused_parent_is_label_1(self, tmp_path):
        for split in ("train", "valid"):
            write(tmp_path / split, [annotation(1, 0, SQUARE)], names=(f"{split}.png",))
        assert [labels_of(case) for case in cases(tmp_path).values()] == [[0, 1], [0, 1]]

    def test_names_count_where_ids_contradict(self, two):
        categories = [{"id": 1, "name": "Edema "}]
        write(two / "valid", [annotation(1, 0, FAR, category=1)], names=("v.png",), categories=categories)
        found = cases(two)
        assert labels_of(found["v"]) == [0, 2]
        encode(found["v"], plane(SQUARE_BOX, label=2))
        assert [one["category_id"] for one in entries(two / "valid" / NAME)] == [1]

    def test_names_count_where_a_name_has_two_ids(self, two):
        categories = [{"id": 5, "name": "edema"}]
        write(two / "valid", [annotation(1, 0, FAR, category=5)], names=("v.png",), categories=categories)
        assert labels_of(cases(two)["v"]) == [0, 2]

    def test_that_are_high_are_no_gray_levels(self, tmp_path):
        outlines = [annotation(n, 0, SQUARE, category=n) for n in range(1, 70)]
        write(tmp_path, [*outlines, annotation(70, 1, FAR, category=70)], names=("a.png", "b.png"), categories=[])
        assert np.unique(open_dataset(tmp_path)["b"].read_mask()).tolist() == [0, 70]


class TestCorrecting:
    def test_writes_the_category_of_the_label(self, two):
        before = entries(two / "valid" / NAME, "categories")
        encode(cases(two)["w"], plane(SQUARE_BOX, label=2) + plane(FAR_BOX))
        after = entries(two / "valid" / NAME)
        assert sorted((one["category_id"], one["image_id"]) for one in after) == [(1, 1), (2, 0), (2, 1)]
        assert entries(two / "valid" / NAME, "categories") == before
        assert labels_of(cases(two)["v"]) == [0, 2]

    def test_adds_no_mark_for_a_category_of_other_splits(self, two):
        encode(cases(two)["w"], plane(SQUARE_BOX, label=2))
        assert entries(two / "valid" / NAME, "categories") == [CORE, EDEMA]

    def test_label_whose_category_the_file_lacks(self, two):
        write(two / "valid", [annotation(1, 0, FAR, category=2)], names=("v.png",), categories=[EDEMA])
        case = cases(two)["v"]
        with pytest.raises(
            InputError, match=rf"valid.*{NAME}: has no category for label 1, which is category 1 of other splits"
        ):
            encode(case, plane(SQUARE_BOX))
        encode(case, plane(SQUARE_BOX, label=2))

    def test_label_after_one_that_the_file_cannot_mark(self, tmp_path):
        more = {"id": 3, "name": "cyst"}
        write(tmp_path / "train", [annotation(1, 0, SQUARE)], names=("t.png",), categories=[CORE, EDEMA, more])
        write(tmp_path / "valid", [annotation(1, 0, SQUARE)], names=("v.png",), categories=[CORE, more])
        with pytest.raises(InputError, match="no category for label 2"):
            encode(cases(tmp_path)["v"], plane(FAR_BOX, label=3))
        encode(cases(tmp_path)["t"], plane(FAR_BOX, label=3))
        assert labels_of(cases(tmp_path)["t"]) == [0, 3]

    def test_comes_back_through_the_log(self, two):
        before = (two / "valid" / NAME).read_bytes()
        dataset = open_dataset(two)
        mask = dataset["v"].read_mask()
        assert np.unique(mask).tolist() == [0, 2]
        mask[0, :2, :2] = 1
        line = dataset.save_correction("v", mask, [0])
        np.testing.assert_array_equal(open_dataset(two / "valid")["v"].read_mask(), mask)
        dataset.revert(line.id)
        assert (two / "valid" / NAME).read_bytes() == before

    def test_prediction_has_the_label_of_the_dataset(self, two, tmp_path):
        case = cases(two)["v"]
        target = case.write_prediction(plane(SQUARE_BOX, label=2).astype(np.uint8), tmp_path / "out")
        assert [one["category_id"] for one in entries(target)] == [2]
        assert labels_of(cases(target)["v"]) == [0, 2]


class TestNumbering:
    def test_without_a_split(self):
        assert Numbering.of([]) == Numbering()


class TestFinding:
    def test_pictures_beside_the_file(self, tmp_path):
        path = write(tmp_path / "p", [annotation(1, 0, BESIDE)])
        (tmp_path / "images").mkdir()
        path = path.rename(path.with_name("instances_default.json"))
        volume = open_dataset(path)["b"].read_image()
        assert volume.data.max() == 1

    def test_folder_that_may_not_be_read(self, two, monkeypatch):
        (two / "private").mkdir()
        stat = Path.stat

        def refuse(path, **options):
            if path.parent.name in ("private", "train"):
                raise PermissionError(13, "Permission denied", str(path))
            return stat(path, **options)

        monkeypatch.setattr(Path, "stat", refuse)
        dataset = open_dataset(two)
        assert [case.case_id for case in dataset] == ["train (cannot be read)", "v", "w"]
        assert dataset["v"].read_image().shape[0] == 1
        with pytest.raises(InputError, match=rf"train.{NAME}: .*[Pp]ermission"):
            dataset["train (cannot be read)"].read_image()


class TestImageIds:
    @pytest.mark.parametrize("kind", [str, int])
    def test_count_by_their_text(self, tmp_path, kind):
        path = write(tmp_path, [annotation(1, 0, SQUARE), annotation(2, 1, FAR)])
        whole = json.loads(path.read_text(encoding="utf-8"))
        for image in whole["images"]:
            image["id"] = kind(image["id"])
        for one in whole["annotations"]:
            one["image_id"] = int(one["image_id"]) if kind is str else str(one["image_id"])
        path.write_text(json.dumps(whole), encoding="utf-8")
        np.testing.assert_array_equal(decode(cases(path)["a"]), plane(SQUARE_BOX))
        assert cases(path)["a"].notes == ()
        original = tmp_path / "original.json"
        original.write_bytes(path.read_bytes())
        encode(cases(path)["a"], plane(FAR_BOX), original=original)
        assert [one["image_id"] for one in entries(path)] == [kind(0), whole["annotations"][1]["image_id"]]
        encode(cases(path)["a"], plane(SQUARE_BOX), original=original)
        assert path.read_bytes() == original.read_bytes()

    def test_of_no_image_are_told(self, tmp_path):
        found = cases(write(tmp_path, [annotation(1, 0, SQUARE), annotation(2, 77, FAR)]))
        (note,) = found["b"].notes
        assert "1 annotation whose image_id is that of no image" in note
        assert found["a"].notes == ()

    def test_of_no_image_at_all_leave_everything_unlabelled(self, tmp_path):
        path = write(tmp_path, [annotation(1, 77, SQUARE), annotation(2, 78, SQUARE)])
        assert not any(case.has_mask for case in cases(path).values())
        encode(cases(path)["a"], plane(FAR_BOX))
        assert (decode(cases(path)["b"]) == -1).all()
        assert [one["image_id"] for one in entries(path)] == [77, 78, 0]
