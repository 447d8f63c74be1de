import pytest

from napari_unet_seg.data.output_folder import check_outside
from napari_unet_seg.errors import InputError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data" / "p1").mkdir(parents=True)
    (tmp_path / "data" / "p1" / "scan.tif").touch()
    return tmp_path / "data"


def refused(folder, root, **options):
    try:
        check_outside(folder, root, **options)
    except InputError as error:
        return error.path == folder
    return False


def test_a_folder_of_the_dataset_is_refused_whether_it_is_there_or_not(root):
    for place in (root, root / "p1", root / "new", root / "p1" / "a" / "b", root / "new" / ".." / "p1"):
        assert refused(place, root)
    for place in (root.parent, root.parent / "out", root.parent / "data2", root / ".." / "out"):
        assert not refused(place, root)


def test_links_lead_where_they_lead(root, tmp_path):
    (tmp_path / "link").symlink_to(root / "p1")
    assert refused(tmp_path / "link" / "out", root)
    (tmp_path / "data link").symlink_to(root)
    assert refused(root / "out", tmp_path / "data link")


def test_beside_a_single_scan_lies_its_mask(root):
    scan = root / "p1" / "scan.tif"
    assert refused(root / "p1", scan)
    assert not refused(root / "p1" / "out", scan)
    assert not refused(root, scan)


def test_a_case_s_folder_may_be_the_dataset_itself(root):
    assert refused(root, root / "p1", names=["p1"])
    assert not refused(root, root / "p1", names=["p2"])
    assert not refused(root / "out", root / "p1", names=["p1"])


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("images", "masks"),
        ("images/train", "masks/train"),
        ("train/images", "train/masks"),
        ("train", "train_mask"),
        ("imagesTr", "labelsTr"),
    ],
)
def test_of_a_folder_of_images_the_masks_are_kept(tmp_path, images, masks):
    scan = tmp_path / "data" / images / "scan.png"
    for file in (scan, tmp_path / "data" / masks / "scan_mask.png"):
        file.parent.mkdir(parents=True)
        file.touch()
    (tmp_path / "link").symlink_to(scan.parent)
    for opened in (scan.parent, scan, tmp_path / "link"):
        assert refused(tmp_path / "data" / masks, opened)
        assert refused(tmp_path / "data" / masks / "new", opened)
        assert not refused(tmp_path / "data" / "out", opened)
    # What would be taken for them the next time.
    (tmp_path / "data" / masks / "scan_mask.png").unlink()
    (tmp_path / "data" / masks).rmdir()
    assert refused(tmp_path / "data" / masks, scan.parent)


def test_relative_paths(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    with pytest.raises(InputError, match="would become part of the dataset"):
        check_outside(root / "out", root.relative_to(root.parent))
