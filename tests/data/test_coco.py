import codecs
import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.layouts import coco, coco_json, coco_outlines
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.errors import InputError
from tests.conftest import REAL_DATA

Y, X = 12, 15
DECODE_WARNS = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
NAME = "_annotations.coco.json"
# x, y: pixels 2..5 by 1..3
SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]
# touches the square
BESIDE = [6, 1, 9, 1, 9, 4, 6, 4]
FAR = [1, 7, 4, 7, 4, 10, 1, 10]


def plane(*boxes, label=1):
    """Labels ``(1, Y, X)`` with boxes given as (x0, y0, x1, y1)."""
    values = np.zeros((1, Y, X), np.int16)
    for x0, y0, x1, y1 in boxes:
        values[0, y0:y1, x0:x1] = label
    return values


SQUARE_BOX, BESIDE_BOX, FAR_BOX = (2, 1, 6, 4), (6, 1, 9, 4), (1, 7, 4, 10)


def annotation(number, image, outline, category=1, **more):
    segmentation = outline if isinstance(outline, dict) else [outline]
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "iscrowd": 0,
        **more,
    }


def content(annotations, *, names=("a.png", "b.png", "c.png"), images=None, categories=None):
    if images is None:
        images = [{"id": n, "file_name": name, "height": Y, "width": X} for n, name in enumerate(names)]
    if categories is None:
        categories = [
            {"id": 0, "name": "all", "supercategory": "none"},
            {"id": 1, "name": "tumour", "supercategory": "all"},
            {"id": 2, "name": "oedema", "supercategory": "all"},
        ]
    return {
        "info": {"year": 2022.0, "ünder": "ü"},
        "categories": categories,
        "images": images,
        "annotations": annotations,
    }


def write(folder, annotations, *, text=None, pictures=True, **options):
    """A dataset of three gray images; returns its JSON file."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = content(annotations, **options)
    (folder / NAME).write_text(text if text is not None else json.dumps(whole), encoding="utf-8")
    for number, image in enumerate(whole["images"]):
        if pictures:
            path = folder / image["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((Y, X), number, np.uint8)).save(path)
    return folder / NAME


def cases(path):
    return {case.case_id: case for case in coco.open_cases(path)}


def decode(case, path=None):
    (file,) = case.mask_files()
    return case.decode_mask(file, path or file.path)


def encode(case, labels, *, original=None):
    """Write a case's labels into the file; they must come back."""
    (file,) = case.mask_files()
    file.path.write_bytes(case.encode_mask(file, labels, former=file.path, original=original))
    np.testing.assert_array_equal(decode(case), labels)


def entries(path, key="annotations"):
    return json.loads(path.read_text(encoding="utf-8"))[key]


@pytest.fixture
def two(tmp_path):
    """Two annotations that touch in a, one in b, none in c."""
    return write(tmp_path, [annotation(7, 0, SQUARE, mine=1.0), annotation(3, 1, FAR), annotation(5, 0, BESIDE)])


