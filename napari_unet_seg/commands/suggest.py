"""``napari-unet-seg suggest``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from napari_unet_seg.commands.notes import print_case_notes, print_dataset_notes, print_model_notes
from napari_unet_seg.commands.opening import open_for_reading
from napari_unet_seg.commands.options import OptionalPath, OptionalText
from napari_unet_seg.commands.status import OK, report_case
from napari_unet_seg.errors import InputError

if TYPE_CHECKING:
    from napari_unet_seg.data.case import Case

_SHOWN = 20
"""Suggestions printed unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Suggest:
    """Say which slices to correct next, the worst first, and why."""

    path: Positional[Path]
    """A dataset, a patient's folder or a scan."""

    model: str = "default"
    """A model's name, or a model file."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    case: OptionalText = None
    """Look at this case alone."""

    json: OptionalPath = None
    """Write the slices to this file."""

    overlay: OptionalPath = None
    """The folder with the corrections of a dataset that is read-only."""

    limit: Annotated[
        int | None, arg(help_behavior_hint=f"(default: {_SHOWN} printed, and all of them in the file)")
    ] = None
    """How many slices at most."""

    def run(self) -> int:
        """Segment case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.report_file import check_report, write_report_file
        from napari_unet_seg.engine.segmenter import load_model
        from napari_unet_seg.engine.suggest import suggest

        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit must be 1 or more, got {self.limit}")
        dataset = open_for_reading(self.path, self.overlay)
        if self.json is not None:
            check_report(self.json, inputs=dataset.mask_paths())
        status = print_dataset_notes(dataset)
        cases = None if self.case is None else [dataset[self.case].case_id]
        segmenter = load_model(self.model, device=self.device)
        print_model_notes(segmenter.description)
        done = 0
        wanted = len(dataset.cases if cases is None else cases)

        def failed(case: Case, error: Exception) -> None:
            nonlocal status, done
            done += 1
            status = max(status, report_case(error, case=case.case_id, work="suggest"))

        def show(case: Case) -> None:
            nonlocal done
            done += 1
            print(f"[{done}/{wanted}] {case.case_id}", flush=True)

        def noted(case: Case, notes: Sequence[str]) -> None:
            print_case_notes(case.case_id, notes)

        progress = show if wanted > 1 else None
        found = suggest(dataset, segmenter, cases=cases, progress=progress, failed=failed, noted=noted)[: self.limit]
        for entry in found[: self.limit or _SHOWN]:
            print(f"{entry.case}  slice {entry.slice}: {entry.reason} (worth about {entry.score:.0f} pixels)")
        if not found and status == OK:
            print("there is no slice left to suggest")
        elif self.limit is None and len(found) > _SHOWN:
            print(f"and {len(found) - _SHOWN} more; see --limit and --json")
        if self.json is not None:
            listed = [asdict(entry) for entry in found]
            write_report_file(self.json, json.dumps(listed, indent=2) + "\n")
        return status
