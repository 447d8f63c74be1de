import pytest
import torch

from napari_unet_seg.engine import device
from napari_unet_seg.engine.config import FitConfig
from napari_unet_seg.engine.device import choose_device, has_bfloat16, out_of_memory
from napari_unet_seg.engine.fit import uses_bfloat16

CPU = torch.device("cpu")


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