class TestFinding:
    def test_split_itself(self, two):
        assert coco.detect(two.parent)
        assert cases(two.parent).keys() == {"a", "b", "c"}
        assert cases(two).keys() == {"a", "b", "c"}

    def test_splits(self, tmp_path):
        for split in ("train", "valid"):
            write(tmp_path / split, [], names=("same.png", f"{split}.png"))
        assert cases(tmp_path).keys() == {"train/same", "valid/same", "train", "valid"}

    @pytest.mark.parametrize("images", ["val2017", "images/val2017", "images", "."])
    def test_instances(self, tmp_path, images):
        path = write(tmp_path / images, [annotation(1, 0, SQUARE)])
        (tmp_path / "annotations").mkdir()
        path.rename(tmp_path / "annotations" / "instances_val2017.json")
        assert coco.detect(tmp_path)
        np.testing.assert_array_equal(decode(cases(tmp_path)["a"]), plane(SQUARE_BOX))
        assert cases(tmp_path)["b"].read_image().data.max() == 1

    @pytest.mark.parametrize("name", ["dataset.json", "imagesTr/a.nii.gz", "images/a.png", "p/p_1.tif"])
    def test_other_layouts_are_not_claimed(self, tmp_path, name):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
        assert not coco.detect(tmp_path)
        assert not coco.detect(tmp_path / name)

    def test_names_that_differ_by_extension(self, tmp_path):
        write(tmp_path, [], names=("a.png", "a.jpg", "p/1.png"))
        assert cases(tmp_path).keys() == {"a.png", "a.jpg", "p"}

    def test_sub_folder_is_a_case(self, tmp_path):
        names = ("p/10.png", "p/9.png", "p\\11.png")
        path = write(tmp_path, [annotation(1, 0, SQUARE)], names=names, pictures=False)
        for number in (9, 10, 11):
            (tmp_path / "p").mkdir(exist_ok=True)
            Image.fromarray(np.full((Y, X), number, np.uint8)).save(tmp_path / "p" / f"{number}.png")
        case = cases(tmp_path)["p"]
        assert case.read_shape() == (3, Y, X)
        assert case.read_image().data[0, :, 0, 0].tolist() == [9, 10, 11]
        (file,) = case.mask_files()
        assert (file.path, file.slices, file.shared) == (path, (0, 1, 2), True)
        np.testing.assert_array_equal(decode(case)[1:2], plane(SQUARE_BOX))
        assert not decode(case)[[0, 2]].any()

    def test_a_file_is_parsed_once(self, two, monkeypatch):
        os.utime(two, (1e9, 1e9))
        for case in cases(two.parent).values():
            decode(case)
        monkeypatch.setattr(coco_json, "read", None)
        for case in cases(two.parent).values():
            decode(case)


class TestDecoding:
    def test_union_of_annotations(self, two):
        np.testing.assert_array_equal(decode(cases(two)["a"]), plane(SQUARE_BOX, BESIDE_BOX))

    def test_image_without_annotations_is_empty(self, two):
        assert not decode(cases(two)["c"]).any()
        assert cases(two)["c"].has_mask

    def test_file_without_annotations_is_unlabelled(self, tmp_path):
        case = cases(write(tmp_path, []))["a"]
        assert (decode(case) == -1).all()
        assert not case.has_mask

    @pytest.mark.parametrize("flag", [True, False])
    def test_flag_of_an_image(self, tmp_path, flag):
        images = [{"id": n, "file_name": f"{n}.png", "height": Y, "width": X} for n in range(2)]
        images[1]["labelled"] = flag
        found = cases(write(tmp_path, [annotation(1, 0, SQUARE)], images=images))
        assert found["1"].has_mask is flag
        assert decode(found["1"]).max() == (0 if flag else -1)

    @pytest.mark.parametrize("crowd", [0, 1])
    @pytest.mark.parametrize("compressed", [True, False])
    def test_run_lengths(self, tmp_path, compressed, crowd):
        expected = np.random.default_rng(0).integers(0, 2, (Y, X), dtype=np.uint8)
        encoded = coco_mask.encode(np.asfortranarray(expected))
        runs = np.diff(np.flatnonzero(np.diff(expected.T.ravel(), prepend=0, append=2)), prepend=0).tolist()
        outline = {"size": [Y, X], "counts": encoded["counts"].decode() if compressed else runs}
        path = write(tmp_path, [annotation(1, 0, outline) | {"iscrowd": crowd}])
        np.testing.assert_array_equal(decode(cases(path)["a"])[0], expected)

    def test_labels_are_categories_in_use(self, tmp_path):
        outlines = [annotation(1, 0, SQUARE, category=9), annotation(2, 0, BESIDE, category=4)]
        categories = [{"id": number, "name": str(number)} for number in (2, 9, 4)]
        path = write(tmp_path, outlines, categories=categories)
        np.testing.assert_array_equal(decode(cases(path)["a"]), plane(SQUARE_BOX, label=2) + plane(BESIDE_BOX))

    def test_the_later_annotation_covers_the_earlier(self, tmp_path):
        path = write(tmp_path, [annotation(1, 0, SQUARE, category=2), annotation(2, 0, SQUARE, category=1)])
        case = cases(path)["a"]
        np.testing.assert_array_equal(decode(case), plane(SQUARE_BOX))
        assert any("the later one counts" in note for note in case.read_image().notes)

    def test_other_version_of_the_file(self, two, tmp_path):
        case = cases(two)["a"]
        old = write(tmp_path / "old", [annotation(1, 0, FAR)])
        np.testing.assert_array_equal(decode(case, old), plane(FAR_BOX))
        assert decode(case, write(tmp_path / "older", [], names=("z.png",))) is None

    @pytest.mark.parametrize(
        ("segmentation", "said"),
        [
            ([], "has no outline"),
            ([[1, 2, 3, 4]], "three or more points"),
            ([[1, 2, 3, 4, 5, 6, 7]], "three or more points"),
            ([[1, 2, 3, 4, 5, "6"]], "something else than coordinates"),
            ([[1, 2, 3, 4, 5, float("nan")]], "something else than coordinates"),
            ([[1, 2, 3, 4, 5, 1e300]], "something else than coordinates"),
            ([[50, 50, 60, 50, 60, 60]], "lies outside its image"),
            ([[1, 1, 1e6, 1, 1e6, 5]], "lies outside its image"),
            ({"counts": [3], "size": [Y, X]}, "do not fill the image"),
            ({"counts": "", "size": [Y, X]}, "do not fill the image"),
            ({"counts": "oooo", "size": [Y, X]}, "do not fill the image"),
            ({"counts": [Y * X], "size": [X, Y]}, "is of size"),
            ({"nothing": 1}, "neither polygons nor run lengths"),
            ("text", "neither polygons nor run lengths"),
        ],
    )
    def test_malformed_annotation(self, tmp_path, segmentation, said):
        path = write(tmp_path, [annotation(4, 0, SQUARE) | {"segmentation": segmentation}, annotation(5, 1, FAR)])
        with pytest.raises(InputError, match=rf"{NAME}: annotation 4 of a\.png .*{said}"):
            decode(cases(path)["a"])
        np.testing.assert_array_equal(decode(cases(path)["b"]), plane(FAR_BOX))


