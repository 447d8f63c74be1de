"""A report replaces a report, and nothing else."""

import os
import threading
from pathlib import Path

import pytest

from napari_unet_seg.data.report_file import check_report, write_report_file
from napari_unet_seg.errors import InputError


@pytest.mark.parametrize("name", ["report.json", "report.txt"])
def test_a_report_replaces_a_report(tmp_path: Path, name: str) -> None:
    path = tmp_path / "new" / name
    for text in ("{}", "[]"):
        check_report(path)
        write_report_file(path, text)
        assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "content"), [("scan.tif", b"II*"), ("mask.nii.gz", b""), ("notes", b"precious"), ("list", b"[see below]")]
)
def test_what_is_no_report_is_not_replaced(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: is there, and is no report"):
        check_report(tmp_path / name)


def test_what_is_read_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "_annotations.coco.json"
    path.write_text("{}")
    with pytest.raises(InputError, match="would replace what is read"):
        check_report(path, inputs=[path])


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    check_report(tmp_path / "link.json")
    write_report_file(tmp_path / "link.json", "new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "real.json").read_text() == "new"


def test_links_in_a_circle_are_no_report_and_nothing_that_is_read(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).symlink_to(other)
    with pytest.raises(InputError, match="cannot be written"):
        check_report(tmp_path / "one" / "report.json")
    (tmp_path / "report.json").write_text("{}")
    check_report(tmp_path / "report.json", inputs=[tmp_path / "one"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_text()))
    reader.start()
    check_report(tmp_path / "pipe")
    write_report_file(tmp_path / "pipe", "{}")
    reader.join(timeout=10)
    assert found == ["{}"]


def test_a_folder_that_may_not_be_entered_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: bool) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    # Later Pythons take such a file for one that is not there.
    (tmp_path / "closed").touch()
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match=r"closed.report\.json: cannot be"):
        check_report(tmp_path / "closed" / "report.json")


def test_a_folder_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        check_report(tmp_path)
