import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.device import choose_device
from napari_unet_seg.engine.head_box import head_box
from napari_unet_seg.engine.network import Network
from napari_unet_seg.engine.prepared_scan import glance
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.segmenter import Segmenter, Stopped, load_model
from napari_unet_seg.engine.working_grid import working_factor
from napari_unet_seg.errors import InputError, SegmentationError
from tests.engine.models import SMALL, save_small, small_network


def segmenter(config: UNetConfig = SMALL) -> Segmenter:
    classes = tuple(f"class {k}" for k in range(config.classes))
    return Segmenter(small_network(config), Description(name="m", network=config, class_names=classes), device="cpu")


def phantom(**changes: Any) -> Volume:
    return make_phantom(**{"slices": 5, "size": 40, **changes})[0]


def test_probabilities_have_the_volume_s_shape() -> None:
    probability = segmenter().predict(phantom())
    assert probability.shape == (5, 40, 40)
    assert probability.dtype == np.float32
    assert 0 <= probability.min() <= probability.max() <= 1


def test_several_classes() -> None:
    probability = segmenter(UNetConfig(classes=3, features=(4, 8), convolutions=(1, 1))).predict(phantom())
    assert probability.shape == (3, 5, 40, 40)


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_are_told_apart_from_the_background_each_for_itself(classes: int) -> None:
    config = UNetConfig(classes=classes, features=(4, 8), convolutions=(1, 1))
    network = small_network(config)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([-3.0, 2.0, -1.0][:classes]))
    names = tuple(f"class {k}" for k in range(classes))
    model = Segmenter(network, Description(name="m", network=config, class_names=names), device="cpu")
    probability = model.predict(phantom())
    expected = torch.tensor([-3.0, 2.0, -1.0][:classes]).sigmoid().numpy()
    np.testing.assert_allclose(probability[:, 2, 20, 20], expected, atol=1e-2)
    assert (model.mask(probability)[2, 20, 20], model.mask(probability, threshold=0.95)[2, 20, 20]) == (2, 0)


def test_a_volume_changed_in_place_is_looked_at_anew() -> None:
    model, volume = segmenter(), phantom()
    model.predict(volume)
    volume.data[:] = np.minimum(volume.data.astype(int) + 120, 255)
    np.testing.assert_array_equal(model.predict(volume), segmenter().predict(volume))


def test_what_a_volume_takes_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, volume, other = segmenter(), phantom(), phantom(seed=1)
    first = model.predict(volume, slices=[1])
    monkeypatch.setattr("napari_unet_seg.engine.segmenter.prepare_scan", pytest.fail)
    np.testing.assert_array_equal(model.predict(volume, slices=[1]), first)
    monkeypatch.undo()
    model.predict(other, slices=[1])
    monkeypatch.setattr("napari_unet_seg.engine.segmenter.prepare_scan", pytest.fail)
    np.testing.assert_array_equal(model.predict(volume, slices=[1]), first)


def test_a_volume_s_pixels_go_with_it() -> None:
    model, volume = segmenter(), phantom()
    model.predict(volume)
    pixels = weakref.ref(volume.data)
    del volume
    gc.collect()
    assert pixels() is None


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (3, 4, 40, 30), (1, 400, 9, 9), (2, 90_000, 2, 3), (1, 1, 700, 600)])
def test_a_glance_sees_that_a_scan_is_another(shape: tuple[int, ...]) -> None:
    data = np.random.default_rng(0).integers(0, 200, shape, dtype=np.uint8)
    seen = glance(data)
    assert glance(data.copy()) == seen
    assert glance(data + 1) != seen


def test_the_same_input_gives_the_same_mask() -> None:
    volume = phantom()
    np.testing.assert_array_equal(segmenter().predict(volume), segmenter().predict(volume))


def test_single_slices_are_those_of_the_volume() -> None:
    model, volume = segmenter(), phantom()
    whole, some = model.predict(volume), model.predict(volume, slices=[3, 0])
    np.testing.assert_allclose(some[[0, 3]], whole[[0, 3]], atol=2e-3)
    assert not some[[1, 2, 4]].any()