class TestBadFiles:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is empty"),
            ('{"images": [}', "not valid JSON .*line 1, column 13"),
            ('{"images": [1]}', "1 is no entry of a list"),
            ('{"images": []} x', "not valid JSON"),
            ('{"images": [{"id": 1}', "not valid JSON"),
            ("[]", "it is no object"),
            ('{"info": 1}', "no list of images"),
            ('{"images": []}', "lists no images"),
            ('{"images": [{"id": 1}]}', 'an image has no "id" or "file_name"'),
            ('{"images": [], "annotations": [{"id": 1}]}', 'has no "image_id"'),
            ("[" * 100_000, "not valid JSON|nested too deeply"),
        ],
    )
    def test_broken_json(self, tmp_path, text, said):
        (tmp_path / NAME).write_text(text)
        with pytest.raises(InputError, match=rf"{NAME}: .*({said})"):
            coco.open_cases(tmp_path)

    def test_not_utf8(self, tmp_path):
        (tmp_path / NAME).write_bytes(b'{"images": "\xff"}')
        with pytest.raises(InputError, match="not UTF-8"):
            coco.open_cases(tmp_path)

    def test_missing_image_leaves_the_others_usable(self, two):
        (two.parent / "a.png").unlink()
        found = cases(two)
        with pytest.raises(InputError, match=r"a\.png: there is no such file"):
            found["a"].read_image()
        assert found["b"].read_image().shape == (1, Y, X)

    def test_image_of_another_size(self, two):
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(two.parent / "a.png")
        for read in (cases(two)["a"].read_image, cases(two)["a"].read_shape):
            with pytest.raises(InputError, match=r"a\.png: is 9x9 pixels, but _annotations\.coco\.json says 15x12"):
                read()

    @pytest.mark.parametrize(
        ("second", "said"),
        [
            ({"id": 1, "file_name": "a.png"}, r"lists a\.png 2 times"),
            ({"id": 0, "file_name": "b.png"}, "gives the id 0 to several images"),
        ],
    )
    def test_ambiguous_images(self, tmp_path, second, said):
        images = [{"id": 0, "file_name": "a.png"}, second, {"id": 5, "file_name": "fine.png"}]
        found = cases(write(tmp_path, [], images=images))
        with pytest.raises(InputError, match=said):
            found["a"].read_image()
        assert found["fine"].read_image().shape == (1, Y, X)

    def test_image_outside_of_the_dataset(self, tmp_path):
        (case,) = cases(write(tmp_path / "in", [], names=("../a.png",))).values()
        with pytest.raises(InputError, match="lies outside of the dataset"):
            case.read_image()


