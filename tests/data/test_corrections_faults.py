import errno
import os
import shutil
import subprocess

import numpy as np
import pytest

from napari_unet_seg.data import transaction
from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.file_state import sha256_of
from napari_unet_seg.errors import InputError, ReadOnlyError
from tests.data.corrected import CASE, content, flipped, kaggle, nifti, opened


class Fault:
    """Makes one function of the system fail at its nth call, or from then on."""

    def __init__(self, monkeypatch, name, *, number, at=None, lasting=False):
        self.calls = 0
        real = getattr(os, name)

        def call(*args, **options):
            self.calls += 1
            if at is not None and (self.calls > at if lasting else self.calls == at + 1):
                raise OSError(number, os.strerror(number), str(args[0]) if isinstance(args[0], os.PathLike) else None)
            return real(*args, **options)

        monkeypatch.setattr(os, name, call)


def refused(dataset, case, mask, slices):
    """Why a save failed; None if it did not."""
    try:
        dataset.save_correction(case, mask, slices)
    except InputError as error:
        return error
    return None


def agree(root):
    """Whether every file is what the log says it is."""
    dataset = open_dataset(root)
    last = {change.file: change.after for line in dataset.corrections() for change in line.files}
    assert all(sha256_of(root / name) == sha for name, sha in last.items())
    assert not [path for path in root.rglob("*") if path.suffix in (".tmp", ".part", ".former")]
    return dataset


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("write", errno.ENOSPC),
        ("fsync", errno.EDQUOT),
        ("replace", errno.EIO),
        ("link", errno.EIO),
        ("open", errno.EACCES),
        ("mkdir", errno.EROFS),
    ],
)
@pytest.mark.parametrize("make", [kaggle, nifti])
def test_wherever_it_fails(tmp_path, monkeypatch, make, name, number, lasting):
    """Every call that a save makes of the system fails once: all is as it was, and the next save works."""
    template = make(tmp_path / "template")
    fresh = content(template)
    dataset, mask = opened(template)
    case = dataset.cases[0].case_id
    dataset.save_correction(case, flipped(mask, 0), [0])
    with monkeypatch.context() as patched:
        counted = Fault(patched, name, number=number)
        root = shutil.copytree(template, tmp_path / "counted")
        opened(root)[0].save_correction(case, flipped(mask, 1, 2), [1, 2])
    for at in range(counted.calls):
        root = shutil.copytree(template, tmp_path / f"{at}")
        before = content(root)
        dataset, _ = opened(root)
        with monkeypatch.context() as patched:
            Fault(patched, name, number=number, at=at, lasting=lasting)
            problem = refused(dataset, case, flipped(mask, 1, 2), [1, 2])
        failed = problem is not None
        if failed:
            assert problem.path is not None
            assert "\n" not in str(problem)
        if failed and not lasting:
            assert content(root) == before
        assert len(agree(root).corrections()) in ((1,) if failed and not lasting else (1, 2))
        again, _ = opened(root)
        again.save_correction(case, flipped(mask, 1, 2, 3), [1, 2, 3])
        np.testing.assert_array_equal(agree(root).cases[0].read_mask()[1:], flipped(mask, 1, 2, 3)[1:])
        for line in again.corrections():
            again.revert(line.id)
        assert content(root) == fresh
        shutil.rmtree(root)


