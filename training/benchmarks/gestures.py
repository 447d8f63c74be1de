"""What single gestures cost the window's thread: the threshold slider, another case, opening a dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.data.phantom import write_kaggle
from napari_unet_seg.data.volume import Volume
from napari_unet_seg.engine.checkpoint import Description
from napari_unet_seg.engine.config import UNetConfig
from napari_unet_seg.session import Session
from napari_unet_seg.widgets.demo import add_dock
from napari_unet_seg.widgets.dock import UNetDock
from training.benchmarks.window import LoopDelay, idle, open_viewer, wait_until

_SLIDES = 40


class KnownMask:
    """Stands in for a model where only what comes after the prediction is timed.

    Parameters
    ----------
    probability : ndarray
        ``(Z, Y, X)``, what it predicts.
    """

    description = Description(name="known", network=UNetConfig(features=(2, 4), convolutions=(1, 1)))
    device_note = "no device"

    def __init__(self, probability: NDArray[np.float32]) -> None:
        self._probability = probability

    def predict(self, volume: Volume, **_: object) -> NDArray[np.float32]:
        """What it was given."""
        return self._probability


def slider_cost(*, slices: int = 200, size: int = 512) -> dict[str, Any]:
    """Milliseconds of the window's thread for a movement of the threshold slider, and for the mask of the volume.

    The slider moves 40 times, a frame apart, over a tumour that fills a quarter of the slices. ``event_ms`` is its own
    answer, with the shown slice's mask in it; ``with_drawing_ms`` counts what napari draws after that; ``settled_ms``
    is what follows once it rests: the mask of every slice, with the scores.
    """
    z, y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in (slices, size, size))
    distance = (16 * z**2)[:, None, None] + (9 * y**2)[:, None] + 9 * x**2
    probability = np.clip(1.2 - distance, 0, 1).astype(np.float32)
    image = np.random.default_rng(0).integers(0, 200, (slices, size, size), dtype=np.uint8)
    events, drawn, settled, blocked = [], [], [], []
    with open_viewer() as viewer:
        viewer.add_image(image, name="flair", contrast_limits=(0, 200))
        viewer.add_labels((probability > 0.4).astype(np.uint8), name="Ground truth", visible=False)
        dock = add_dock(viewer, session=Session(load_model=lambda _: KnownMask(probability)))
        wait_until(lambda: dock.session.segmenter is not None and not dock.busy())
        dock.scores_panel.setValue("Ground truth")
        _until_done(dock, dock.runner.segment)
        viewer.dims.set_current_step(0, slices // 2)
        idle(1.0)
        thresholds = 0.5 + 0.3 * np.sin(np.linspace(0, 6, _SLIDES))
        for _ in range(3):
            with LoopDelay() as delay:
                for threshold in thresholds:
                    began = time.thread_time()
                    dock.segment_panel.setValue(_with_threshold(dock, float(threshold)))
                    answered = time.thread_time()
                    idle(0.016)
                    events.append((answered - began) * 1000)
                    drawn.append((time.thread_time() - began) * 1000)
                rested = time.thread_time()
                idle(0.1)
                wait_until(lambda: not dock.busy())
                idle(0.3)
                settled.append((time.thread_time() - rested) * 1000)
            blocked.append(max(delay.milliseconds))
        dock.shutdown()
    return {
        "slices": slices,
        "size": size,
        "event_ms": _middle_and_high(events),
        "with_drawing_ms": _middle_and_high(drawn),
        "settled_ms": float(np.median(settled)),
        "longest_block_ms": float(np.median(blocked)),
    }


def switching(*, patients: int = 4, slices: int = 40, size: int = 256) -> dict[str, Any]:
    """Seconds from a double click on another case to its layers, and the milliseconds that the window is blocked."""
    seconds, blocked = [], []
    with tempfile.TemporaryDirectory(prefix="switching-") as name, open_viewer() as viewer:
        root = write_kaggle(Path(name), patients=patients, slices=slices, size=size)
        dock = add_dock(viewer, session=Session(load_model=lambda _: KnownMask(np.zeros((1, 1, 1), np.float32))))
        wait_until(lambda: dock.session.segmenter is not None and not dock.busy())
        _until_done(dock, lambda: dock.loader.open_path(root))
        assert dock.session.dataset is not None
        cases = [case.case_id for case in dock.session.dataset.cases]
        for case in cases + cases:
            idle(0.5)
            with LoopDelay() as delay:
                began = time.perf_counter()
                _until_done(dock, lambda case=case: dock.loader.open_case(case))
                seconds.append(time.perf_counter() - began)
                idle(0.2)
            blocked.append(max(delay.milliseconds))
        dock.shutdown()
    return {"seconds": _middle_and_high(seconds[1:]), "longest_block_ms": _middle_and_high(blocked[1:])}


def opening(*, patients: int) -> dict[str, Any]:
    """Seconds from a path to the table of its cases, and the milliseconds that the window is blocked meanwhile.

    A hundredth of the patients, and one at least, have a corrected slice.
    """
    seconds, blocked = [], []
    with tempfile.TemporaryDirectory(prefix="opening-") as name, open_viewer() as viewer:
        root = write_kaggle(Path(name), patients=patients, slices=2, size=32)
        session = Session(load_model=lambda _: KnownMask(np.zeros((1, 1, 1), np.float32)))
        dataset = session.reader.read_dataset(root)
        for case in dataset.cases[:: 100 if patients > 100 else patients]:
            mask = np.ones(case.read_image().shape, np.uint8)
            dataset.save_correction(case.case_id, mask, [0], annotator="benchmark")
        dock = add_dock(viewer, session=session)
        wait_until(lambda: dock.session.segmenter is not None and not dock.busy())
        for _ in range(3):
            idle(0.5)
            with LoopDelay() as delay:
                began = time.perf_counter()
                _until_done(dock, lambda: dock.loader.open_path(root))
                seconds.append(time.perf_counter() - began)
                idle(0.2)
            blocked.append(max(delay.milliseconds))
        shown = len(dock.data_panel.rows())
        dock.shutdown()
    if shown != patients:
        raise RuntimeError(f"{shown} of {patients} cases are listed")
    return {"patients": patients, "seconds": _middle_and_high(seconds), "longest_block_ms": _middle_and_high(blocked)}


def _until_done(dock: UNetDock, start: Callable[[], object]) -> None:
    start()
    wait_until(lambda: not dock.busy())


def _with_threshold(dock: UNetDock, threshold: float) -> Any:
    settings = dock.segment_panel.value()
    return replace(settings, rule=replace(settings.rule, threshold=threshold))


def _middle_and_high(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "p95": float(np.percentile(values, 95))}
