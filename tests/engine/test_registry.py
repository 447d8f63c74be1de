import json
import os
import pickle
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_unet_seg.engine.checkpoint import load_checkpoint, read_description, save_checkpoint
from napari_unet_seg.engine.config import DEFAULT_UNET, SEED_UNET
from napari_unet_seg.engine.registry import RegisteredModel, Registry
from napari_unet_seg.engine.segmenter import load_model
from napari_unet_seg.engine.unet import UNet
from napari_unet_seg.engine.versions import VersionLine
from napari_unet_seg.errors import InputError
from tests.engine.models import save_small


def test_import_list_export_remove(tmp_path: Path) -> None:
    registry = Registry()
    registry.import_file(save_small(tmp_path / "mine.safetensors"))
    assert [(model.name, model.problem) for model in registry.list() if not model.shipped] == [("mine", "")]
    exported = registry.export("mine", tmp_path / "copy.safetensors")
    assert exported.read_bytes() == registry.path("mine").read_bytes()
    registry.remove("mine")
    assert not [model for model in registry.list() if not model.shipped]


def test_the_shipped_model_is_there_and_stays() -> None:
    registry = Registry()
    assert "default" in [model.name for model in registry.list() if model.shipped and not model.problem]
    assert registry.path("default").stat().st_size < 10e6
    with pytest.raises(InputError, match="comes with the package"):
        registry.remove("default")


def test_names_are_not_taken_twice_nor_paths(tmp_path: Path) -> None:
    registry = Registry()
    file = save_small(tmp_path / "mine.safetensors")
    registry.import_file(file)
    with pytest.raises(InputError, match="already"):
        registry.import_file(file)
    with pytest.raises(InputError, match="comes with the package"):
        registry.import_file(file, name="default")
    for name in ("../mine", "", "a/b", ".hidden"):
        with pytest.raises(InputError, match=r"cannot be a model's name|mine"):
            registry.import_file(file, name=name)


def test_what_the_user_owns(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    registry.import_file(save_small(tmp_path / "mine.safetensors"))
    assert [name for name in ("mine", "default", "other", "../models/mine", "") if registry.owns(name)] == ["mine"]


def close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the system refuse to enter a folder, as it does to everybody but its administrator."""
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.is_relative_to(folder):
            raise PermissionError(13, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    return folder


def test_a_folder_that_may_not_be_entered_is_told_of_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(close(tmp_path / "closed", monkeypatch) / "models")
    assert [model.name for model in registry.list()] == ["default"]
    assert not registry.owns("mine")
    # Later Pythons take such a file for one that is not there.
    for use in (registry.path, registry.remove, lambda name: registry.import_file(tmp_path / "no.pt", name=name)):
        with pytest.raises(InputError, match=r"cannot be opened|there is no"):
            use("mine")


def test_nothing_comes_from_or_goes_to_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, closed = Registry(tmp_path / "models"), close(tmp_path / "closed", monkeypatch)
    with pytest.raises(InputError, match=r"cannot be opened|there is no"):
        registry.import_file(closed / "a.pt")
    with pytest.raises(InputError, match=r"cannot be opened|ends in"):
        registry.export("default", closed / "a.pt")


def test_an_export_overwrites_nothing(tmp_path: Path) -> None:
    taken = tmp_path / "taken.safetensors"
    taken.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        Registry().export("default", taken)
    assert taken.read_text() == "precious"


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"no model or model file 'nope'; the models here are: .*default"):
        Registry().path("nope")


def test_plain_weights_of_a_known_network_are_converted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(UNet(SEED_UNET).state_dict(), tmp_path / "seed.pt")
    Registry().import_file(tmp_path / "seed.pt")
    assert load_model("seed", device="cpu").description.network == SEED_UNET


class Runs:
    """Pickled, it would run code when it is loaded."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path(self.marker),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Runs(str(tmp_path / "ran"))}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match="refused"):
        Registry().import_file(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_of_a_bare_pickle_torch_says_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"weights": [1.5]}))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(InputError, match="refused"):
            Registry().import_file(tmp_path / "evil.pt")
    assert heard == []