class TestEncoding:
    def test_polygon_where_it_is_exact(self, two):
        encode(cases(two)["c"], plane(FAR_BOX))
        new = entries(two)[-1]
        assert new == {
            "id": 8,
            "image_id": 2,
            "category_id": 1,
            "bbox": [1, 7, 3, 3],
            "area": 9,
            "segmentation": [[1, 7, 4, 7, 4, 10, 1, 10]],
            "iscrowd": 0,
        }

    def test_run_lengths_around_a_hole(self, two):
        labels = plane((1, 1, 9, 9))
        labels[0, 4, 4] = 0
        encode(cases(two)["c"], labels)
        assert isinstance(entries(two)[-1]["segmentation"]["counts"], str)
        assert entries(two)[-1]["iscrowd"] == 0

    @DECODE_WARNS
    def test_pycocotools_reads_the_same(self, two, capsys):
        labels = np.random.default_rng(0).integers(0, 2, (1, Y, X)).astype(np.int16)
        encode(cases(two)["a"], labels)
        read = COCO(two)
        np.testing.assert_array_equal(np.any([read.annToMask(one) for one in read.imgToAnns[0]], axis=0), labels[0])

    def test_unchanged_components_keep_their_annotation(self, two):
        before = entries(two)
        encode(cases(two)["a"], plane(SQUARE_BOX, BESIDE_BOX, FAR_BOX))
        assert entries(two)[:1] + entries(two)[1:3] == before
        assert len(entries(two)) == 4

    def test_changed_component_is_replaced_in_its_place(self, two):
        encode(cases(two)["a"], plane(SQUARE_BOX))
        found = entries(two)
        assert [one["image_id"] for one in found] == [0, 1]
        assert found[0]["id"] == 7

    def test_part_of_an_annotation(self, two):
        encode(cases(two)["a"], plane((2, 1, 4, 4), BESIDE_BOX))
        assert [one["id"] for one in entries(two)] == [3, 5, 8]

    def test_nothing_changed_writes_the_same(self, two):
        before = two.read_bytes()
        encode(cases(two)["a"], plane(SQUARE_BOX, BESIDE_BOX))
        assert two.read_bytes() == before

    def test_categories_are_kept(self, tmp_path):
        path = write(tmp_path, [annotation(1, 0, SQUARE, category=1), annotation(2, 0, BESIDE, category=2)])
        labels = plane(SQUARE_BOX, label=2) + plane(FAR_BOX)
        encode(cases(path)["a"], labels)
        assert sorted((one["category_id"], one["bbox"]) for one in entries(path)) == [
            (1, [1, 7, 3, 3]),
            (2, [2, 1, 4, 3]),
        ]

    def test_labels_keep_their_meaning_when_a_category_is_used_up(self, tmp_path):
        path = write(tmp_path, [annotation(1, 0, SQUARE, category=1), annotation(2, 1, FAR, category=2)])
        before = path.read_bytes()
        (tmp_path / "original.json").write_bytes(before)
        encode(cases(path)["a"], plane())
        np.testing.assert_array_equal(decode(cases(path)["b"]), plane(FAR_BOX, label=2))
        encode(cases(path)["a"], plane(SQUARE_BOX), original=tmp_path / "original.json")
        assert path.read_bytes() == before

    def test_a_new_label_takes_the_next_category(self, two):
        encode(cases(two)["c"], plane(FAR_BOX, label=2))
        assert entries(two)[-1]["category_id"] == 2
        encode(cases(two)["a"], plane())
        np.testing.assert_array_equal(decode(cases(two)["c"]), plane(FAR_BOX, label=2))

    def test_higher_label_alone(self, tmp_path):
        path = write(tmp_path, [])
        encode(cases(path)["a"], plane(FAR_BOX, label=2))
        assert entries(path, "categories")[1]["in_use"] is True
        assert (decode(cases(path)["b"]) == -1).all()

    def test_label_without_a_category(self, two):
        with pytest.raises(InputError, match=rf"{NAME}: has no category for label 3"):
            encode(cases(two)["c"], plane(FAR_BOX, label=3))

    def test_file_that_is_gone(self, two):
        case = cases(two)["a"]
        with pytest.raises(InputError, match="there is no such file any more"):
            case.encode_mask(case.mask_files()[0], plane(), former=None, original=None)

    def test_image_that_is_gone(self, two):
        case = cases(two)["a"]
        write(two.parent, [], names=("z.png",))
        with pytest.raises(InputError, match=r"a\.png is no longer among its images"):
            case.encode_mask(case.mask_files()[0], plane(), former=two, original=None)

    def test_same_id_is_never_given_again(self, two, tmp_path):
        (tmp_path / "original.json").write_text(json.dumps(content([annotation(99, 1, FAR)])))
        encode(cases(two)["c"], plane(FAR_BOX), original=tmp_path / "original.json")
        assert entries(two)[-1]["id"] == 100

    @pytest.mark.parametrize("key", ["annotations", "categories"])
    def test_list_that_is_not_there(self, tmp_path, key):
        whole = content([])
        whole["categories"] = whole["categories"][:2]
        del whole[key]
        path = write(tmp_path, [], text=json.dumps(whole))
        if key == "categories":
            with pytest.raises(InputError, match="has no category for label 1"):
                encode(cases(path)["a"], plane(FAR_BOX))
        else:
            encode(cases(path)["a"], plane(FAR_BOX))
            assert path.read_text(encoding="utf-8").startswith(json.dumps(whole)[:60])


