"""``napari-unet-seg finetune``."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from napari_unet_seg.commands.interrupt import stop_at_first_interrupt
from napari_unet_seg.commands.notes import print_dataset_notes
from napari_unet_seg.commands.opening import open_for_reading
from napari_unet_seg.commands.options import OptionalPath, OptionalText
from napari_unet_seg.commands.status import report_failure
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Retrain from the corrections in a dataset: for one scan, or the model for all.

    Ctrl-C ends it early and keeps the best so far; a second one gives up.
    """

    path: Positional[Path]
    """A dataset with corrections."""

    name: str
    """Name of your model that the result belongs to; it is made, or gets one more version."""

    scope: Literal["scan", "model"] = "model"
    """scan: adapt to one case, for that case alone; model: improve it for every case."""

    case: OptionalText = None
    """The case to adapt to."""

    model: Annotated[str | None, arg(help_behavior_hint="(default: for all scans NAME itself, once it is there)")] = (
        None
    )
    """What to begin with, a model's name or a model file."""

    seconds: float = 60.0
    """Time that it may take."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    overlay: OptionalPath = None
    """The folder with the corrections of a dataset that is read-only."""

    json: OptionalPath = None
    """Write the outcome to this file."""

    def run(self) -> int:
        """Run one round, and say what came of it."""
        from napari_unet_seg.engine.registry import Registry

        if self.scope == "scan" and self.case is None:
            raise InputError("--scope scan adapts to one case: say which with --case")
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise InputError(f"--seconds must be a number above 0, got {self.seconds:g}")
        registry = Registry()
        registry.own_path(self.name)
        made = not registry.owns(self.name)
        model = self.model or (self.name if self.scope == "model" and not made else "default")

        dataset = open_for_reading(self.path, self.overlay)
        status = print_dataset_notes(dataset)
        if self.case is not None:
            # An unknown one shows before torch is loaded.
            _ = dataset[self.case]

        from napari_unet_seg.data.report_file import check_report, write_report_file

        if self.json is not None:
            check_report(self.json, inputs=dataset.mask_paths())
        from napari_unet_seg.engine.round_process import AS_IT_WAS, let_threads_sleep

        let_threads_sleep(os.environ)
        from napari_unet_seg.engine.allocator import keep_freed_memory
        from napari_unet_seg.engine.events import RoundFinished
        from napari_unet_seg.engine.finetune import finetune_events
        from napari_unet_seg.engine.fit import LossNotFinite
        from napari_unet_seg.engine.round_text import RoundProgress, report_text

        keep_freed_memory()
        progress, report, told = RoundProgress(), None, False
        with stop_at_first_interrupt() as should_stop:
            try:
                for event in finetune_events(
                    dataset,
                    model=model,
                    name=self.name,
                    scope=self.scope,
                    case=self.case,
                    seconds=self.seconds,
                    device=self.device,
                    should_stop=should_stop,
                ):
                    if isinstance(event, RoundFinished):
                        report = event.report
                    elif (line := progress.line(event)) is not None:
                        print(line, flush=True)
                    # Not in the signal's handler: it may interrupt a print.
                    if should_stop() and not told:
                        told = True
                        print("stopping with the best so far; Ctrl-C again gives up", file=sys.stderr, flush=True)
            except LossNotFinite as error:
                raise InputError(f"{error}; nothing was kept, and no model was changed", path=self.path) from error
            except (InputError, BrokenPipeError):
                raise
            except Exception as error:
                return report_failure(error, work="the round", outcome=AS_IT_WAS)
        if report is None:
            raise KeyboardInterrupt
        print(report_text(report, made=made))
        if self.json is not None:
            write_report_file(self.json, json.dumps(report.to_json(), indent=2) + "\n")
        return status
