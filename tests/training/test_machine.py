import platform
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.networks import build_network
from napari_unet_seg.errors import InputError
from training.benchmarks import machine, this_machine
from training.describe import network_gflop

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now[0])
    return now


def lasting(clock: list[float], seconds: float) -> Callable[[], None]:
    def pass_time() -> None:
        clock[0] += seconds

    return pass_time


@pytest.mark.parametrize(("at_least", "steps"), [(0.0, 1), (3.0, 1), (4.0, 2), (9.5, 4)])
def test_a_rate_is_that_of_whole_steps(clock: list[float], at_least: float, steps: int) -> None:
    assert machine.rate(lasting(clock, 3.0), count=6, at_least=at_least, device=CPU) == 2.0
    assert clock[0] == 3.0 * steps


def test_the_matrix_rate_is_of_multiplications_and_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = iter([4.0, 2.0, 4.0, 8.0, 4.0])

    def seconds(function: Callable[[], object], *, device: torch.device) -> float:
        return next(timed)

    monkeypatch.setattr(machine, "seconds", seconds)
    assert machine.matrix_rate("float32", device=CPU) == 2048**3 / 1e9


def test_contenders_take_turns_and_the_first_time_does_not_count() -> None:
    order: list[str] = []

    def run(name: str) -> Callable[[], float]:
        def measured() -> float:
            order.append(name)
            return float(len(order))

        return measured

    rates = machine.by_turns({"a": run("a"), "b": run("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert rates == {"a": [3, 5], "b": [4, 6]}


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory.\nand more"), InputError("no rate")])
def test_who_cannot_run_is_left_out_and_named(error: Exception) -> None:
    def fail() -> float:
        raise error

    told: list[str] = []
    assert machine.by_turns({"large": fail, "small": lambda: 1.0}, rounds=2, told=told.append) == {"small": [1, 1]}
    assert told == [f"large: left out ({str(error).splitlines()[0]})"]


def test_the_cost_of_a_network_is_the_same_without_a_device() -> None:
    config = UNetConfig(in_channels=1, features=(2, 3), convolutions=(1, 1))
    # 8 x 8: 3x3 from 1 to 2; at 4 x 4: 3x3 from 2 to 3, 2x2 up to 2; 3x3 from 4 to 2, 1x1 to 1.
    multiplied = 64 * 9 * 2 + 16 * 9 * 6 + 16 * 4 * 6 + 64 * 9 * 8 + 64 * 2
    with torch.device("meta"):
        shapes = build_network(config).eval()
    for network in (build_network(config).eval(), shapes):
        assert network_gflop(network, size=(8, 8)) == pytest.approx(2 * multiplied / 1e9)


def test_a_report_names_the_processor_and_not_its_architecture_alone(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nvendor_id\t: Maker\nmodel name\t: Maker One\n\nmodel name\t: \n")
    assert this_machine.processor(cpuinfo) == "Maker One"
    assert this_machine.processor(tmp_path / "none") == (platform.processor() or platform.machine())
    told = this_machine.this_machine()
    assert told["processor"] == this_machine.processor()
    assert told["torch"] == torch.__version__
    assert str(told["processor"]) in this_machine.machine_line(told)
