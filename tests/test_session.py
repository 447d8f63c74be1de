import hashlib
from pathlib import Path

import numpy as np
import pytest

from napari_unet_seg.case_state import Prediction, Stored
from napari_unet_seg.engine.image_hash import image_hash
from napari_unet_seg.errors import InputError
from napari_unet_seg.loading import OwnModel
from napari_unet_seg.probability_map import MaskRule, ProbabilityMap
from napari_unet_seg.session import Session
from tests.fakes import FakeSegmenter, fake_dataset


@pytest.fixture
def session() -> Session:
    dataset = fake_dataset()
    session = Session(open_dataset=lambda path: dataset, load_model=lambda name: FakeSegmenter())
    session.take_dataset(session.reader.read_dataset(Path("scans")))
    session.take_case(dataset["one"])
    return session


def predict(session: Session, **kwargs: int) -> Prediction:
    return session.models.predict(
        session.reader.read_case(session.case, dataset=session.dataset).volume, model="fake", **kwargs
    )


def flair(session: Session) -> np.ndarray:
    return (session.case.read_image().data[1].astype(np.float32) / 128).clip(0, 1)


def test_a_prediction_becomes_the_mask(session: Session) -> None:
    told = []
    session.mask_written.connect(told.append)
    written = session.take_prediction(predict(session), shape=(6, 32, 32))
    np.testing.assert_array_equal(session.work.mask.data, flair(session) >= 0.5)
    assert written.slices == np.flatnonzero((flair(session) >= 0.5).any(axis=(1, 2))).tolist()
    assert told == [written]


def test_a_model_is_loaded_once() -> None:
    loaded = []
    session = Session(load_model=lambda name: loaded.append(name) or FakeSegmenter())
    assert session.models.get("a") is session.models.get("a")
    session.models.get("b")
    assert loaded == ["a", "b"]


