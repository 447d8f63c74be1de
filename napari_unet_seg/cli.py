"""The command ``napari-unet-seg``: a dataclass for each subcommand."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitSubcommandPrefixes, Positional, subcommand

from napari_unet_seg.errors import InputError

OK, INPUT_AT_FAULT, INTERRUPTED = 0, 2, 130


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Open napari on the sample scan, or on PATH, segment it, and show the scores."""

    path: Positional[Path | None] = None
    """A dataset, a patient's folder or a scan."""

    screenshot: Path | None = None
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
    """The folder for the masks; it is made."""

    model: str = "default"
    """A model's name, or a model file."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    threshold: float | None = None
    """Probability from which a voxel is tumour (default: the model's own)."""

    largest_component: bool | None = None
    """Keep the largest piece of each mask alone (default: as the model does)."""

    def run(self) -> int:
        """Predict case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.dataset import open_dataset
        from napari_unet_seg.engine.segmenter import load_model

        if self.threshold is not None and not 0 < self.threshold < 1:
            raise InputError(f"--threshold must lie between 0 and 1, got {self.threshold}")
        dataset = open_dataset(self.path)
        segmenter = load_model(self.model, device=self.device)
        print(f"{len(dataset.cases)} case(s), model {segmenter.description.name}, {segmenter.device_note}")
        status = OK
        for number, case in enumerate(dataset.cases, start=1):
            try:
                volume = case.read_image()
                mask = segmenter.mask(
                    segmenter.predict(volume), threshold=self.threshold, largest_component=self.largest_component
                )
                written = case.write_prediction(mask, self.output)
            except InputError as error:
                status = _report(error)
                continue
            size = "" if volume.spacing_known else ", taking voxels as 1 mm"
            amount = f"{(mask > 0).sum() * volume.voxel_ml:.1f} ml{size}"
            print(f"[{number}/{len(dataset.cases)}] {case.case_id}: {amount} -> {written}", flush=True)
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

    json: Path | None = None
    """Write the scores to this file."""

    report: Path | None = None
    """Write a page with the scores and pictures of the cases into this folder."""

    def run(self) -> int:
        """Score case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.dataset import open_dataset
        from napari_unet_seg.data.formats.atomic import write_bytes
        from napari_unet_seg.engine.evaluate import CaseScores, evaluate
        from napari_unet_seg.engine.segmenter import load_model
        from napari_unet_seg.engine.summary import summary_text

        dataset = open_dataset(self.path)
        segmenter = load_model(self.model, device=self.device)
        status = OK

        def show(scores: CaseScores) -> None:
            distance = "undefined" if scores.hd95_mm is None else f"{scores.hd95_mm:.1f} mm"
            print(f"{scores.case}: Dice {scores.dice:.3f}, IoU {scores.iou:.3f}, HD95 {distance}", flush=True)

        def failed(_case: object, error: InputError) -> None:
            nonlocal status
            status = _report(error)

        try:
            result = evaluate(dataset, segmenter, progress=show, failed=failed)
        except InputError:
            if status != OK:
                # Why there is nothing to score has been told, case by case.
                return status
            raise
        print(summary_text(result["summary"]))
        if self.json is not None:
            write_bytes(self.json, json.dumps(result, indent=2).encode() + b"\n")
        if self.report is not None:
            from napari_unet_seg.engine.report import write_report

            print(f"report: {write_report(result, dataset, segmenter, folder=self.report)}")
        return status


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Write a dataset, with its corrections, in another layout."""

    source: Positional[Path]
    """A dataset, a patient's folder or a scan."""

    destination: Positional[Path]
    """A new or an empty folder."""

    to: str
    """kaggle, folders, coco, nnunet, sequences or files."""

    def run(self) -> int:
        """Convert case by case; one that cannot be used is reported, and the others go on."""
        from napari_unet_seg.data.convert import convert
        from napari_unet_seg.data.dataset import Case, open_dataset
        from napari_unet_seg.data.volume import Volume

        dataset = open_dataset(self.source)
        status, number = OK, 0

        def show(case: Case, volume: Volume) -> None:
            nonlocal number
            number += 1
            z, y, x = volume.shape
            size = f"{len(volume.data)} channel(s), {z} slices of {y}x{x}"
            print(f"[{number}/{len(dataset.cases)}] {case.case_id}: {size}", flush=True)

        def failed(_case: object, error: InputError) -> None:
            nonlocal status, number
            number += 1
            status = _report(error)

        for note in convert(dataset, self.destination, layout=self.to, progress=show, failed=failed):
            print(f"note: {note}")
        return status


@dataclass(frozen=True, kw_only=True)
class ModelsList:
    """List the models there are."""

    def run(self) -> int:
        """Print a line for each."""
        from napari_unet_seg.engine.registry import Registry

        registry = Registry()
        for model in registry.list():
            origin = "comes with the package" if model.shipped else str(model.path)
            print(f"{model.name}  ({origin})" + (f"  cannot be used: {model.problem}" if model.problem else ""))
        print(f"your own models lie in {registry.folder}")
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsInfo:
    """Print what a model's header says, as JSON."""

    name: Positional[str]
    """A model's name, or a model file."""

    def run(self) -> int:
        """Print the header."""
        from napari_unet_seg.engine.checkpoint import file_hash, read_description
        from napari_unet_seg.engine.registry import Registry

        path = Registry().path(self.name)
        described: dict[str, Any] = json.loads(read_description(path).to_json())
        print(json.dumps({"file": str(path), "sha256": file_hash(path), **described}, indent=2))
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsImport:
    """Take a model file into the registry; a .pt of plain weights is converted, never unpickled."""

    path: Positional[Path]
    """A .safetensors model, or a .pt file of weights."""

    name: str | None = None
    """The model's name (default: the file's)."""

    def run(self) -> int:
        """Import it."""
        from napari_unet_seg.engine.registry import Registry

        model = Registry().import_file(self.path, name=self.name)
        print(f"model {model.name}: {model.path}")
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsExport:
    """Copy a model to a file or folder."""

    name: Positional[str]
    """A model's name."""

    destination: Positional[Path]
    """A folder, or a file ending in .safetensors."""

    def run(self) -> int:
        """Copy it."""
        from napari_unet_seg.engine.registry import Registry

        print(Registry().export(self.name, self.destination))
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsRemove:
    """Delete one of your models."""

    name: Positional[str]
    """Its name."""

    def run(self) -> int:
        """Delete it."""
        from napari_unet_seg.engine.registry import Registry

        Registry().remove(self.name)
        print(f"removed {self.name}")
        return OK


ModelsCommand = (
    Annotated[ModelsList, subcommand("list")]
    | Annotated[ModelsInfo, subcommand("info")]
    | Annotated[ModelsImport, subcommand("import")]
    | Annotated[ModelsExport, subcommand("export")]
    | Annotated[ModelsRemove, subcommand("remove")]
)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The registry of models: list, info, import, export, remove."""

    command: OmitSubcommandPrefixes[ModelsCommand] = ModelsList()
    """What to do (default: list)."""

    def run(self) -> int:
        """Run the subcommand."""
        return self.command.run()


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Say which device, precision, Qt and OpenGL are there, and what is missing."""

    def run(self) -> int:
        """Print a line for each finding."""
        from napari_unet_seg.doctor import findings

        for finding in findings():
            print(finding)
        return OK


Command = (
    Annotated[Demo, subcommand("demo")]
    | Annotated[Predict, subcommand("predict")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Convert, subcommand("convert")]
    | Annotated[Models, subcommand("models")]
    | Annotated[Doctor, subcommand("doctor")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0 when it worked, 2 when the input is at fault (one line on standard error says how), 130 when
        interrupted.
    """
    command: Demo | Predict | Evaluate | Convert | Models | Doctor = tyro.cli(
        Command,
        config=(OmitSubcommandPrefixes,),
        prog="napari-unet-seg",
        description="Segment brain MRI with a U-Net.",
        args=arguments,
    )
    try:
        return command.run()
    except InputError as error:
        return _report(error)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output, such as head, has seen enough; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _report(error: InputError) -> int:
    print(f"napari-unet-seg: {error}", file=sys.stderr, flush=True)
    return INPUT_AT_FAULT
