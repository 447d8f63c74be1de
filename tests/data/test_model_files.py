import hashlib
import json

import pytest

from napari_unet_seg.data.dataset import open_dataset
from napari_unet_seg.data.model_files import find_model, model_hash, shipped_models, user_models
from tests.data.corrected import CASE, flipped, kaggle, opened


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def mine():
    path = user_models() / "mine.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return path


def logged(root):
    lines = (root / ".unetseg" / "corrections.jsonl").read_text().splitlines()
    return [json.loads(line)["model_hash"] for line in lines]


def test_a_correction_is_logged_with_the_hash_of_its_model(tmp_path, mine):
    root = kaggle(tmp_path)
    dataset, mask = opened(root)
    file = tmp_path / "elsewhere.safetensors"
    file.write_bytes(b"others")
    default = sha256(shipped_models() / "default.safetensors")
    expected = []
    for z, (model, found) in enumerate({"default": default, "mine": sha256(mine), str(file): sha256(file)}.items()):
        done = dataset.save_correction(CASE, flipped(mask, z), slices=[z], model=model, annotator="me")
        assert done.model == model
        assert done.model_hash == found
        expected.append(found)
    assert logged(root) == expected
    assert [line.model_hash for line in open_dataset(root).corrections(CASE)] == expected


def test_who_knows_the_hash_better_says_it(tmp_path):
    dataset, mask = opened(kaggle(tmp_path))
    done = dataset.save_correction(CASE, flipped(mask, 0), slices=[0], model="default", model_hash="abc")
    assert done.model_hash == "abc"


@pytest.mark.parametrize("name", ["", "unheard of", "../models/mine", "a/b", "."])
def test_what_is_no_model_has_no_hash(tmp_path, mine, name):
    dataset, mask = opened(kaggle(tmp_path))
    assert dataset.save_correction(CASE, flipped(mask, 0), slices=[0], model=name).model_hash == ""


def test_the_hash_is_that_of_the_file_as_it_is_now(mine):
    before = model_hash("mine")
    mine.write_bytes(b"retrained")
    assert model_hash("mine") == sha256(mine) != before


def test_a_model_s_name_wins_over_a_file_s(tmp_path, mine, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_bytes(b"something else")
    assert model_hash("mine") == sha256(mine)


def test_a_name_too_long_for_the_system_is_that_of_no_model():
    assert find_model("x" * 5000, folders=[]) is None
