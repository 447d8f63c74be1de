"""The command ``napari-unet-seg``: a dataclass for each subcommand."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import (
    DisallowNone,
    OmitSubcommandPrefixes,
    Positional,
    PositionalMetavarFromFieldName,
    arg,
    subcommand,
)

from napari_unet_seg.commands.finetune import Finetune
from napari_unet_seg.commands.models import Models
from napari_unet_seg.commands.notes import notes_for_model, print_case_notes, print_dataset_notes, print_model_notes
from napari_unet_seg.commands.opening import open_for_reading
from napari_unet_seg.commands.options import OptionalPath
from napari_unet_seg.commands.status import INTERRUPTED, OK, report_case, report_failure, report_problem, unread
from napari_unet_seg.commands.streams import prepare_streams
from napari_unet_seg.commands.suggest import Suggest
from napari_unet_seg.commands.usage import refuse_empty, told_in_one_line
from napari_unet_seg.errors import InputError, SegmentationError, disk_full
from napari_unet_seg.wording import counted


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Open napari on the sample scan, or on PATH, segment it, and show the scores."""

    path: Positional[Annotated[Path | None, arg(help_behavior_hint="(default: the sample)")]] = None
    """A dataset, a patient's folder or a scan."""

    screenshot: OptionalPath = None
    """Save a picture of the window here and exit; this works without a screen too."""

    model: str = "default"
    """A model's name, or a model file."""

    def run(self) -> int:
        """Open the window; it returns when the window is closed."""
        from napari_unet_seg.widgets.demo import run_demo

        return run_demo(self.path, screenshot=self.screenshot, model=self.model)


