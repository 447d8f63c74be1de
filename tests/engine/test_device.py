import pytest
import torch

from napari_unet_seg.engine import device
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.device import choose_device, has_bfloat16, out_of_memory
from napari_unet_seg.engine.fit import uses_bfloat16
from napari_unet_seg.errors import InputError

CPU = torch.device("cpu")

NO_CODE = "CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize("native", [True, False])
def test_prediction_and_training_agree_on_what_the_processor_can(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: native)
    assert has_bfloat16(CPU) is native
    assert (choose_device("cpu").precision == torch.bfloat16) is native
    assert uses_bfloat16(FitConfig(), device=CPU) is native
    assert uses_bfloat16(FitConfig(precision="bfloat16"), device=CPU)
    assert not uses_bfloat16(FitConfig(precision="float32"), device=CPU)


@pytest.mark.parametrize(("capability", "native"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_graphics_cards_before_ampere_only_emulate_it(
    capability: tuple[int, int], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_bfloat16(torch.device("cuda")) is native


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_want_of_memory_is_known_by_what_torch_says(error: RuntimeError | MemoryError, memory: bool) -> None:
    assert out_of_memory(error) is memory


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that PyTorch sees; it computes on the CPU."""
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Turing")
    monkeypatch.setattr(torch, "ones", lambda *size, device, dtype: ones(*size, dtype=dtype))


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("wanted", ["auto", "cuda", "cuda:0"])
def test_a_graphics_card_that_works_is_taken(wanted: str) -> None:
    choice = choose_device(wanted)
    assert (choice.device, choice.note) == (torch.device("cuda", 0), "Turing (CUDA), float32")


@pytest.mark.usefixtures("card")
def test_a_graphics_card_that_pytorch_has_no_code_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"{NO_CODE}\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n")

    monkeypatch.setattr(torch.nn.functional, "conv2d", fail)
    choice = choose_device("auto")
    assert choice.device == CPU
    assert choice.note.endswith(f"; the graphics card fails ({NO_CODE})")
    with pytest.raises(InputError, match=r"device 'cuda:0' does not work: .* no kernel image .*; use cpu or auto"):
        choose_device("cuda:0")


@pytest.mark.usefixtures("card")
def test_a_driver_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: torch.device) -> tuple[int, int]:
        raise torch.cuda.DeferredCudaCallError("CUDA call failed lazily at initialization")

    monkeypatch.setattr(torch.cuda, "get_device_capability", fail)
    assert "failed lazily" in choose_device("auto").note