def test_weights_of_an_unknown_network_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="fit none of the networks"):
        Registry().import_file(tmp_path / "other.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(InputError, match="fit none of the networks"):
        Registry().import_file(tmp_path / "list.pt")


NO_WEIGHTS = {
    "a list": [1, 2],
    "numbered": {0: torch.zeros(2)},
    "numbers": {"a": 1},
    "nothing": {},
    "a list of weights": {"state_dict": [1]},
    "numbered weights": {"state_dict": {1: 2}},
    "a tensor": torch.zeros(3),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_what_holds_no_weights_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    torch.save(NO_WEIGHTS[kind], tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"other\.pt: refused: its weights fit none of the networks"):
        Registry().import_file(tmp_path / "other.pt")


@pytest.mark.parametrize("error", [IndexError, AssertionError, TypeError, AttributeError, OverflowError, MemoryError])
def test_however_a_damaged_file_fails_it_is_named(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object, **options: object) -> object:
        raise error("opcode")

    (tmp_path / "damaged.pt").write_bytes(b"weights")
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(InputError, match=r"damaged\.pt: refused: it is damaged"):
        Registry().import_file(tmp_path / "damaged.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    weights = UNet(DEFAULT_UNET).state_dict()
    weights["head.bias"][0] = value
    torch.save(weights, tmp_path / "failed.pt")
    with pytest.raises(InputError, match=r"failed\.pt: refused: it holds weights that are NaN or infinite"):
        Registry().import_file(tmp_path / "failed.pt")
    path = save_small(tmp_path / "failed.safetensors")
    network, description = load_checkpoint(path)
    network.state_dict()["head.bias"][0] = value
    save_checkpoint(path, network, description)
    for use in (Registry().import_file, load_model):
        with pytest.raises(InputError, match=r"failed\.safetensors: refused: it holds weights that are NaN"):
            use(path)
    assert not [model for model in Registry().list() if not model.shipped]


@pytest.mark.parametrize("change", [{"training": []}, {"training": "x"}, {"network": []}, {"network": None}])
def test_one_damaged_header_does_not_hide_the_other_models(tmp_path: Path, change: dict[str, object]) -> None:
    registry = Registry()
    registry.import_file(save_small(tmp_path / "good.safetensors"))
    weights = load_file(tmp_path / "good.safetensors")
    header = json.loads(read_description(tmp_path / "good.safetensors").to_json()) | change
    save_file(weights, registry.folder / "bad.safetensors", metadata={"napari_unet_seg": json.dumps(header)})
    problems = {model.name: model.problem for model in registry.list() if not model.shipped}
    assert problems["good"] == ""
    assert "not a model" in problems["bad"]
    with pytest.raises(InputError, match=r"bad\.safetensors: this is not a model"):
        load_model("bad", device="cpu")


def test_a_damaged_model_is_listed_with_its_problem(tmp_path: Path) -> None:
    registry = Registry()
    registry.folder.mkdir(parents=True)
    (registry.folder / "broken.safetensors").write_text("no")
    (broken,) = [model for model in registry.list() if model.name == "broken"]
    assert "not a model" in broken.problem


def adapted(registry: Registry, name: str, *, image_hash: str, age: float = 0) -> Path:
    path = save_small(registry.folder / f"{name}.safetensors")
    network, description = load_checkpoint(path)
    training = {"scope": "scan", "image_hash": image_hash, "case": "P1"}
    save_checkpoint(path, network, replace(description, training=training))
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))
    return path


def adaptation(registry: Registry, image_hash: str) -> RegisteredModel | None:
    """The model that is adapted to a scan now."""
    model = registry.model_of_scan(image_hash)
    return model if model is not None and model.scope == "scan" else None


def test_a_scan_finds_the_model_adapted_to_it(tmp_path: Path) -> None:
    registry = Registry()
    assert adaptation(registry, "a") is None
    registry.import_file(save_small(tmp_path / "plain.safetensors"))
    adapted(registry, "old", image_hash="a", age=100)
    adapted(registry, "other", image_hash="b")
    (registry.folder / "broken.safetensors").write_text("no")
    found = adaptation(registry, "a")
    assert found is not None
    assert (found.name, found.scope, found.case) == ("old", "scan", "P1")
    adapted(registry, "new", image_hash="a")
    assert adaptation(registry, "a").name == "new"
    assert adaptation(registry, "c") is None
    assert adaptation(registry, "") is None
    scopes = {model.name: (model.scope, model.case) for model in registry.list() if not model.shipped}
    assert scopes["plain"] == scopes["broken"] == ("model", "")
    assert scopes["other"] == ("scan", "P1")


def test_going_back_to_the_start_ends_an_adaptation(tmp_path: Path) -> None:
    registry = Registry()
    line = VersionLine("mine", registry=registry)
    line.begin(save_small(tmp_path / "parent.safetensors"))
    network, description = load_checkpoint(line.path)
    line.add(network, replace(description, training={"scope": "scan", "image_hash": "a"}), promoted=True)
    assert adaptation(registry, "a").name == "mine"
    line.restore(0)
    assert adaptation(registry, "a") is None
    line.restore(1)
    assert adaptation(registry, "a").name == "mine"


def line_of_scan(registry: Registry, name: str, parent: Path, *, image_hash: str, promoted: bool = True) -> VersionLine:
    """A model as it is after one round for a scan."""
    line = VersionLine(name, registry=registry)
    line.begin(parent)
    network, description = load_checkpoint(parent)
    training = {"scope": "scan", "image_hash": image_hash, "round": {"promoted": promoted}}
    line.add(network, replace(description, name=name, training=training), promoted=promoted)
    return line


def test_a_scan_keeps_the_model_its_rounds_went_to(tmp_path: Path) -> None:
    registry = Registry()
    parent = save_small(tmp_path / "parent.safetensors")
    assert registry.model_of_scan("a") is None
    line = line_of_scan(registry, "mine", parent, image_hash="a")
    VersionLine("plain", registry=registry).begin(parent)
    line.restore(0)
    assert registry.model_of_scan("a").name == "mine"
    assert registry.model_of_scan("b") is None
    assert registry.model_of_scan("") is None
    assert [registry.holds_rounds_for_a_scan(name) for name in ("mine", "plain", "none")] == [True, False, False]
    # A file put in place by hand is no round of the model's.
    shutil.copy(line.versions()[1].path, registry.folder / "plain.safetensors")
    VersionLine("plain", registry=registry).restore(0)
    assert not registry.holds_rounds_for_a_scan("plain")


def test_going_back_ends_the_adaptation_also_beside_an_older_one(tmp_path: Path) -> None:
    registry = Registry()
    parent = save_small(tmp_path / "parent.safetensors")
    adapted(registry, "old", image_hash="a", age=100)
    line = line_of_scan(registry, "mine", parent, image_hash="a")
    line.restore(0)
    assert (adaptation(registry, "a"), registry.model_of_scan("a").name) == (None, "mine")
    # What was only tried takes the place of nothing.
    line_of_scan(registry, "tried", parent, image_hash="a", promoted=False)
    assert registry.model_of_scan("a").name == "mine"


def test_a_model_that_cannot_be_removed_keeps_its_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry()
    line = VersionLine("mine", registry=registry)
    line.begin(save_small(tmp_path / "parent.safetensors"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for call in ("unlink", "rename"):
        with monkeypatch.context() as broken:
            broken.setattr(Path, call, refuse)
            with pytest.raises(InputError, match="cannot be removed"):
                registry.remove("mine")
        assert [version.number for version in line.versions() if version.current] == [0]
    assert load_model("mine", device="cpu").description.name == "mine"
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", refuse)
        with pytest.raises(InputError, match=r"mine.versions.*is removed, but not all .*; delete this folder"):
            registry.remove("mine")
    with pytest.raises(InputError, match="no model 'mine' of yours"):
        registry.remove("mine")


def test_versions_without_a_model_can_be_removed(tmp_path: Path) -> None:
    line = VersionLine("mine", registry=Registry())
    line.begin(save_small(tmp_path / "parent.safetensors"))
    line.path.unlink()
    Registry().remove("mine")
    assert not line.folder.exists()