class TestUnlabelled:
    def test_first_mask_leaves_the_others_unlabelled(self, tmp_path):
        path = write(tmp_path, [])
        encode(cases(path)["a"], plane(FAR_BOX))
        assert [image.get("labelled") for image in entries(path, "images")] == [None, False, False]
        assert not cases(path)["b"].has_mask

    def test_accepted_empty(self, tmp_path):
        path = write(tmp_path, [])
        encode(cases(path)["a"], plane())
        assert [image.get("labelled") for image in entries(path, "images")] == [True, None, None]
        encode(cases(path)["b"], plane(FAR_BOX))
        assert not decode(cases(path)["a"]).any()
        assert (decode(cases(path)["c"]) == -1).all()

    def test_last_mask_goes(self, tmp_path):
        path = write(tmp_path, [annotation(1, 0, FAR)])
        encode(cases(path)["a"], plane())
        assert all(case.has_mask for case in cases(path).values())
        assert entries(path) == []
        encode(cases(path)["a"], plane() - 1)
        assert [case.has_mask for case in cases(path).values()] == [False, True, True]

    def test_some_slices_of_a_case(self, tmp_path):
        path = write(tmp_path, [], names=("p/1.png", "p/2.png", "p/3.png"))
        labels = np.concatenate([plane(SQUARE_BOX), plane() - 1, plane()])
        encode(cases(path)["p"], labels)
        np.testing.assert_array_equal(decode(cases(path)["p"]), labels)


STYLES = {
    "compact": {"separators": (",", ":")},
    "spaced": {},
    "indented": {"indent": 2},
    "tabs": {"indent": "\t"},
    "unicode": {"ensure_ascii": False},
}


