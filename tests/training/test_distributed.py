import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.engine.processes import Processes
from tests.training.shared_fit import ASKED, TRAININGS, asked, losses

ROOT = Path(__file__).resolve().parents[2]


def torchrun(*arguments: str, slowly: float = 0) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SLOWLY": str(slowly)}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--local-addr",
        "127.0.0.1",
        "--nproc-per-node",
        "2",
        *arguments,
    ]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `shared_fit` found in two processes."""
    file = tmp_path_factory.mktemp("shared") / "found.json"
    process = torchrun("-m", "tests.training.shared_fit", str(file))
    with process:
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_have_the_losses_of_one(shared: dict[str, Any], name: str) -> None:
    assert shared[name] == pytest.approx(losses(TRAININGS[name]), rel=1e-5)


def test_two_processes_resume_as_if_they_had_not_been_interrupted(shared: dict[str, Any]) -> None:
    # With dropout, where every process has random numbers of its own.
    assert shared["resumed"] == shared["whole"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("streamed", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("sampling", ASKED)
def test_each_of_two_processes_reads_its_own_part_alone(shared: dict[str, Any], sampling: str, streamed: bool) -> None:
    first, second = (own[sampling] for own in shared["asked ahead" if streamed else "asked"])
    batches = asked(ASKED[sampling], streamed=streamed)
    assert {len(batch) for batch in batches} == ({5} if sampling == "drawn" else {7, 1})
    assert first == [batch[: (len(batch) + 1) // 2] for batch in batches]
    # Of a batch of one, the sample stands in for an empty part.
    assert second == [batch[(len(batch) + 1) // 2 :] or batch for batch in batches]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
def test_the_parts_of_all_processes_make_up_the_batch(count: int) -> None:
    batch = torch.arange(10, 10 + count)
    fabrics: list[Any] = [SimpleNamespace(world_size=3, global_rank=rank) for rank in range(3)]
    parts = [Processes(fabric).own(batch).tolist() for fabric in fabrics]
    assert [number for part in parts[:count] for number in part] == batch.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[count:] == [[10]] * (3 - count)
    assert Processes().own(batch).equal(batch)


def test_a_killed_worker_is_started_again_from_the_state(tmp_path: Path) -> None:
    data = write_kaggle(tmp_path / "data", patients=4, slices=6, size=32)
    folder = tmp_path / "run"
    process = torchrun("--max-restarts", "1", "-m", "tests.training.tiny_run", "tiny", "--data", str(data), "--output",
                       str(folder), "--threads", "1", slowly=0.15)  # fmt: skip
    lines = []
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("epoch 2"):
                # In the middle of the third epoch.
                time.sleep(0.2)
                worker = max(psutil.Process(process.pid).children(), key=lambda child: child.pid)
                worker.send_signal(signal.SIGKILL)
    assert process.returncode == 0, "".join(lines)
    history = json.loads((folder / "history.json").read_text())
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    (again,) = (number for number, line in enumerate(lines) if line.startswith("going on from step "))
    # Each epoch was trained once: what was there before the end was not done again.
    assert [line[:7] for line in lines if line.startswith("epoch")] == [f"epoch {n}" for n in (1, 2, 3, 4)]
    assert not any(line.startswith(("epoch 1", "epoch 2")) for line in lines[again:])


def test_the_one_that_is_left_of_two_says_so_in_a_line(tmp_path: Path) -> None:
    """Under SLURM; torchrun ends it by itself."""
    data = write_kaggle(tmp_path / "data", patients=4, slices=6, size=32)
    command = [sys.executable, "-m", "tests.training.tiny_run", "tiny", "--data", str(data), "--threads", "1"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slurm = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    slurm |= {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "job", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": str(port)}
    environment = {**os.environ, **slurm, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SLOWLY": "0.15"}
    both = [
        subprocess.Popen(
            [*command, "--output", str(tmp_path / "run")],
            cwd=ROOT,
            env={**environment, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    first, second = both
    with first, second:
        assert first.stdout is not None
        while not (line := first.stdout.readline()).startswith("epoch 1"):
            assert line, first.communicate()
        second.kill()
        _, told = first.communicate(timeout=60)
    assert first.returncode == 1
    assert "another process of this training has ended" in told.splitlines()[-1]
    assert "Traceback" not in told
