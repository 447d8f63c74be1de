"""Kill a process that saves corrections, again and again: ``python -m training.benchmarks.kill [--kills 300]``.

A child saves and reverts corrections in a loop, telling what it is about to do and, when the call has returned, that
it is done. It is killed (SIGKILL) at a random moment. Then every mask file has to be entirely what it was before or
after the call that was cut short, read by nibabel and tifffile; every call that returned has to be in the log and in
the files; and opening the dataset has to leave log and files in agreement, with nothing lying about.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_unet_seg.data.correction_log import Correction
from napari_unet_seg.data.dataset import Dataset, open_dataset
from napari_unet_seg.data.file_state import sha256_of
from training.command_line import command_parser, positive_int

SLICES, SIZE = 5, 24
LONGEST = 0.25
"""Seconds until the kill; a call takes some hundredths of one."""

State = dict[int, int]
"""Slice to number of the save that it shows; 0 for the original."""


@dataclass
class Expected:
    """What the calls that were told of add up to, worked out without the code under test."""

    saves: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    reverted: set[int] = field(default_factory=set)
    ids: dict[int, str] = field(default_factory=dict)
    """Id of every save."""

    lines: set[str] = field(default_factory=set)
    """Ids of all lines of the log, reverting ones among them."""

    def state(self) -> State:
        """What every slice shows."""
        state = dict.fromkeys(range(SLICES), 0)
        for number, slices in self.saves:
            if number not in self.reverted:
                state |= dict.fromkeys(slices, number)
        return state

    def after(self, call: dict[str, Any]) -> Expected:
        """The same with one more call."""
        if call["reverts"]:
            return replace(self, reverted=self.reverted | {call["reverts"]})
        return replace(self, saves=[*self.saves, (call["number"], tuple(call["slices"]))])

    def logged(self, line_id: str, number: int) -> None:
        """Note the line of the last call; its number is 0 where it reverted something."""
        self.lines.add(line_id)
        if number:
            self.ids[number] = line_id


@dataclass
class Outcome:
    """What was seen of one kill."""

    returned: int
    """Calls that returned."""

    cut_short: bool
    """Whether the kill fell into a call."""

    replaced: bool
    """Whether a file was the new one already although its call had not returned."""


def pattern(number: int, z: int) -> NDArray[np.uint8]:
    """Pixels ``(Y, X)`` that no other save and no other slice has, all over the slice."""
    return np.random.default_rng((number, z)).integers(0, 2, (SIZE, SIZE), dtype=np.uint8)


def make_dataset(folder: Path, layout: str) -> Path:
    """A scan with its mask, ``kaggle`` (a file a slice) or ``nifti`` (one file)."""
    masks = np.stack([pattern(0, z) for z in range(SLICES)])
    image = np.random.default_rng(0).integers(0, 255, masks.shape, dtype=np.uint8)
    if layout == "kaggle":
        patient = folder / "kaggle" / "p1"
        patient.mkdir(parents=True)
        for z in range(SLICES):
            tifffile.imwrite(patient / f"p1_{z + 1}.tif", np.stack([image[z]] * 3, -1), photometric="rgb")
            tifffile.imwrite(patient / f"p1_{z + 1}_mask.tif", masks[z] * np.uint8(255))
        return patient.parent
    root = folder / "nifti"
    root.mkdir(parents=True)
    for name, values in (("p1.nii.gz", image), ("p1_mask.nii.gz", masks)):
        nib.save(nib.Nifti1Image(values.T, np.diag([-1.0, -1.0, 3.0, 1.0])), root / name)
    return root


def read_planes(root: Path) -> NDArray[np.uint8]:
    """The masks as they lie on disk, ``(Z, Y, X)`` of 0 and 1, read by the libraries of the formats."""
    if root.name == "kaggle":
        paths = [root / "p1" / f"p1_{z + 1}_mask.tif" for z in range(SLICES)]
        return np.stack([(tifffile.imread(path) > 0).astype(np.uint8) for path in paths])
    return np.asanyarray(nib.load(root / "p1_mask.nii.gz").dataobj).T.astype(np.uint8)


def save_until_killed(root: Path, expected: Expected, pipe: int, seed: int) -> None:
    """What the child does: call, and tell of it, without end."""
    rng = random.Random(seed)
    dataset = open_dataset(root)
    number = max((number for number, _ in expected.saves), default=0)
    while True:
        standing = [n for n, _ in expected.saves if n not in expected.reverted]
        if standing and rng.random() < 0.2:
            call = {"reverts": rng.choice(standing), "number": 0, "slices": []}
        else:
            number += 1
            call = {"reverts": 0, "number": number, "slices": rng.sample(range(SLICES), rng.randint(1, 3))}
        _tell(pipe, {"begin": call})
        if call["reverts"]:
            line = dataset.revert(expected.ids[call["reverts"]])
        else:
            mask = np.stack([pattern(number, z) for z in range(SLICES)])
            line = dataset.save_correction("p1", mask, call["slices"], model="default", annotator="kill")
        expected = expected.after(call)
        expected.logged(line.id, call["number"])
        _tell(pipe, {"done": call, "id": line.id})


def kill_once(root: Path, expected: Expected, seed: int) -> tuple[Expected, Outcome]:
    """Let a child save until it is killed, and check what it leaves behind.

    Raises
    ------
    AssertionError
        If anything is other than it has to be.
    """
    rng = random.Random(seed)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            save_until_killed(root, expected, writing, seed)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    text = _read_for(reading, rng.uniform(0, LONGEST))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    text += _read_for(reading, None)
    os.close(reading)
    assert os.WIFSIGNALED(status), "the child ended by itself"

    call, returned = None, 0
    for message in map(json.loads, text.splitlines()):
        if "begin" in message:
            call = message["begin"]
        else:
            expected, call = expected.after(message["done"]), None
            expected.logged(message["id"], message["done"]["number"])
            returned += 1
    possible = [expected, *([expected.after(call)] if call is not None else [])]

    _check_files(root, [each.state() for each in possible])
    _check_log(root, expected)
    replaced = _shown(read_planes(root)) != expected.state()
    return _check_recovered(root, possible), Outcome(returned=returned, cut_short=call is not None, replaced=replaced)


def run(kills: int, folder: Path, *, seed: int = 0, rounds: int = 25, progress: bool = False) -> list[Outcome]:
    """Kill so many times; a new dataset every few rounds, file a slice and file a scan in turn."""
    outcomes: list[Outcome] = []
    root, expected = folder, Expected()
    for count in range(kills):
        if count % rounds == 0:
            layout = ("kaggle", "nifti")[count // rounds % 2]
            root, expected = make_dataset(folder / f"{count}", layout), Expected()
        expected, outcome = kill_once(root, expected, seed + count)
        outcomes.append(outcome)
        if progress and (count + 1) % 25 == 0:
            print(f"{count + 1} kills", file=sys.stderr, flush=True)
    return outcomes


def _shown(planes: NDArray[np.uint8], up_to: int = 2000) -> State | None:
    """Which save each plane shows; None where one shows none."""
    state: State = {}
    for z, plane in enumerate(planes):
        found = [number for number in range(up_to) if np.array_equal(plane, _known(number, z))]
        if not found:
            return None
        state[z] = found[0]
    return state


_patterns: dict[tuple[int, int], NDArray[np.uint8]] = {}


def _known(number: int, z: int) -> NDArray[np.uint8]:
    if (number, z) not in _patterns:
        _patterns[number, z] = pattern(number, z)
    return _patterns[number, z]


def _check_files(root: Path, states: Sequence[State]) -> None:
    """Every slice is what it was or what it was to be; slices of one file go together."""
    planes = read_planes(root)
    for z, plane in enumerate(planes):
        allowed = {state[z] for state in states}
        assert any(np.array_equal(plane, pattern(number, z)) for number in allowed), f"slice {z} is torn"
    if root.name == "nifti":
        assert _shown(planes) in list(states), "the file is neither the old nor the new one"


def _check_log(root: Path, expected: Expected) -> None:
    """Whole lines parse, and every call that returned has one."""
    path = root / ".unetseg" / "corrections.jsonl"
    content = path.read_bytes() if path.exists() else b""
    logged = {Correction.from_json(line).id for line in content.split(b"\n")[:-1]}
    assert expected.lines <= logged, "a save that returned is not in the log"


def _check_recovered(root: Path, possible: Sequence[Expected]) -> Expected:
    """Opening leaves one of the possible states, in the log as in the files; which one."""
    dataset = open_dataset(root)
    state = _shown(dataset["p1"].read_mask())
    chosen = [each for each in possible if each.state() == state]
    assert chosen, f"after opening the slices show {state}"
    lines = dataset.corrections("p1")
    _check_agreement(root, dataset, lines)
    expected = chosen[0]
    fresh = [line for line in lines if line.id not in expected.lines]
    if fresh:
        # The call that was cut short has been completed.
        assert (len(fresh), len(possible)) == (1, 2), "the log has lines that nobody asked for"
        expected = possible[1]
        expected.logged(fresh[0].id, 0 if fresh[0].kind == "reverted" else expected.saves[-1][0])
    else:
        assert possible[0] in chosen, "a correction is in the files but not in the log"
        expected = possible[0]
    assert dataset["p1"].corrected_slices() == [z for z, number in expected.state().items() if number]
    return expected


def _check_agreement(root: Path, dataset: Dataset, lines: Sequence[Correction]) -> None:
    last = {change.file: change.after for line in lines for change in line.files}
    for name, sha in last.items():
        assert sha256_of(root / name) == sha, f"{name} is not what the log says"
    left = [path for path in root.rglob("*") if path.name.endswith((".tmp", ".part", ".former"))]
    assert not left, f"{left[0]} was left behind"
    pending = root / ".unetseg" / "pending"
    assert not pending.exists() or not any(pending.iterdir()), "something is pending still"
    assert dataset["p1"].labelled_slices().all()


def _tell(pipe: int, message: dict[str, Any]) -> None:
    # Short enough to go through the pipe in one piece.
    os.write(pipe, (json.dumps(message) + "\n").encode())


def _read_for(pipe: int, seconds: float | None) -> str:
    """What comes through a pipe in so many seconds; or until it is closed."""
    content, end = b"", None if seconds is None else time.monotonic() + seconds
    while end is None or (left := end - time.monotonic()) > 0:
        if not select.select([pipe], [], [], None if end is None else left)[0]:
            break
        if not (read := os.read(pipe, 65536)):
            break
        content += read
    return content.decode()


def main(argv: Sequence[str] | None = None) -> None:
    """Run and print the counts."""
    parser = command_parser("training.benchmarks.kill", __doc__)
    parser.add_argument("--kills", type=positive_int, default=300, help="how often the saving process is killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    args = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="kill-", dir=args.folder))
    try:
        outcomes = run(args.kills, folder, seed=args.seed, progress=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        f"{len(outcomes)} kills, {sum(each.returned for each in outcomes)} calls that returned, "
        f"{sum(each.cut_short for each in outcomes)} cut short, "
        f"{sum(each.replaced for each in outcomes)} of these after a file was replaced; "
        "no mask torn, none lost, every log in agreement with its files"
    )


if __name__ == "__main__":
    main()
