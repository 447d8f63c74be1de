import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_unet_seg.data.phantom import make_phantom, write_kaggle
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.engine.segmenter import Segmenter
from tests.engine.models import SMALL, save_small, small_network
from training import agreement
from training.agreement import Agreement, plain_probability

NETWORKS = [
    SMALL,
    UNetConfig(features=(4, 8, 8), convolutions=(2, 2, 2), order="conv-act-norm"),
    UNetConfig(classes=3, features=(4, 8), convolutions=(1, 1)),
]


@pytest.mark.parametrize("config", NETWORKS)
@pytest.mark.parametrize("change", [{}, {"resize": (24, 16)}, {"normalisation": "unit"}])
def test_the_fast_way_is_the_plain_one_where_nothing_is_cut_off(config: UNetConfig, change: dict) -> None:
    classes = tuple(f"class {k}" for k in range(config.classes))
    described = replace(Description(name="m", network=config, class_names=classes), **change)
    network, volume = small_network(config), make_phantom(slices=5, size=40)[0]
    fast = Segmenter(network, described, device="cpu", precision=torch.float32).predict(volume)
    plain = plain_probability(network, described, volume)
    assert plain.shape == fast.shape
    np.testing.assert_allclose(fast, plain, atol=1e-5)


def test_pixels_of_another_size() -> None:
    volume = make_phantom(slices=3, size=48, spacing=(3.0, 0.5, 0.5))[0]
    network, described = small_network(), Description(name="m", network=SMALL)
    fast = Segmenter(network, described, device="cpu", precision=torch.float32).predict(volume)
    np.testing.assert_allclose(fast, plain_probability(network, described, volume), atol=1e-5)


def test_inside_the_head_the_cut_out_changes_nothing() -> None:
    data = np.zeros((3, 3, 160, 160), np.uint8)
    data[:, :, 70:110, 60:100] = make_phantom(slices=3, size=40)[0].data
    volume = replace(make_phantom(slices=3, size=40)[0], data=data)
    # It sees nothing from further away than the margin.
    network, described = small_network(), Description(name="m", network=SMALL)
    fast = Segmenter(network, described, device="cpu", precision=torch.float32).predict(volume)
    assert not fast[:, :36].any()
    plain = plain_probability(network, described, volume)
    np.testing.assert_allclose(fast[:, 70:110, 60:100], plain[:, 70:110, 60:100], atol=1e-5)


@pytest.mark.parametrize(
    ("equal", "change", "holds"), [(1, None, True), (0.9991, 0.002, True), (0.9989, 0, False), (1, -0.0021, False)]
)
def test_what_counts_as_one(equal: float, change: float | None, holds: bool) -> None:
    assert Agreement(case="c", equal=equal, dice=1, change=change).holds == holds


def test_masks_are_compared_with_one_another_and_with_the_truth() -> None:
    truth, expected, mask = (np.zeros((1, 2, 5), np.uint8) for _ in range(3))
    truth[0, 0, :4] = expected[0, 0, :4] = mask[0, 0, :2] = 1
    found = agreement.agreement("c", mask, expected, truth)
    assert (found.equal, found.dice, found.change) == (0.8, pytest.approx(2 / 3), pytest.approx(-1 / 3))
    assert agreement.agreement("c", mask, expected).change is None


def test_a_dataset_is_compared_case_by_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_kaggle(tmp_path, patients=3, slices=3, size=32)
    options = [str(data), "--model", str(save_small(tmp_path / "m.safetensors")), "--device", "cpu"]
    target = tmp_path / "a.json"
    assert agreement.main([*options, "--every", "2", "--json", str(target)]) == 0
    assert [each["equal"] for each in json.loads(target.read_text())] == [1, 1]
    assert "2 cases, CPU" in capsys.readouterr().out
    assert agreement.main([*options, "--precision", "bfloat16"]) in (0, 1)
    monkeypatch.setattr(agreement, "EQUAL", 1.1)
    assert agreement.main(options) == 1


def test_a_scan_that_cannot_be_read_leaves_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, target = write_kaggle(tmp_path / "data", patients=3, slices=3, size=32), tmp_path / "a.json"
    broken = sorted(folder for folder in data.iterdir() if folder.is_dir())[1]
    (broken / f"{broken.name}_1.tif").write_bytes(b"no picture")
    options = [str(data), "--model", str(save_small(tmp_path / "m.safetensors")), "--device", "cpu"]
    assert agreement.main([*options, "--json", str(target)]) == 2
    told = capsys.readouterr()
    assert broken.name in told.err
    assert told.err.count("\n") == 1
    assert "2 cases, CPU" in told.out
    assert [each["equal"] for each in json.loads(target.read_text())] == [1, 1]


def test_no_such_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agreement.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.realdata
def test_the_shipped_model_gives_the_plain_masks_on_real_patients(lgg: Path, tmp_path: Path) -> None:
    # The last one has the smallest head of these, and a small tumour: a cut-out off the pooling's grid cost 0.0035.
    for case in ("TCGA_DU_8167_19970402", "TCGA_HT_8107_19980708"):
        scans = tmp_path / case
        scans.mkdir()
        for name in (f"{case}.tif", f"{case}_mask.tif"):
            (scans / name).symlink_to(lgg / name)
        assert agreement.main([str(scans), "--device", "cpu"]) == 0


@pytest.mark.parametrize("config", NETWORKS)
def test_bfloat16_is_near(config: UNetConfig) -> None:
    classes = tuple(f"class {k}" for k in range(config.classes))
    described = Description(name="m", network=config, class_names=classes)
    network, volume = small_network(config), make_phantom(slices=2)[0]
    fast = Segmenter(network, described, device="cpu", precision=torch.bfloat16).predict(volume)
    np.testing.assert_allclose(fast, plain_probability(network, described, volume), atol=0.05)
