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


def test_relative_paths(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    with pytest.raises(InputError, match="would become part of the dataset"):
        check_outside(root / "out", root.relative_to(root.parent))
