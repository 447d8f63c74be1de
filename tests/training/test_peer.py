import io
import json
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_unet_seg.engine.config import SEED_UNET
from napari_unet_seg.errors import InputError
from training.benchmarks import peer
from training.benchmarks.peer import Peer, keras_peer
from training.benchmarks.peers.keras_unet import Rounds
from training.benchmarks.trainings import phantom_slices

ECHO = """
import json, sys
config = json.loads(sys.argv[1])
for line in sys.stdin:
    print(json.dumps({"slices_per_second": config["times"] * json.loads(line)["seconds"]}), flush=True)
"""


def script(folder: Path, text: str) -> Path:
    path = folder / "peer.py"
    path.write_text(text)
    return path


def test_a_peer_answers_round_by_round_and_is_gone_at_the_end(tmp_path: Path) -> None:
    with Peer(Path(sys.executable), script(tmp_path, ECHO), {"times": 3}) as other:
        process = psutil.Process(other._process.pid)
        assert [other.rate(2), other.rate(0.5)] == [6, 1.5]
        assert process.is_running()
    assert not process.is_running()


def test_a_peer_that_ends_is_told_by_its_last_words(tmp_path: Path) -> None:
    broken = script(tmp_path, "raise ModuleNotFoundError('No module named tensorflow')")
    with Peer(Path(sys.executable), broken, {}) as other:
        for _ in range(2):
            with pytest.raises(InputError, match="its last words: ModuleNotFoundError: No module named tensorflow"):
                other.rate(1)


def test_an_answer_that_is_no_rate(tmp_path: Path) -> None:
    with (
        Peer(Path(sys.executable), script(tmp_path, "input(); print('[]', flush=True); input()"), {}) as other,
        pytest.raises(InputError, match=r"gave no rate; its last words: \[\]"),
    ):
        other.rate(1)


def test_a_peer_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "PATIENCE", 0.2)
    with Peer(Path(sys.executable), script(tmp_path, f"{ECHO}\nimport time; time.sleep(600)"), {"times": 1}) as other:
        assert other.rate(1) == 1
        process = psutil.Process(other._process.pid)
    assert not process.is_running()


def test_no_interpreter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="python: cannot be started"):
        Peer(tmp_path / "python", tmp_path / "peer.py", {})


def test_keras_is_given_the_slices_as_bytes_channels_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = """
import json, sys
import numpy as np
config = json.loads(sys.argv[1])
data = np.load(config["data"])
kept = {"images": data["images"].tolist(), "masks": data["masks"].tolist(), **config}
for line in sys.stdin:
    print(json.dumps({"slices_per_second": 1, **kept}), flush=True)
"""
    monkeypatch.setattr(peer, "KERAS_UNET", script(tmp_path, shapes))
    slices = phantom_slices(3, size=16)
    with ExitStack() as stack:
        other = keras_peer(
            Path(sys.executable),
            slices,
            task="train",
            network=SEED_UNET,
            batch=3,
            precision="float32",
            threads=1,
            stack=stack,
            learning_rate=0.5,
        )
        answer = other.ask(1)
        data = Path(answer["data"])
    assert not data.exists()
    np.testing.assert_array_equal(np.moveaxis(np.array(answer["images"]), -1, 0), slices.volume.data)
    np.testing.assert_array_equal(np.array(answer["masks"])[..., 0], slices.mask * 255)
    assert (answer["features"], answer["learning_rate"]) == (list(SEED_UNET.features), 0.5)


def test_rounds_in_the_other_process_are_of_whole_steps() -> None:
    answers = io.StringIO()
    rounds = Rounds(io.StringIO('{"seconds": 0}\n{"seconds": 1e9}\n'), answers, {"parameters": 7})
    assert rounds.wait()
    # The second request is waited for as soon as the first is answered, and goes on.
    assert rounds.count(8)
    answer = json.loads(answers.getvalue())
    assert answer["parameters"] == 7
    assert answer["slices_per_second"] > 0
    assert rounds.count(8)
    assert len(answers.getvalue().splitlines()) == 1


def test_rounds_end_with_the_input() -> None:
    rounds = Rounds(io.StringIO('{"seconds": 0}\n'), io.StringIO(), {})
    assert rounds.wait()
    assert not rounds.count(8)
