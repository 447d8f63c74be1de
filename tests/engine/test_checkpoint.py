import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, read_description, save_checkpoint
from napari_unet_seg.engine.registry import Registry
from napari_unet_seg.engine.unet import to_channels_last
from napari_unet_seg.errors import InputError
from tests.engine.models import SMALL, save_small, small_network


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    network = small_network()
    description = Description(name="mine", network=SMALL, threshold=0.4, training={"cases": ["a", "b"]}, licence="free")
    save_checkpoint(tmp_path / "mine.safetensors", network, description)
    again, read = load_checkpoint(tmp_path / "mine.safetensors")
    assert read == description
    assert not again.training
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_the_random_numbers_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    path = save_small(tmp_path / "small.safetensors")
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_patients_that_the_start_had_learned_from_count_as_learned_from() -> None:
    training = {"cases": ["TCGA_CS_4941_19960909"], "cases_before": ["TCGA_CS_4942_19970222", "own"]}
    described = Description(name="m", network=SMALL, training=training)
    assert described.trained_patients == {"TCGA_CS_4941", "TCGA_CS_4942", "own"}
    assert Description(name="m", network=SMALL).trained_patients == set()


def test_channels_last_weights_are_saved(tmp_path: Path) -> None:
    network = to_channels_last(small_network())
    save_checkpoint(tmp_path / "m.safetensors", network, Description(name="m", network=SMALL))
    again, _ = load_checkpoint(tmp_path / "m.safetensors")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0)


def test_the_header_reads_without_torch(tmp_path: Path) -> None:
    path = save_small(tmp_path / "m.safetensors")
    code = (
        "import sys; from pathlib import Path\n"
        "from napari_unet_seg.engine.checkpoint import read_description\n"
        f"print(read_description(Path({str(path)!r})).name, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["m", "False"]


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model", pickle.dumps({"a": 1}), b"\xff" * 64, (8).to_bytes(8, "little") + b"{}      "],
    ids=["empty", "text", "pickle", "noise", "no header"],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.safetensors: this is not a model") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = save_small(tmp_path / "m.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a model"):
        load_checkpoint(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    header = Description(name="m", network=SMALL).to_json()
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"napari_unet_seg": header})
    registry = Registry(tmp_path / "models")
    for use in (load_checkpoint, registry.import_file):
        with pytest.raises(InputError, match="do not fit"):
            use(tmp_path / "m.safetensors")
    assert not registry.owns("m")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model file"):
        read_description(tmp_path / "none.safetensors")


def test_a_later_format_with_more_keys_still_reads() -> None:
    values = json.loads(Description(name="m", network=SMALL).to_json())
    values["something_new"] = 1
    assert Description.from_json(json.dumps(values)).name == "m"


WRONG_TYPES = [
    ("name", 3),
    ("channel_names", "abc"),
    ("channel_names", [1, 2, 3]),
    ("class_names", "t"),
    ("threshold", True),
    ("threshold", "0.5"),
    ("min_fraction", "x"),
    ("flip", "no"),
    ("largest_component", 1),
    ("normalisation", ["unit"]),
    ("resize", [64, 64.5]),
    ("resize", [64]),
    ("input_size", None),
    ("training", []),
    ("metrics", 3),
    ("parent", 7),
    ("network", []),
    ("network", None),
    ("network", {"features": ["a", "b"]}),
    ("network", {"features": [4, 8.5], "convolutions": [1, 1]}),
    ("network", {"dropout": "x"}),
    ("network", {"context": True}),
    ("network", {"depth": 3}),
]


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES)
def test_headers_with_values_of_other_types_are_refused_in_one_line(tmp_path: Path, key: str, value: object) -> None:
    from safetensors.torch import save_file

    header = json.loads(Description(name="m", network=SMALL).to_json()) | {key: value}
    path = tmp_path / "m.safetensors"
    save_file(small_network().state_dict(), path, metadata={"napari_unet_seg": json.dumps(header)})
    with pytest.raises(InputError, match=r"m\.safetensors: this is not a model"):
        load_checkpoint(path)


def test_a_header_of_sizes_that_make_no_sense_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    config = replace(SMALL, features=(10**12, 10**13))
    header = Description(name="m", network=config).to_json()
    save_file({"a": torch.zeros(1)}, tmp_path / "m.safetensors", metadata={"napari_unet_seg": header})
    with pytest.raises(InputError, match="do not fit"):
        load_checkpoint(tmp_path / "m.safetensors")


def test_headers_from_before_networks_and_sizes_could_be_chosen_still_read() -> None:
    values = json.loads(Description(name="m", network=SMALL).to_json())
    del values["network"]["architecture"], values["resize"]
    read = Description.from_json(json.dumps(values))
    assert read == Description(name="m", network=SMALL)
    assert read.network.architecture == "unet"
    assert read.resize is None


def test_size_and_normalisation_come_back(tmp_path: Path) -> None:
    description = Description(name="m", network=SMALL, normalisation="unit", resize=(128, 96))
    save_checkpoint(tmp_path / "m.safetensors", small_network(), description)
    assert read_description(tmp_path / "m.safetensors") == description


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": ("flair",)}, "1 channel names for 3"),
        ({"class_names": ("a", "b")}, "2 class names for 1"),
        ({"threshold": 1.5}, "threshold must lie"),
        ({"normalisation": "none"}, "unknown normalisation"),
    ],
)
def test_descriptions_that_contradict_themselves(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Description(name="m", network=SMALL, **changes)  # type: ignore[arg-type]