def test_the_message_names_the_mask(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    dataset.save_correction(CASE, mask, [0])
    with monkeypatch.context() as patched:
        Fault(patched, "write", number=errno.ENOSPC, at=0, lasting=True)
        with pytest.raises(
            InputError,
            match=rf"{CASE}_2_mask\.tif: cannot be saved \(no space left on device\); nothing was changed; free some",
        ):
            dataset.save_correction(CASE, flipped(mask, 1), [1])


def test_permission_denied_asks_for_an_overlay(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    before = content(root)
    dataset.save_correction(CASE, mask, [0])
    with monkeypatch.context() as patched:
        Fault(patched, "replace", number=errno.EACCES, at=0, lasting=True)
        with pytest.raises(ReadOnlyError, match=r"cannot be saved \(permission denied\); .*choose an overlay folder"):
            dataset.save_correction(CASE, flipped(mask, 1), [1])
    assert content(root) == before


def test_a_copy_that_cannot_be_read_back_is_called_by_the_mask_s_name(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    monkeypatch.setattr(type(dataset[CASE].scan), "encode_mask", lambda *args, **options: b"II*")
    with pytest.raises(InputError, match=f"/{CASE}/{CASE}_2_mask.tif: this format cannot hold the mask exactly"):
        dataset.save_correction(CASE, flipped(mask, 1), [1])


def test_a_rename_that_fails_halfway_and_for_good_is_completed_later(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    real, done = os.replace, []

    def replace(source, target, **options):
        if str(target).endswith("_mask.tif"):
            done.append(target)
            if len(done) > 1:
                raise OSError(errno.EIO, "Input/output error")
        return real(source, target, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(InputError, match=r"input/output error.*will be completed when the dataset is opened again"):
            dataset.save_correction(CASE, flipped(mask, 1, 2), [1, 2])
    again = agree(root)
    np.testing.assert_array_equal(again[CASE].read_mask(), flipped(mask, 1, 2))
    assert again.repair_notes == [f"a save of {CASE} that was interrupted has been completed: slice 1, 2"]


def test_the_scan_was_removed(tmp_path):
    root = kaggle(tmp_path, masks=False)
    dataset = open_dataset(root)
    shape = dataset[CASE].read_image().shape
    shutil.rmtree(root / CASE)
    with pytest.raises(InputError, match="the scan of TCGA_XX_1000_20000101 is no longer there"):
        dataset.save_correction(CASE, np.ones(shape, np.uint8), [0])
    shutil.rmtree(root)
    assert not dataset.writable
    with pytest.raises(InputError, match="the dataset is no longer there; reconnect its drive"):
        dataset.save_correction(CASE, np.ones(shape, np.uint8), [0])
    assert not root.exists()


def test_a_format_that_loses_pixels_is_refused(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    before = content(root)
    wrong = (root / CASE / f"{CASE}_1_mask.tif").read_bytes()
    monkeypatch.setattr(type(dataset[CASE].scan), "encode_mask", lambda *args, **options: wrong)
    with pytest.raises(InputError, match="this format cannot hold the mask exactly, so nothing was saved"):
        dataset.save_correction(CASE, flipped(mask, 1), [1])
    assert content(root) == before


def test_without_links_it_copies(tmp_path, monkeypatch):
    root = kaggle(tmp_path)
    before = content(root)
    dataset, mask = opened(root)
    Fault(monkeypatch, "link", number=errno.EPERM, at=0, lasting=True)
    line = dataset.save_correction(CASE, flipped(mask, 1, 2), [1, 2])
    np.testing.assert_array_equal(agree(root)[CASE].read_mask(), flipped(mask, 1, 2))
    dataset.revert(line.id)
    assert content(root) == before


class TestInterrupted:
    """What opening does with the pending save of a process that is gone."""

    @pytest.fixture
    def interrupted(self, tmp_path, monkeypatch):
        """A dataset whose save of slices 1 and 2 ended after the first file was replaced."""
        root = kaggle(tmp_path)
        dataset, mask = opened(root)

        class KilledError(BaseException):
            pass

        real = transaction._Change.apply

        def apply(change):
            if change.file.endswith("_3_mask.tif"):
                raise KilledError
            real(change)

        with monkeypatch.context() as patched:
            patched.setattr(transaction._Change, "apply", apply)
            patched.setattr(transaction.Transaction, "_undo", lambda *args: True)
            with pytest.raises(KilledError):
                dataset.save_correction(CASE, flipped(mask, 1, 2), [1, 2])
        assert list((root / ".unetseg" / "pending").iterdir())
        assert list((root / CASE).glob(".*.tmp"))
        return root, mask

    def test_is_completed(self, interrupted):
        root, mask = interrupted
        dataset = agree(root)
        assert dataset.repair_notes == [f"a save of {CASE} that was interrupted has been completed: slice 1, 2"]
        np.testing.assert_array_equal(dataset[CASE].read_mask(), flipped(mask, 1, 2))
        assert not list((root / ".unetseg" / "pending").iterdir())
        assert open_dataset(root).repair_notes == []

    def test_by_the_next_save_too(self, interrupted, tmp_path):
        root, mask = interrupted
        other = open_dataset(shutil.copytree(root, tmp_path / "copy"))
        assert len(other.corrections()) == 1
        dataset = open_dataset(root)
        dataset.save_correction(CASE, flipped(mask, 3), [3])
        np.testing.assert_array_equal(agree(root)[CASE].read_mask(), flipped(mask, 1, 2, 3))

    def test_what_somebody_changed_meanwhile_stays(self, interrupted):
        root, mask = interrupted
        path = root / CASE / f"{CASE}_3_mask.tif"
        other = (root / CASE / f"{CASE}_4_mask.tif").read_bytes()
        path.write_bytes(other)
        dataset = open_dataset(root)
        assert path.read_bytes() == other
        assert any(
            "was changed by something else while a save was interrupted" in note for note in dataset.repair_notes
        )
        assert len(dataset.corrections()) == 1
        np.testing.assert_array_equal(dataset[CASE].read_mask()[1], flipped(mask, 1)[1])

    def test_a_read_only_dataset_says_so(self, interrupted, monkeypatch):
        root, _ = interrupted
        monkeypatch.setattr(os, "access", lambda *args, **options: False)
        dataset = open_dataset(root)
        assert dataset.repair_notes == [
            "a save was interrupted here, and cannot be completed because the dataset is read-only"
        ]

    def test_a_record_that_is_damaged_is_kept_aside(self, interrupted):
        root, _ = interrupted
        (folder,) = (root / ".unetseg" / "pending").iterdir()
        (folder / "record.json").write_bytes(b"\x00" * 20)
        dataset = open_dataset(root)
        assert any("its record is damaged; what there is of it is kept in" in note for note in dataset.repair_notes)
        assert (root / ".unetseg" / "damaged" / folder.name / "record.json").exists()


def test_on_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        root = kaggle(disk, slices=6)
        dataset, mask = opened(root)
        dataset.save_correction(CASE, flipped(mask, 0), [0])
        before = content(root)
        log = (root / ".unetseg" / "corrections.jsonl").read_bytes()
        filler = disk / "filler"
        free = shutil.disk_usage(disk).free
        rooms = []
        # From no room at all to enough for everything, a page at a time.
        for room in range(0, 60 * 1024, 4096):
            filler.write_bytes(b"x" * max(free - room, 0))
            problem = refused(dataset, CASE, flipped(mask, 1, 2, 3, 4), [1, 2, 3, 4])
            filler.unlink()
            if problem is None:
                break
            assert "no space left on device" in str(problem)
            assert content(root) == before
            assert (root / ".unetseg" / "corrections.jsonl").read_bytes() == log
            rooms.append(room)
        assert rooms
        line = dataset.corrections()[-1]
        np.testing.assert_array_equal(agree(root)[CASE].read_mask(), flipped(mask, 0, 1, 2, 3, 4))
        dataset.revert(line.id)
        np.testing.assert_array_equal(agree(root)[CASE].read_mask(), flipped(mask, 0))
    finally:
        subprocess.run(["umount", str(disk)], check=False)