class TestText:
    @pytest.mark.parametrize("style", STYLES)
    @pytest.mark.parametrize("name", ["a", "b", "c"])
    def test_the_rest_is_kept_to_the_letter(self, tmp_path, style, name):
        options = STYLES[style]
        whole = content([annotation(7, 0, SQUARE, area=12.0), annotation(3, 1, FAR), annotation(5, 0, BESIDE)])
        text = json.dumps(whole, **options)
        path = write(tmp_path, [], text=text)
        encode(cases(path)[name], plane((0, 0, 3, 2)))
        after = path.read_text(encoding="utf-8")
        # A program that writes in this style would have written the same.
        assert after == json.dumps(json.loads(after), **options)
        image = "abc".index(name)
        for key, value in json.loads(after).items():
            if key == "annotations":
                others = [one for one in value if one["image_id"] != image]
                assert others == [one for one in whole[key] if one["image_id"] != image]
            else:
                assert value == whole[key]
        assert "2022.0" in after

    def test_one_key_a_line_with_flat_lists(self, tmp_path):
        text = json.dumps(content([]), indent=None).replace(
            '"annotations": []',
            '"annotations": [\n    {\n      "id": 1,\n      "image_id": 0,\n      "category_id": 1,\n'
            '      "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]\n    }\n  ]',
        )
        path = write(tmp_path, [], text=text)
        encode(cases(path)["c"], plane(FAR_BOX))
        expected = (
            '    },\n    {\n      "id": 2,\n      "image_id": 2,\n      "category_id": 1,\n'
            '      "bbox": [1, 7, 3, 3],\n'
            '      "area": 9,\n      "segmentation": [[1, 7, 4, 7, 4, 10, 1, 10]],\n      "iscrowd": 0\n    }\n  ]'
        )
        assert expected in path.read_text(encoding="utf-8")

    def test_odd_writing_is_kept(self, tmp_path):
        text = (
            '\ufeff{ "images" :[ {"file_name":"a.png" ,"id":1} ,\r\n\t{"id":0,"file_name":"\\u0061b.png","x":1.50}],'
            '"annotations":[\n],"categories":[{"id":1,"name":"t"}], "n": 0.10, "n": -0 }\r\n'
        )
        path = write(tmp_path, [], text=text)
        before = path.read_bytes()
        assert before.startswith(codecs.BOM_UTF8)
        (tmp_path / "original.json").write_bytes(before)
        Image.fromarray(np.zeros((Y, X), np.uint8)).save(tmp_path / "ab.png")
        encode(cases(path)["ab"], plane(FAR_BOX))
        after = path.read_bytes()
        assert after.startswith(before[:20])
        assert after.endswith(before[-60:])
        assert b'"\\u0061b.png","x":1.50}' in after
        encode(cases(path)["ab"], plane() - 1, original=tmp_path / "original.json")
        assert path.read_bytes() == before


class TestReverting:
    @pytest.mark.parametrize("style", STYLES)
    def test_back_to_the_letter(self, tmp_path, style):
        whole = content([annotation(7, 0, SQUARE), annotation(3, 1, FAR), annotation(5, 0, BESIDE)])
        path = write(tmp_path, [], text=json.dumps(whole, **STYLES[style]))
        before = path.read_bytes()
        original = tmp_path / "original.json"
        original.write_bytes(before)
        once = {name: decode(case) for name, case in cases(path).items()}
        for name, case in cases(path).items():
            encode(case, plane(FAR_BOX) if name == "c" else plane(), original=original)
        for name in ("c", "b", "a"):
            encode(cases(path)[name], once[name], original=original)
        assert path.read_bytes() == before

    def test_back_to_unlabelled(self, tmp_path):
        path = write(tmp_path, [])
        before = path.read_bytes()
        original = tmp_path / "original.json"
        original.write_bytes(before)
        encode(cases(path)["a"], plane(FAR_BOX, label=2), original=original)
        encode(cases(path)["b"], plane(), original=original)
        encode(cases(path)["a"], plane() - 1, original=original)
        encode(cases(path)["b"], plane() - 1, original=original)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("style", STYLES)
    def test_back_to_null(self, tmp_path, style):
        text = json.dumps({**content([]), "annotations": None}, **STYLES[style])
        path = write(tmp_path, [], text=text)
        dataset = open_dataset(tmp_path)
        assert dataset["a"].read_mask() is None
        mask = np.zeros((1, Y, X), np.uint8)
        mask[0, 1:4, 2:6] = 1
        line = dataset.save_correction("a", mask, [0])
        assert path.read_text().count('"annotations"') == 1
        np.testing.assert_array_equal(open_dataset(tmp_path)["a"].read_mask(), mask)
        dataset.revert(line.id)
        assert path.read_text() == text