@pytest.mark.parametrize("slices", [None, [2, 0, 1, 3, 4], [2, 3]])
def test_slices_that_half_the_digits_may_have_decided_are_in_float32(
    slices: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_unet_seg.engine.segmenter.borderline_slices", lambda *_, **__: [2])
    volume, network, described = phantom(), small_network(), Description(name="m", network=SMALL)
    exact = Segmenter(network, described, device="cpu", precision=torch.float32).predict(volume)
    model = Segmenter(network, described, device="cpu", precision=torch.bfloat16)
    difference = np.abs(model.predict(volume, slices=slices) - exact).max(axis=(1, 2))
    assert difference[3] > 1e-5
    # Where some slices alone are asked for, no piece is whole.
    assert (difference[2] < 1e-6) == (slices != [2, 3])
    model.use(small_network(seed=1))
    assert np.abs(model.predict(volume)[2] - exact[2]).max() > 1e-3


@pytest.mark.parametrize("found", [8, 9])
def test_only_a_few_slices_are_computed_again(found: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_unet_seg.engine.segmenter.borderline_slices", lambda *_, **__: list(range(found)))
    volume, network, described = phantom(slices=20), small_network(), Description(name="m", network=SMALL)
    exact = Segmenter(network, described, device="cpu", precision=torch.float32).predict(volume)
    fast = Segmenter(network, described, device="cpu", precision=torch.bfloat16).predict(volume)
    assert (np.abs(fast - exact)[:found].max() < 1e-6) == (found == 8)


@pytest.mark.parametrize("slices", [[-1], [5]])
def test_slices_outside_are_refused(slices: list[int]) -> None:
    with pytest.raises(InputError, match=r"slices must lie in 0\.\.4"):
        segmenter().predict(phantom(), slices=slices)


@pytest.mark.parametrize("slices", [[1.7], ["1"]])
def test_slices_that_are_no_numbers_are_refused(slices: list[Any]) -> None:
    with pytest.raises(InputError, match="slices must be a list of whole numbers"):
        segmenter().predict(phantom(), slices=slices)


@pytest.mark.parametrize("threshold", [float("nan"), 0.0, 1.5, "half"])
def test_a_threshold_that_is_no_share_is_refused(threshold: Any) -> None:
    with pytest.raises(InputError, match="the threshold must lie between 0 and 1, got"):
        segmenter().mask(np.ones((2, 8, 8), np.float32), threshold=threshold)


def test_an_array_alone_is_no_volume() -> None:
    with pytest.raises(InputError, match=r"a Volume is predicted, and this is a ndarray; .*Volume\(data="):
        segmenter().predict(phantom().data)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [np.zeros((8, 8), np.float32), [[[0.5]]], None])
def test_what_is_no_probability_map_is_refused(given: Any) -> None:
    with pytest.raises(InputError, match=r"axes \(Z, Y, X\), and this is an? "):
        segmenter().mask(given)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64", ">i2", ">f4"])
def test_number_types_give_the_same_mask(dtype: str) -> None:
    volume, model = phantom(), segmenter()
    expected = model.predict(volume)
    np.testing.assert_allclose(model.predict(replace(volume, data=volume.data.astype(dtype))), expected, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 37, 53), (2, 8, 9)])
def test_odd_sizes(shape: tuple[int, int, int]) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, *shape), dtype=np.uint8)
    volume = Volume(data=data, channel_names=("pre", "flair", "post"))
    assert segmenter().predict(volume).shape == shape


def test_one_channel_is_taken_for_flair() -> None:
    volume = phantom()
    one = replace(volume, data=volume.data[1:2], channel_names=("flair",))
    copied = replace(volume, data=volume.data[[1, 1, 1]])
    np.testing.assert_allclose(segmenter().predict(one), segmenter().predict(copied), atol=1e-6)


