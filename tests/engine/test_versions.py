import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, read_description
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.versions import Version, VersionLine
from napari_unet_seg.errors import InputError
from tests.engine.models import SMALL, save_small, small_network


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return save_small(tmp_path / "parent.safetensors")


@pytest.fixture
def line() -> VersionLine:
    return VersionLine("mine", registry=Registry())


def add(line: VersionLine, *, promoted: bool = True, seed: int = 1, **record: Any) -> Version:
    training = {"round": {"promoted": promoted, **record}}
    return line.add(
        small_network(seed=seed), Description(name="mine", network=SMALL, training=training), promoted=promoted
    )


def current(line: VersionLine) -> list[int]:
    return [version.number for version in line.versions() if version.current]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_line_begins_with_a_byte_copy_of_its_parent(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    (version,) = line.versions()
    assert (version.number, version.promoted, version.current) == (0, True, True)
    assert version.path.read_bytes() == line.path.read_bytes() == parent.read_bytes()
    assert version.before is None
    assert version.reason == "as it was before"
    assert load_model("mine", device="cpu").description.name == "mine"


def test_only_a_promoted_round_takes_the_parent_s_place(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    rejected = add(line, promoted=False, seed=1, reason="it lost 0.1")
    assert (rejected.number, rejected.current) == (1, False)
    assert line.path.read_bytes() == parent.read_bytes()
    taken = add(line, promoted=True, seed=2)
    assert (taken.number, taken.current) == (2, True)
    assert line.path.read_bytes() == taken.path.read_bytes() != parent.read_bytes()
    assert [(v.number, v.promoted, v.current) for v in line.versions()] == [
        (0, True, False),
        (1, False, False),
        (2, True, True),
    ]


def test_a_version_tells_of_its_round(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    add(line, before=0.5, after=0.75, reason="it gained", scope="scan", time="2026-01-02T10:11:12+00:00", parent="p")
    version = line.versions()[1]
    assert (version.before, version.after, version.reason) == (0.5, 0.75, "it gained")
    assert (version.scope, version.time, version.parent) == ("scan", "2026-01-02T10:11:12+00:00", "p")


def test_going_back_and_forth(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    newest = add(line)
    restored = line.restore(0)
    assert (restored.number, restored.current) == (0, True)
    assert current(line) == [0]
    assert line.path.read_bytes() == parent.read_bytes()
    line.restore(1)
    assert current(line) == [1]
    assert line.path.read_bytes() == newest.path.read_bytes()
    assert len(line.versions()) == 2
    with pytest.raises(InputError, match=r"no version 7; its versions are: 0, 1$"):
        line.restore(7)


def test_a_beginning_that_was_cut_short_is_gone_on_with(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    line.path.unlink()
    line.begin(parent)
    assert [version.number for version in line.versions()] == [0]
    assert line.path.read_bytes() == parent.read_bytes()


def test_of_two_that_begin_at_once_one_does(parent: Path) -> None:
    def begin(_: int) -> None:
        line = VersionLine("mine", registry=Registry())
        with Registry().alone():
            line.begin(parent)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    assert [version.number for version in VersionLine("mine", registry=Registry()).versions()] == [0]


def test_going_back_waits_for_a_round_that_is_being_kept(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    add(line)
    with ThreadPoolExecutor(1) as pool:
        with Registry().alone():
            back = pool.submit(line.restore, 0)
            with pytest.raises(TimeoutError):
                back.result(0.3)
            add(line, seed=2)
        assert back.result(20).number == 0
    assert current(line) == [0]


def test_a_removal_waits_for_a_round_that_is_being_kept(line: VersionLine, parent: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with Registry().alone():
            line.begin(parent)
            gone = pool.submit(Registry().remove, "mine")
            with pytest.raises(TimeoutError):
                gone.result(0.3)
            add(line)
        gone.result(20)
    assert not line.path.exists()
    assert not line.versions()
    # A round that ends after that begins the model anew.
    line.begin(parent)
    add(line, seed=2)
    assert [version.number for version in line.versions()] == [0, 1]


def test_versions_that_cannot_be_listed_are_named(
    line: VersionLine, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.begin(parent)

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"mine.versions: cannot be opened \(permission denied\)"):
        line.versions()


def test_beginning_again_changes_nothing(line: VersionLine, parent: Path, tmp_path: Path) -> None:
    line.begin(parent)
    add(line)
    line.restore(0)
    before = {path: path.read_bytes() for path in line.path.parent.rglob("*.safetensors")}
    line.begin(save_small(tmp_path / "other.safetensors", seed=9))
    assert {path: path.read_bytes() for path in line.path.parent.rglob("*.safetensors")} == before


def test_an_imported_model_is_kept_as_version_0_and_stays(line: VersionLine, parent: Path, tmp_path: Path) -> None:
    own = save_small(tmp_path / "mine.safetensors", seed=5).read_bytes()
    Registry().import_file(tmp_path / "mine.safetensors")
    assert line.versions() == ()
    line.begin(parent)
    assert [(v.number, v.current, v.path.read_bytes()) for v in line.versions()] == [(0, True, own)]
    assert line.path.read_bytes() == own


@pytest.mark.parametrize("step", ["begin", "add", "restore"])
def test_a_file_put_in_place_by_hand_is_never_lost(line: VersionLine, parent: Path, tmp_path: Path, step: str) -> None:
    line.begin(parent)
    by_hand = save_small(tmp_path / "hand.safetensors", seed=7).read_bytes()
    line.path.write_bytes(by_hand)
    assert current(line) == []
    {"begin": lambda: line.begin(parent), "add": lambda: add(line), "restore": lambda: line.restore(0)}[step]()
    assert line.versions()[1].path.read_bytes() == by_hand


def test_the_start_of_a_line_does_not_tell_of_another_line_s_round(line: VersionLine, parent: Path) -> None:
    other = VersionLine("other", registry=Registry())
    other.begin(parent)
    add(other, before=0.1, after=0.2, promoted=True)
    line.begin(other.path)
    (start,) = line.versions()
    assert (start.before, start.after, start.promoted) == (None, None, True)


def test_numbers_are_not_used_again(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    add(line, promoted=False).path.write_bytes(b"damaged")
    assert [version.number for version in line.versions()] == [0]
    assert add(line, seed=2).number == 2
    with pytest.raises(InputError, match="no version 1"):
        line.restore(1)


def test_of_two_that_add_at_once_each_gets_a_number(
    line: VersionLine, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.begin(parent)
    add(line, promoted=False)
    seen = line._files()[:1]
    monkeypatch.setattr(line, "_files", lambda: seen)
    assert add(line, seed=2).number == 2


def no_links(*_: object) -> None:
    raise OSError(errno.EPERM, "no hard links here")


def test_a_drive_without_hard_links(line: VersionLine, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    line.begin(parent)
    add(line)
    assert current(line) == [1]
    assert names(line.folder) == ["0000.safetensors", "0001.safetensors"]


def test_a_full_disk_leaves_model_and_versions_as_they_were(
    line: VersionLine, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.begin(parent)
    before = {path: path.read_bytes() for path in line.path.parent.rglob("*") if path.is_file()}
    sync, calls = os.fsync, 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    # The version's file, the model's file, the folders of both.
    for fails_at in (1, 2, 3, 4):
        calls = 0
        with pytest.raises(InputError, match=r"no space left on device.*as it was") as caught:
            add(line)
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.ENOSPC
        files = {path: path.read_bytes() for path in line.path.parent.rglob("*") if path.is_file()}
        assert files == before, f"at the write number {fails_at}"


def states(line: VersionLine, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[VersionLine]:
    """The line as a process that was killed after any of the writes of `add` has left it."""
    found = []

    def then_copied(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            copy = shutil.copytree(line.path.parent, folder / f"killed_{len(found)}")
            found.append(VersionLine(line.name, registry=Registry(copy)))
            return result

        return run

    with monkeypatch.context() as patched:
        for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "rename"), (Path, "unlink")):
            patched.setattr(owner, name, then_copied(getattr(owner, name)))
        add(line)
    return found


@pytest.mark.parametrize("links", [True, False])
def test_killed_at_any_moment_no_version_is_called_promoted_that_was_not_in_use(
    line: VersionLine, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    line.begin(parent)
    killed = states(line, monkeypatch, tmp_path)
    assert len(killed) > 5
    for left in killed:
        rounds = left.versions()[1:]
        assert all(version.promoted and version.current for version in rounds)
        # What is in use is never lost.
        content = left.path.read_bytes()
        left.restore(0)
        assert content in [version.path.read_bytes() for version in left.versions()]


def test_what_a_killed_process_left_is_removed(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    old = [line.folder / ".0001.safetensors.abcd1234.tmp", line.path.parent / ".mine.safetensors.abcd1234.tmp"]
    fresh = line.folder / ".0002.safetensors.abcd1234.tmp"
    for path in (*old, fresh):
        path.write_bytes(b"half of a mod")
    for path in old:
        os.utime(path, (time.time() - 7200,) * 2)
    assert len(line.versions()) == 1
    add(line)
    assert names(line.folder) == [fresh.name, "0000.safetensors", "0001.safetensors"]
    assert not old[1].exists()


def test_names_that_cannot_have_versions() -> None:
    for name in ("", "../mine", "a/b", ".hidden", "x" * 101):
        with pytest.raises(InputError, match="cannot be a model's name"):
            VersionLine(name, registry=Registry())
    with pytest.raises(InputError, match="'default' comes with the package"):
        VersionLine("default", registry=Registry())


def test_what_is_no_model_starts_no_line(line: VersionLine, parent: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model file"):
        line.begin(tmp_path / "missing.safetensors")
    assert not line.path.exists()
    line.path.parent.mkdir(parents=True, exist_ok=True)
    line.path.write_bytes(b"precious, but no model")
    with pytest.raises(InputError, match="not a model"):
        line.begin(parent)
    assert line.path.read_bytes() == b"precious, but no model"


ADD_FOR_EVER = """
import sys
from pathlib import Path
from napari_unet_seg.engine.checkpoint import load_checkpoint
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.versions import VersionLine
line = VersionLine("mine", registry=Registry(Path(sys.argv[1])))
network, description = load_checkpoint(line.path)
while True:
    line.add(network, description, promoted=True)
    print(flush=True)
"""


def test_killed_at_any_moment_a_whole_model_is_left(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    process = subprocess.Popen([sys.executable, "-c", ADD_FOR_EVER, str(line.path.parent)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process:
        for _ in range(3):
            process.stdout.readline()
        time.sleep(0.0123)
        process.kill()
    load_checkpoint(line.path)
    assert len(current(line)) == 1
    for version in line.versions():
        load_checkpoint(version.path)
    assert len(line.versions()) == len(list(line.folder.glob("*.safetensors")))


def test_a_damaged_model_can_be_gone_back_from(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    line.path.write_bytes(b"half of a mod")
    line.restore(0)
    assert line.path.read_bytes() == parent.read_bytes()
    assert current(line) == [0]


def test_a_damaged_version_is_not_put_in_use(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    add(line)
    former = line.path.read_bytes()
    damaged = line.versions()[0].path
    damaged.write_bytes(damaged.read_bytes()[:-4] + np.float32(np.nan).tobytes())
    with pytest.raises(InputError, match=f"{damaged.name}: refused: it holds weights that are NaN"):
        line.restore(0)
    assert line.path.read_bytes() == former


def test_names_with_dots_are_kept_apart(parent: Path) -> None:
    registry = Registry()
    lines = [VersionLine(name, registry=registry) for name in ("a", "a.b", "a.versions")]
    for line in lines:
        line.begin(parent)
        add(line)
    assert [len(line.versions()) for line in lines] == [2, 2, 2]
    assert {model.name for model in registry.list() if not model.shipped} == {"a", "a.b", "a.versions"}


def test_a_description_survives(line: VersionLine, parent: Path) -> None:
    line.begin(parent)
    description = replace(read_description(parent), training={"round": {"promoted": True}, "scope": "scan"})
    line.add(small_network(), description, promoted=True)
    assert line.versions()[1].description == description


def test_where_nothing_can_be_kept_the_folder_can_be_another(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written .* in the variable NAPARI_UNET_SEG_HOME$"):
        VersionLine("mine", registry=Registry(tmp_path / "file" / "models")).check_writable()


@pytest.mark.parametrize(
    ("begun", "free", "fits"), [(False, 3, False), (False, 4, True), (True, 1, False), (True, 2, True)]
)
def test_a_full_disk_is_told_of_before_the_round(
    line: VersionLine, parent: Path, monkeypatch: pytest.MonkeyPatch, begun: bool, free: int, fits: bool
) -> None:
    if begun:
        line.begin(parent)
    disk = SimpleNamespace(total=100_000_000, free=free * 1_000_000)
    monkeypatch.setattr("napari_unet_seg.data.formats.atomic.shutil.disk_usage", lambda folder: disk)
    told = (
        nullcontext()
        if fits
        else pytest.raises(InputError, match=r"not room enough \(. MB are needed, . MB are free\)")
    )
    with told:
        line.check_writable(size=1_000_000)
    disk.total = disk.free = 0
    line.check_writable(size=1_000_000)