def test_a_correction_names_the_very_model_whose_mask_it_is_of(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_UNET_SEG_HOME", str(tmp_path))
    model = tmp_path / "models" / "mine.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"before the round")
    scan = session.reader.read_case(session.case, dataset=session.dataset).volume
    session.take_prediction(session.models.predict(scan, model="mine"), shape=(6, 32, 32))
    model.write_bytes(b"what the round has learned")
    session.work.mask.data[3] = 0
    session.save_job(annotator="me", seconds=1.0).save()
    told = session.dataset.saves[-1]
    assert (told["model"], told["model_hash"]) == ("mine", hashlib.sha256(b"before the round").hexdigest())
    session.take_prediction(session.models.predict(scan, model="mine"), shape=(6, 32, 32))
    assert session.work.model_hash == hashlib.sha256(b"what the round has learned").hexdigest()


def test_another_rule_uses_the_kept_probabilities(session: Session) -> None:
    session.take_prediction(predict(session), shape=(6, 32, 32))
    session.set_rule(MaskRule(threshold=0.3))
    np.testing.assert_array_equal(session.work.mask.data, flair(session) >= np.float32(0.3))


def test_a_rule_set_before_the_prediction_holds_for_it(session: Session) -> None:
    session.set_rule(MaskRule(threshold=0.3))
    session.take_prediction(predict(session), shape=(6, 32, 32))
    np.testing.assert_array_equal(session.work.mask.data, flair(session) >= np.float32(0.3))


def test_which_pieces_are_left_out_is_the_model_s_own(session: Session) -> None:
    probability = np.zeros((6, 32, 32), np.float32)
    probability[2, 4:14, 4:14] = probability[4, 20:24, 20:30] = 0.9
    own = {0.25: [2, 4], 0.5: [2]}
    for min_fraction, slices in own.items():
        said = Prediction(
            probability=ProbabilityMap.of(probability), model="fake", min_fraction=min_fraction, seconds=0
        )
        session.take_prediction(said, shape=(6, 32, 32))
        assert np.flatnonzero(session.work.mask.data.any(axis=(1, 2))).tolist() == slices
        # The rule in use is that of the model for all scans, whatever threshold the user sets.
        session.set_rule(MaskRule(threshold=min_fraction, min_fraction=0.1))
        assert np.flatnonzero(session.work.mask.data.any(axis=(1, 2))).tolist() == slices


def test_an_edit_outlives_rule_and_prediction(session: Session) -> None:
    session.take_prediction(predict(session), shape=(6, 32, 32))
    session.work.mask.data[3] = 0
    session.work.mask.data[3, 5, 5] = 1
    assert session.set_rule(MaskRule(threshold=0.3)).kept == [3]
    assert session.take_prediction(predict(session), shape=(6, 32, 32)).kept == [3]
    assert session.work.mask.data[3].sum() == 1
    assert session.work.mask.edited() == [3]


def test_one_slice_is_predicted_alone(session: Session) -> None:
    prediction = predict(session, z=3)
    assert session.take_prediction(prediction, shape=(6, 32, 32)).slices == [3]
    assert np.flatnonzero(session.work.mask.data.any(axis=(1, 2))).tolist() == [3]
    assert session.work.probability.known.tolist() == [z == 3 for z in range(6)]


def test_a_slice_by_a_model_of_several_classes_leaves_the_others_as_they_are(session: Session) -> None:
    session.set_rule(MaskRule(min_fraction=0.25))
    session.take_prediction(predict(session), shape=(6, 32, 32))
    before = session.work.mask.data.copy()
    assert before[2].any()
    plane = np.zeros((2, 32, 32), np.float32)
    plane[1, :4, :4] = 0.9
    live = Prediction(probability=plane, z=3, model="two classes", seconds=0)
    assert session.take_prediction(live, shape=(6, 32, 32)).slices == [3]
    before[3] = 0
    before[3, :4, :4] = 2
    np.testing.assert_array_equal(session.work.mask.data, before)
    # Nor does the threshold, which has nothing to work on there.
    session.set_rule(MaskRule(threshold=0.3))
    np.testing.assert_array_equal(session.work.mask.data, before)


def test_a_preview_shows_one_slice(session: Session) -> None:
    session.take_prediction(predict(session), shape=(6, 32, 32))
    session.preview_rule(MaskRule(threshold=0.3), 3)
    shown = session.work.mask.data
    np.testing.assert_array_equal(shown[3], flair(session)[3] >= np.float32(0.3))
    np.testing.assert_array_equal(shown[2], flair(session)[2] >= 0.5)
    session.set_rule(MaskRule(threshold=0.3))
    np.testing.assert_array_equal(shown, flair(session) >= np.float32(0.3))


def test_work_is_put_aside_with_its_case_and_comes_back(session: Session) -> None:
    dataset = session.dataset
    session.take_prediction(predict(session), shape=(6, 32, 32))
    session.work.mask.data[0, 0, 0] = 1
    kept = session.work
    session.take_case(dataset["two"])
    assert session.work is None
    assert session.state_of(dataset["one"]) == ("ground truth", "1 unsaved")
    assert session.state_of(dataset["two"]) == ("ground truth",)
    assert session.state_of(dataset["three"]) == ("no mask",)
    session.take_case(dataset["one"])
    assert session.work is kept


def test_what_was_just_read_of_a_case_is_not_asked_for_again(session: Session) -> None:
    dataset = session.dataset
    assert dataset is not None
    assert session.reader.read_stored(dataset)["one"] == Stored(truth=True, corrected=0)
    assert session.state_of(dataset["one"], stored=Stored(truth=False, corrected=3)) == ("3 corrected",)


def test_nothing_is_said_of_cases_whose_corrections_cannot_be_read(session: Session) -> None:
    dataset = fake_dataset()
    dataset.log_error = InputError("corrections.jsonl: line 3 cannot be read")
    assert session.reader.read_stored(dataset) == {}


def test_work_of_another_shape_is_replaced(session: Session) -> None:
    session.take_prediction(predict(session), shape=(6, 32, 32))
    former = session.work
    prediction = Prediction(probability=np.ones((8, 8), np.float32), z=1, model="fake", seconds=0)
    session.take_prediction(prediction, shape=(2, 8, 8))
    assert session.work is not former
    assert session.work.mask.data.sum(axis=(1, 2)).tolist() == [0, 64]


def test_a_model_whose_file_has_changed_is_loaded_again(own_registry: Path) -> None:
    loaded = []
    session = Session(load_model=lambda name: loaded.append(name) or FakeSegmenter())
    file = own_registry / "models" / "mine.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"one")
    first = session.models.get("mine")
    assert session.models.get("mine") is first
    other = file.with_name("new")
    other.write_bytes(b"two")
    other.replace(file)
    assert session.models.get("mine") is not first
    assert loaded == ["mine", "mine"]


def test_models_used_long_ago_are_let_go() -> None:
    loaded = []
    session = Session(load_model=lambda name: loaded.append(name) or FakeSegmenter())
    for name in ("default", "a", "default", "b", "c", "default"):
        session.models.get(name)
    assert loaded == ["default", "a", "b", "c"]
    session.models.get("a")
    assert loaded[-1] == "a"


def test_a_scan_is_opened_with_its_adaptation(session: Session) -> None:
    volume = session.case.read_image()
    session.reader._find_own_model = {image_hash(volume): OwnModel("one-adapted")}.get
    loaded = session.reader.read_case(session.case, dataset=session.dataset)
    assert (loaded.image_hash, loaded.adaptation) == (image_hash(volume), "one-adapted")
    assert session.reader.read_case(session.dataset["two"], dataset=session.dataset).adaptation == ""


RULES = [MaskRule(threshold=0.3), MaskRule(largest_component=True), MaskRule(min_fraction=0.25)]


@pytest.mark.parametrize("rule", RULES, ids=["threshold", "largest", "fraction"])
def test_a_rule_leaves_the_mask_that_work_began_with(session: Session, rule: MaskRule) -> None:
    truth = session.case.read_mask()
    session.start_work((6, 32, 32), mask=truth)
    session.set_rule(rule)
    np.testing.assert_array_equal(session.work.mask.data, truth)
    session.preview_rule(rule, 2)
    np.testing.assert_array_equal(session.work.mask.data, truth)


@pytest.mark.parametrize("rule", RULES, ids=["threshold", "largest", "fraction"])
def test_a_slice_segmented_alone_leaves_the_others_as_they_began(session: Session, rule: MaskRule) -> None:
    truth = session.case.read_mask()
    session.start_work((6, 32, 32), mask=truth)
    session.set_rule(rule)
    session.take_prediction(predict(session, z=0), shape=(6, 32, 32))
    assert session.work.mask.data[0].any()
    np.testing.assert_array_equal(session.work.mask.data[1:], truth[1:])
    session.set_rule(MaskRule(threshold=0.6))
    np.testing.assert_array_equal(session.work.mask.data[0], flair(session)[0] >= np.float32(0.6))
    np.testing.assert_array_equal(session.work.mask.data[1:], truth[1:])


def test_a_segmented_volume_replaces_the_mask_that_work_began_with(session: Session) -> None:
    session.start_work((6, 32, 32), mask=session.case.read_mask())
    session.take_prediction(predict(session), shape=(6, 32, 32))
    np.testing.assert_array_equal(session.work.mask.data, flair(session) >= 0.5)
