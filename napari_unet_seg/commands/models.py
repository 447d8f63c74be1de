"""``napari-unet-seg models``: the registry."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from napari_unet_seg.commands.status import OK
from napari_unet_seg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ModelsList:
    """List the models there are."""

    def run(self) -> int:
        """Print a line for each."""
        from napari_unet_seg.engine.registry import Registry

        registry = Registry()
        for model in registry.list():
            origin = "comes with the package" if model.shipped else str(model.path)
            adapted = f"  adapted to {model.case or 'one scan'}" if model.scope == "scan" else ""
            print(
                f"{model.name}  ({origin}){adapted}" + (f"  cannot be used: {model.problem}" if model.problem else "")
            )
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

    name: Annotated[str | None, arg(help_behavior_hint="(default: the file's)")] = None
    """The model's name."""

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
class ModelsVersions:
    """List what each round of retraining made of one of your models; an asterisk marks what is in use."""

    name: Positional[str]
    """Its name."""

    def run(self) -> int:
        """Print a line for each."""
        from napari_unet_seg.engine.registry import Registry
        from napari_unet_seg.engine.round_text import versions_text
        from napari_unet_seg.engine.versions import VersionLine

        line = VersionLine(self.name, registry=Registry())
        versions = line.versions()
        if not versions and not line.path.is_file():
            raise InputError(f"there is no model {self.name!r} of yours; see `models list`")
        print(versions_text(versions) if versions else f"{self.name} has no versions yet; `finetune` makes them")
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsRestore:
    """Put a version of one of your models in use again; the others stay."""

    name: Positional[str]
    """Its name."""

    number: Positional[int]
    """The version's number, as `models versions` lists it."""

    def run(self) -> int:
        """Restore it."""
        from napari_unet_seg.engine.registry import Registry
        from napari_unet_seg.engine.versions import VersionLine

        VersionLine(self.name, registry=Registry()).restore(self.number)
        print(f"{self.name} is now version {self.number}")
        return OK


@dataclass(frozen=True, kw_only=True)
class ModelsRemove:
    """Delete one of your models, with its versions."""

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
    | Annotated[ModelsVersions, subcommand("versions")]
    | Annotated[ModelsRestore, subcommand("restore")]
    | Annotated[ModelsRemove, subcommand("remove")]
)


@dataclass(frozen=True, kw_only=True)
class Models:
    """The registry of models: list, info, import, export, versions, restore, remove."""

    command: OmitSubcommandPrefixes[ModelsCommand] = ModelsList()
    """What to do."""

    def run(self) -> int:
        """Run the subcommand."""
        return self.command.run()