LABELS = arrays(np.int16, (1, 5, 6), elements=st.sampled_from([0, 0, 0, 1, 1, 2]))


class TestAnyMask:
    @given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
    def test_outline_gives_the_pixels(self, pixels):
        if pixels.any():
            height, width = pixels.shape
            outline = {"segmentation": coco_outlines.to_segmentation(pixels)}
            np.testing.assert_array_equal(coco_outlines.to_plane(outline, height=height, width=width), pixels)
            encoded = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
            outline = {"segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()}}
            np.testing.assert_array_equal(coco_outlines.to_plane(outline, height=height, width=width), pixels)

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.none() | LABELS), min_size=1, max_size=5),
        st.lists(st.tuples(st.integers(0, 2), LABELS), max_size=2),
    )
    def test_whatever_is_saved_comes_back(self, tmp_path_factory, edits, start):
        images = [{"id": n, "file_name": f"{name}.png", "height": 5, "width": 6} for n, name in enumerate("abc")]
        first = [
            annotation(n, image, [], category=1 + n % 2)
            | {"segmentation": coco_outlines.to_segmentation(labels[0] == 1)}
            for n, (image, labels) in enumerate(start)
            if (labels == 1).any()
        ]
        path = write(tmp_path_factory.mktemp("any"), first, images=images, pictures=False)
        original = path.with_name("original.json")
        original.write_bytes(path.read_bytes())
        expected = {name: decode(case) for name, case in cases(path).items()}
        once = dict(expected)
        for name, labels in edits:
            wanted = np.full((1, 5, 6), -1, np.int16) if labels is None else labels
            if [one["category_id"] for one in first] == [2]:
                # There is no category after the second.
                wanted = np.minimum(wanted, 1)
            encode(cases(path)[name], wanted, original=original)
            expected[name] = wanted
            for other, case in cases(path).items():
                np.testing.assert_array_equal(decode(case), expected[other])
        for name, labels in once.items():
            encode(cases(path)[name], labels, original=original)
        assert path.read_bytes() == original.read_bytes()


class TestWriting:
    def test_prediction(self, two, tmp_path):
        case = cases(two)["a"]
        target = case.write_prediction(plane(SQUARE_BOX, FAR_BOX).astype(np.uint8), tmp_path / "out")
        assert target == tmp_path / "out" / "a.coco.json"
        np.testing.assert_array_equal(decode(case, target), plane(SQUARE_BOX, FAR_BOX))
        with pytest.raises(InputError, match="the mask has shape"):
            case.write_prediction(np.zeros((2, Y, X), np.uint8), tmp_path)

    @pytest.mark.parametrize("high", [2, 4])
    @pytest.mark.parametrize("slices", [1, 3])
    def test_converting(self, tmp_path, slices, high):
        rng = np.random.default_rng(0)
        data = rng.integers(0, 256, (3, slices, Y, X), dtype=np.uint8)
        mask = rng.integers(0, high, (slices, Y, X), dtype=np.uint8)
        mask[0] = 0
        labelled = np.arange(slices) != 1
        writer = coco.create(tmp_path)
        writer.add("a b'ü", Volume(data=data, channel_names=("",) * 3), mask, labelled)
        writer.add("none", Volume(data=data[:1], channel_names=("",)), None, np.zeros(slices, bool))
        writer.close()
        found = cases(tmp_path)
        assert {name: case.has_mask for name, case in found.items()} == {"a b'ü": True, "none": False}
        np.testing.assert_array_equal(found["a b'ü"].read_image().data, data)
        np.testing.assert_array_equal(decode(found["a b'ü"])[labelled], mask[labelled])
        assert (decode(found["a b'ü"])[~labelled] == -1).all()
        assert (decode(found["none"]) == -1).all()

    def test_only_empty_masks(self, tmp_path):
        writer = coco.create(tmp_path)
        volume = Volume(data=np.ones((1, 1, Y, X), np.uint8), channel_names=("",))
        writer.add("a", volume, np.zeros((1, Y, X), np.uint8), np.ones(1, bool))
        writer.close()
        assert not decode(cases(tmp_path)["a"]).any()


