import sys
from pathlib import Path

import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.splits import patient_of
from training import memory_limit
from training.benchmarks import memory
from training.memory_limit import GIB, available_memory, default_limit

MIB = 2**20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_kaggle(tmp_path / "data", patients=2, slices=6, size=32)


def test_cases_are_repeated_under_other_names(tmp_path: Path, data: Path) -> None:
    repeated = open_dataset(memory.repeat_cases(data, tmp_path / "repeated", times=3))
    assert repeated.layout == "kaggle"
    assert len({patient_of(case.case_id) for case in repeated}) == 6
    original = open_dataset(data)
    for case in repeated:
        assert case.read_mask() is not None
        assert any((case.read_image().data == one.read_image().data).all() for one in original)
    assert all(file.is_symlink() for file in (tmp_path / "repeated").rglob("*.tif"))


def test_another_layout_is_refused(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = list(data.rglob("*_1.tif"))[:1]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "scan.tif").write_bytes(file.read_bytes())
    assert memory.main(["--data", str(tmp_path / "other")]) == 2
    assert "a folder a patient" in capsys.readouterr().err


READ = """
import sys
from pathlib import Path
import torch
from training.recipes import RECIPES
from training.spill import Spill
from training.training_data import read_training_data

torch.set_num_threads(1)
device, data, run, memory = torch.device("cpu"), *sys.argv[1:]
spill = Spill.beside(Path(run), device=device, memory=int(memory), resume=False, fabric=None, say=print)
store = read_training_data(RECIPES["default"](), data, left_out=(), device=device, spill=spill).train
for index in store.labelled.split(8):
    store.batch(index, context=0)
"""


def test_slices_are_held_once_or_streamed_through_a_bounded_part_of_memory(tmp_path: Path) -> None:
    """Four patients, and eighty: 171 MiB more."""
    data = write_kaggle(tmp_path / "data", patients=2, slices=16, size=192)
    folders = {times: memory.repeat_cases(data, tmp_path / str(times), times=times) for times in (2, 40)}
    little, streamed, held = (
        memory.peak_memory([sys.executable, "-c", READ, str(folders[times]), str(tmp_path / "run"), str(limit * MIB)])
        for times, limit in ((2, 8), (40, 8), (40, 1024))
    )
    more = 38 * 2 * 16 * 192 * 192 * 4
    assert streamed - little < 0.3 * more
    assert 0.8 * more < held - little < 1.4 * more


def test_a_training_on_repeated_cases_is_measured(data: Path) -> None:
    found = memory.measure(data, times=5, steps=1, memory=MIB // 16)
    assert found["slices"] == 60
    assert found["data_gib"] == 60 * 32 * 32 * 4 / GIB
    assert 0.1 < found["peak_gib"] < 4


def test_above_the_limit_the_status_says_so(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"slices": 12, "data_gib": 1.0, "peak_gib": 3.0, "seconds": 1.0}
    monkeypatch.setattr(memory, "measure", lambda *_, **__: found)
    assert memory.main(["--data", str(data), "--limit", "4"]) == 0
    assert memory.main(["--data", str(data), "--limit", "2"]) == 1
    assert "held at most 3.00 GiB of 2 allowed" in capsys.readouterr().out


def test_the_peak_is_that_of_the_child() -> None:
    # It lives on for a while with its peak behind it: what ends between two looks, as on a busy machine, is not seen.
    code = "import time; held = bytearray({} * 2**20); held[::4096] = b'x' * len(held[::4096]); del held; time.sleep(1)"
    small, large = (memory.peak_memory([sys.executable, "-c", code.format(size)]) for size in (1, 200))
    assert 190 * MIB < large - small < 230 * MIB


def groups(tmp_path: Path, limits: dict[str, tuple[str, int]], line: str) -> list[int]:
    proc, root = tmp_path / "cgroup", tmp_path / "sys"
    proc.write_text(f"9:name=systemd:/\n{line}\n")
    for name, (limit, used) in limits.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        old = "memory" in Path(name).parts
        (folder / ("memory.limit_in_bytes" if old else "memory.max")).write_text(limit)
        (folder / ("memory.usage_in_bytes" if old else "memory.current")).write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\n{'total_' if old else ''}inactive_file 100\n")
    return list(memory_limit._left_in_groups(proc, root))


def test_control_groups_limit_what_is_available(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"jobs": ("9000", 4000), "jobs/mine": ("max", 3000), ".": ("max", 0)}
    assert groups(tmp_path, limits, "0::/jobs/mine") == [5100]
    assert groups(tmp_path, {"memory/mine": ("1000", 300)}, "4:memory:/mine") == [800]
    # In a container, where the path is that outside of it.
    assert groups(tmp_path, {"memory": ("700", 300)}, "4:memory:/elsewhere") == [500]
    monkeypatch.setattr(memory_limit, "_left_in_groups", lambda: iter([10**6]))
    assert available_memory() == 10**6


def test_half_of_what_is_free_is_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(memory_limit, "available_memory", lambda: 8 * GIB)
    assert default_limit(torch.device("cpu"), processes=2) == 2 * GIB
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 80 * GIB))
    assert default_limit(torch.device("cuda"), processes=2) == 1.5 * GIB