def test_progress_counts_up_to_all_slices() -> None:
    seen: list[tuple[int, int]] = []
    segmenter().predict(phantom(slices=20, size=256), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert len(seen) > 1
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_stop_is_obeyed_between_batches() -> None:
    answers = iter([False, True])
    with pytest.raises(Stopped):
        segmenter().predict(phantom(slices=40, size=256), should_stop=lambda: next(answers))


def failing(times: int, error: Callable[[], Exception], model: Segmenter) -> list[int]:
    """Let the network fail the first few times; returns the batch sizes it is then asked for."""
    sizes: list[int] = []
    forward = model._network.forward

    def fail(x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(sizes) <= times:
            raise error()
        return forward(x)

    model._network.forward = fail  # type: ignore[method-assign]
    return sizes


def test_out_of_memory_halves_the_batch() -> None:
    model, volume = segmenter(), phantom(slices=8)
    expected = model.predict(volume)
    sizes = failing(2, lambda: torch.OutOfMemoryError("CUDA out of memory"), model)
    np.testing.assert_allclose(model.predict(volume), expected, atol=1e-5)
    assert sizes[:3] == [8, 4, 2]


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_no_memory_for_one_slice_is_said(error: Exception) -> None:
    model = segmenter()
    failing(100, lambda: error, model)
    with pytest.raises(SegmentationError, match="not enough memory for a single slice"):
        model.predict(phantom())


def test_other_errors_of_the_network_are_not_runtime_errors() -> None:
    model = segmenter()
    failing(1, lambda: RuntimeError("something else"), model)
    with pytest.raises(SegmentationError, match="something else"):
        model.predict(phantom())


def test_too_small_a_gpu_moves_the_work_to_the_cpu() -> None:
    model = segmenter()
    model.device, model.device_note = torch.device("meta"), "a small GPU"
    assert model._smaller(1, [0]) == 1
    assert model.device == torch.device("cpu")
    assert "a small GPU was not enough" in model.device_note
    assert model.predict(phantom()).shape == (5, 40, 40)


@pytest.fixture
def full_gpu(monkeypatch: pytest.MonkeyPatch) -> Segmenter:
    """A model in bfloat16 on a device that other programs fill from now on."""
    model = Segmenter(small_network(), Description(name="m", network=SMALL), device="cpu", precision=torch.bfloat16)
    made_ready = model._made_ready

    def fail(precision: torch.dtype) -> Network:
        if model.device.type != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return made_ready(precision)

    monkeypatch.setattr(model, "_made_ready", fail)
    model.device, model.device_note = torch.device("meta"), "a full GPU"
    return model


def test_a_network_that_a_full_gpu_has_no_room_for_goes_to_the_cpu(full_gpu: Segmenter) -> None:
    full_gpu.use(small_network())
    assert full_gpu.device == torch.device("cpu")
    assert full_gpu.device_note.endswith("(moved here: the memory of a full GPU was not enough for the network)")
    assert full_gpu.predict(phantom()).shape == (5, 40, 40)


def test_so_does_one_in_float32_beside_that_in_bfloat16(full_gpu: Segmenter) -> None:
    network, _ = full_gpu._arithmetic(in_float32=True)
    assert network is full_gpu._arithmetic(in_float32=True)[0]
    assert full_gpu.device == torch.device("cpu")
    assert "was not enough for the network in float32" in full_gpu.device_note


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((3, 2, 16, 16), 7), "constant"),
        (np.full((3, 2, 16, 16), np.nan), "NaN"),
        (np.where(np.arange(3 * 2 * 256).reshape(3, 2, 16, 16) == 5, np.inf, 1.0), "infinite"),
        (np.arange(3).reshape(3, 1, 1, 1), "pixel"),
    ],
)
def test_unusable_volumes_are_refused(data: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter().predict(Volume(data=data, channel_names=("pre", "flair", "post"), source=Path("scan.tif")))


def test_wrong_numbers_of_channels_are_refused() -> None:
    data = np.random.default_rng(0).random((5, 2, 16, 16))
    with pytest.raises(InputError, match="5"):
        segmenter().predict(Volume(data=data, channel_names=("",) * 5))


def test_the_head_is_cut_out_with_a_margin() -> None:
    data = np.zeros((3, 4, 100, 120), np.uint8)
    data[:, :, 40:60, 50:80] = 100
    rows, columns = head_box(data, margin=16)
    assert (rows.start, rows.stop, columns.start, columns.stop) == (24, 76, 34, 96)
    assert head_box(data, margin=16, multiple=16) == (slice(16, 80), slice(32, 96))
    assert head_box(data, margin=16, multiple=64) == (slice(0, 100), slice(0, 120))


def test_fine_pixels_are_brought_to_the_working_size() -> None:
    fine = phantom(spacing=(3.0, 0.5, 0.5))
    assert (working_factor(fine, 1), working_factor(fine, 2)) == (0.5, 0.5)
    near = phantom(spacing=(3.0, 0.9, 1.2))
    assert (working_factor(near, 1), working_factor(near, 2)) == (1, 1)
    unknown = replace(phantom(), spacing_known=False)
    assert working_factor(unknown, 1) == 1
    large = Volume(data=np.zeros((1, 1, 512, 400)), channel_names=("",), spacing_known=False)
    assert working_factor(large, 1) == working_factor(large, 2) == 0.5
    assert segmenter().predict(fine).shape == fine.shape


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "cpu:1", "", None])
def test_unknown_devices(wanted: Any) -> None:
    with pytest.raises(InputError, match="unknown device"):
        choose_device(wanted)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(InputError, match="'cuda' is not available"):
        choose_device("cuda")
    assert "CPU" in choose_device("auto").note


def test_load_model_by_path_and_by_name(tmp_path: Path) -> None:
    assert load_model(save_small(tmp_path / "mine.safetensors"), device="cpu").description.name == "mine"
    assert load_model("default", device="cpu").description.channel_names == ("pre", "flair", "post")
    with pytest.raises(InputError, match="no model"):
        load_model("nope")


def test_a_flipped_prediction_does_not_know_left_from_right() -> None:
    network = small_network()
    model = Segmenter(network, Description(name="m", network=SMALL, flip=True), device="cpu")
    volume = phantom()
    mirrored = replace(volume, data=volume.data[..., ::-1])
    np.testing.assert_allclose(model.predict(mirrored), model.predict(volume)[..., ::-1], atol=1e-5)


def test_the_description_decides_on_the_largest_component_unless_told() -> None:
    probability = np.zeros((2, 8, 8), np.float32)
    probability[0, :3, :3] = probability[1, 6, 6] = 1
    described = Description(name="m", network=SMALL, largest_component=True)
    model = Segmenter(small_network(), described, device="cpu")
    assert model.mask(probability).sum() == 9
    assert model.mask(probability, largest_component=False).sum() == 10


def test_a_model_is_called_by_its_name_here(tmp_path: Path) -> None:
    path = save_small(tmp_path / "theirs.safetensors")
    Registry().import_file(path, name="mine")
    assert load_model("mine").description.name == "mine"
    assert load_model(path).description.name == "theirs"