@pytest.fixture(scope="module")
def real():
    folder = REAL_DATA / "coco"
    if not folder.is_dir():
        pytest.skip("the real slices are not here")
    return folder


@pytest.mark.realdata
class TestRealData:
    @DECODE_WARNS
    def test_masks_agree_with_pycocotools(self, real, capsys):
        count = 0
        for split in ("train", "val"):
            read = COCO(real / split / NAME)
            found = {case.pictures[0].path.name: case for case in coco.open_cases(real / split)}
            for number, image in read.imgs.items():
                case = found[image["file_name"]]
                expected = np.zeros((image["height"], image["width"]), bool)
                for one in read.imgToAnns[number]:
                    expected |= read.annToMask(one).astype(bool)
                np.testing.assert_array_equal(decode(case)[0], expected)
                assert case.read_image().shape == (1, *expected.shape)
                count += 1
        assert count == 174
        assert len(coco.open_cases(real)) == 174

    def test_correcting_one_leaves_the_others(self, real, tmp_path):
        source = real / "train" / NAME
        before = coco_json.read(source)
        for case in coco.open_cases(real / "train")[:40:4]:
            (file,) = case.mask_files()
            labels = decode(case).copy()
            labels[0, 100:140, 90:200] = 1
            path = tmp_path / "after.json"
            path.write_bytes(case.encode_mask(file, labels, former=source, original=None))
            np.testing.assert_array_equal(decode(case, path), labels)
            after = coco_json.read(path)
            image = before.by_name[case.pictures[0].name].value["id"]
            others = [[e.text for e in one.annotations if e.value["image_id"] != image] for one in (before, after)]
            assert others[0] == others[1]
            assert [e.text for e in before.images] == [e.text for e in after.images]
            assert before.text[: before.lists["annotations"].start] == after.text[: after.lists["annotations"].start]
            once = case.encode_mask(file, decode(case), former=path, original=source)
            assert once == source.read_bytes()


def test_a_broken_split_leaves_the_others_usable(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / split / f"{split}.png")
    image = {"id": 0, "file_name": "train.png", "height": 40, "width": 50}
    whole = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "t"}]}
    (tmp_path / "train" / "_annotations.coco.json").write_text(json.dumps(whole))
    (tmp_path / "valid" / "_annotations.coco.json").write_text('{"images": [')
    dataset = open_dataset(tmp_path)
    assert [case.case_id for case in dataset] == ["train", "valid (cannot be read)"]
    assert dataset["train"].read_image().shape == (1, 40, 50)
    assert not dataset["valid (cannot be read)"].has_mask
    with pytest.raises(InputError, match=r"valid.*json: this is not valid JSON"):
        dataset["valid (cannot be read)"].read_image()


def test_a_folder_called_images_is_no_case(tmp_path):
    (tmp_path / "images").mkdir()
    images = []
    for number, (name, size) in enumerate({"a": (40, 50), "big": (60, 70)}.items()):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / "images" / f"{name}.png")
        images.append({"id": number, "file_name": f"images/{name}.png", "height": size[0], "width": size[1]})
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "t"}]}
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(whole))
    assert {case.case_id: case.read_image().shape for case in open_dataset(tmp_path)} == {
        "a": (1, 40, 50),
        "big": (1, 60, 70),
    }


def test_images_named_from_the_root_have_a_case_that_is_not(tmp_path):
    """What a case is called becomes a path where its mask is written."""
    scans, out = tmp_path / "elsewhere" / "p1", tmp_path / "out"
    scans.mkdir(parents=True)
    images = []
    for number in range(2):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(scans / f"{number}.png")
        images.append({"id": number, "file_name": str(scans / f"{number}.png"), "height": 40, "width": 50})
    (tmp_path / "set").mkdir()
    whole = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "t"}]}
    (tmp_path / "set" / NAME).write_text(json.dumps(whole))
    (case,) = open_dataset(tmp_path / "set").cases
    assert case.case_id == scans.as_posix().lstrip("/")
    assert case.read_image().shape == (2, 40, 50)
    written = case.write_prediction(np.ones((2, 40, 50), np.uint8), out)
    assert written == out / f"{case.case_id}.coco.json"
    assert written.is_file()