@dataclass(frozen=True, kw_only=True)
class Predict:
    """Write a mask for every case, in the case's own format and geometry."""

    path: Positional[Path]
    """A dataset, a patient's folder or a scan."""

    output: Path
    """The folder for the masks, outside the dataset; it is made."""

    model: str = "default"
    """A model's name, or a model file."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    threshold: Annotated[float | None, arg(help_behavior_hint="(default: the model's own)")] = None
    """Probability from which a voxel is tumour."""

    largest_component: Annotated[bool | None, arg(help_behavior_hint="(default: as the model does)")] = None
    """Keep the largest piece of each mask alone."""

    def run(self) -> int:
        """Predict case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.dataset import open_dataset
        from napari_unet_seg.data.formats.atomic import check_folder
        from napari_unet_seg.data.output_folder import check_outside
        from napari_unet_seg.engine.postprocess import check_threshold
        from napari_unet_seg.engine.segmenter import load_model

        if self.threshold is not None:
            check_threshold(self.threshold, called="--threshold")
        dataset = open_dataset(self.path)
        status = print_dataset_notes(dataset)
        check_outside(self.output, dataset.root, names=[case.case_id for case in dataset.cases])
        check_folder(self.output)
        segmenter = load_model(self.model, device=self.device)
        print(f"{counted(len(dataset.cases), 'case')}, model {segmenter.description.name}, {segmenter.device_note}")
        print_model_notes(segmenter.description)
        for number, case in enumerate(dataset.cases, start=1):
            try:
                volume = case.read_image()
                mask = segmenter.mask(
                    segmenter.predict(volume), threshold=self.threshold, largest_component=self.largest_component
                )
                written = case.write_prediction(mask, self.output)
            except (InputError, SegmentationError, MemoryError) as error:
                if disk_full(error) is not None:
                    # There is no room for the others either.
                    raise
                status = max(status, report_case(error, case=case.case_id, work="predict"))
                continue
            amount = f"{(mask > 0).sum() * volume.voxel_ml:.1f} ml{_size_note(volume.spacing_known)}"
            print(f"[{number}/{len(dataset.cases)}] {case.case_id}: {amount} -> {written}", flush=True)
            print_case_notes(case.case_id, notes_for_model(volume, segmenter.description.channel_names))
        return status


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a model on every case that has a mask."""

    path: Positional[Path]
    """A dataset, a patient's folder or a scan with its mask."""

    model: str = "default"
    """A model's name, or a model file."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    json: OptionalPath = None
    """Write the scores to this file."""

    report: OptionalPath = None
    """Write a page with the scores and pictures of the cases into this folder."""

    overlay: OptionalPath = None
    """The folder with the corrections of a dataset that is read-only."""

    def run(self) -> int:
        """Score case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.dataset import Case
        from napari_unet_seg.data.formats.atomic import check_writable
        from napari_unet_seg.data.report_file import check_report, write_report_file
        from napari_unet_seg.data.volume import Mask, Volume
        from napari_unet_seg.engine.evaluate import CaseScores, evaluate
        from napari_unet_seg.engine.segmenter import load_model
        from napari_unet_seg.engine.summary import summary_text

        if self.report is not None:
            from napari_unet_seg.engine.report import PAGE, CaseFigures, write_report

            check_writable(self.report / PAGE)
        dataset = open_for_reading(self.path, self.overlay)
        status = print_dataset_notes(dataset)
        if self.json is not None:
            check_report(self.json, inputs=dataset.mask_paths())
        segmenter = load_model(self.model, device=self.device)
        print_model_notes(segmenter.description)
        figures = None if self.report is None else CaseFigures(segmenter.description.channel_names)

        def show(scores: CaseScores) -> None:
            distance = "undefined"
            if scores.hd95_mm is not None:
                distance = f"{scores.hd95_mm:.1f} mm{_size_note(scores.spacing_known)}"
            print(f"{scores.case}: Dice {scores.dice:.3f}, IoU {scores.iou:.3f}, HD95 {distance}", flush=True)

        def failed(case: Case, error: Exception) -> None:
            nonlocal status
            status = max(status, report_case(error, case=case.case_id, work="evaluate"))

        def look(scores: CaseScores, volume: Volume, y: Mask, y_pred: Mask) -> None:
            notes = notes_for_model(volume, segmenter.description.channel_names)
            print_case_notes(scores.case, (*notes, *dataset[scores.case].mask_notes()))
            if figures is not None:
                figures.add(scores, volume, y, y_pred)

        try:
            result = evaluate(dataset, segmenter, progress=show, look=look, failed=failed)
        except InputError:
            if status != OK:
                # Why there is nothing to score has been told, case by case.
                return status
            raise
        print(summary_text(result["summary"]))
        if self.json is not None:
            write_report_file(self.json, json.dumps(result, indent=2) + "\n")
        if self.report is not None and figures is not None:
            print(f"report: {write_report(result, figures.html, folder=self.report)}")
        return status


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a dataset, its masks as they are corrected by now, in another layout, which knows what was corrected."""

    source: Positional[Path]
    """A dataset, a patient's folder or a scan."""

    destination: Positional[Path]
    """A new or an empty folder."""

    to: str
    """kaggle, folders, coco, nnunet, sequences or files."""

    overlay: OptionalPath = None
    """The folder with the corrections of a dataset that is read-only."""

    def run(self) -> int:
        """Convert case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.convert import convert
        from napari_unet_seg.data.dataset import Case
        from napari_unet_seg.data.volume import Volume

        dataset = open_for_reading(self.source, self.overlay)
        status, number = print_dataset_notes(dataset), 0

        def show(case: Case, volume: Volume) -> None:
            nonlocal number
            number += 1
            z, y, x = volume.shape
            size = f"{counted(len(volume.data), 'channel')}, {counted(z, 'slice')} of {y}x{x}"
            print(f"[{number}/{len(dataset.cases)}] {case.case_id}: {size}", flush=True)
            print_case_notes(case.case_id, (*volume.notes, *case.mask_notes()))

        def failed(case: Case, error: Exception) -> None:
            nonlocal status, number
            number += 1
            status = max(status, report_case(error, case=case.case_id, work="convert"))

        for note in convert(dataset, self.destination, layout=self.to, progress=show, failed=failed):
            print(f"note: {note}")
        return status


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say which device, precision, Qt and OpenGL are there, and what is missing."""

    def run(self) -> int:
        """Print a line for each finding."""
        from napari_unet_seg.doctor import findings

        for finding in findings():
            print(finding)
        return OK


def _size_note(spacing_known: bool) -> str:
    """What to add to millimetres and millilitres of voxels whose size is not known."""
    return "" if spacing_known else ", taking voxels as 1 mm"


Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Predict, subcommand("predict")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Finetune, subcommand("finetune")]
    | Annotated[Suggest, subcommand("suggest")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Doctor, subcommand("doctor")]
)


def _writes(command: Command) -> bool:
    """Whether a command has more to do than to print."""
    files = (getattr(command, name, None) for name in ("json", "report", "screenshot"))
    return isinstance(command, Predict | Convert | Finetune) or any(file is not None for file in files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0 when it worked, 1 when the computation failed, for want of memory say, 2 when the input is at
        fault (one line on standard error says how, in both cases), 130 when interrupted. Of several cases with
        different ends the highest counts.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from napari_unet_seg import __version__

        print(f"napari-unet-seg {__version__}")
        return OK
    with told_in_one_line():
        command: Command = tyro.cli(
            Command,
            config=(OmitSubcommandPrefixes, PositionalMetavarFromFieldName, DisallowNone),
            prog="napari-unet-seg",
            description="Segment brain MRI with a U-Net.",
            args=given,
        )
    prepare_streams(lasting=_writes(command))
    try:
        refuse_empty(given)
        status = command.run()
        # Here, where it can be caught that nobody reads any more, not when the interpreter ends.
        sys.stdout.flush()
        return status
    except InputError as error:
        return report_problem(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return unread()
    except Exception as error:
        return report_failure(error, work=type(command).__name__.lower())
