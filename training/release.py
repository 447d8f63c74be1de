"""Put a trained checkpoint into the package: ``python -m training.release CHECKPOINT --metrics FILE``.

The weights stay as they are. The header gets the recipe's rule for the mask and the scores of the held-out folds, with
their protocol.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_unet_seg.engine.checkpoint import load_checkpoint, save_checkpoint
from napari_unet_seg.errors import InputError, reading
from training.command_line import command, command_parser
from training.recipes import RECIPES

DESTINATION = Path(__file__).resolve().parents[1] / "napari_unet_seg" / "resources" / "models"
_REPORTED = (
    "cases",
    "volume_dice_mean",
    "volume_dice_median",
    "volume_dice_ci95",
    "tumour_slice_dice_mean",
    "empty_slice_false_positive_rate",
)


def release(checkpoint: Path, *, metrics: Path, protocol: str, destination: Path) -> Path:
    """Write the checkpoint under its recipe's name, with the scores in its header.

    Parameters
    ----------
    checkpoint : Path
        As `training.run` wrote it.
    metrics : Path
        ``cross_validation.json`` of `training.cross_validate`.
    protocol : str
        How the models that were scored differ from this one, in words.
    destination : Path
        The folder.

    Raises
    ------
    InputError
        If the checkpoint or the scores cannot be read, or it is of no recipe that there is.
    """
    network, description = load_checkpoint(checkpoint)
    name = str(description.training.get("recipe", ""))
    if name not in RECIPES:
        problem = f"its recipe {name} is none of training/recipes" if name else "its header names no recipe"
        raise InputError(f"{problem}; release what training.run has trained", path=checkpoint)
    recipe = RECIPES[name]()
    description = replace(
        description,
        name=recipe.name,
        min_fraction=recipe.min_fraction,
        largest_component=recipe.largest_component,
        flip=recipe.flip,
        metrics={"protocol": protocol, **_reported(metrics)},
    )
    target = destination / f"{recipe.name}.safetensors"
    save_checkpoint(target, network, description)
    return target


def _reported(path: Path) -> dict[str, Any]:
    try:
        with reading(path):
            summary = json.loads(path.read_text())["summary"]
        return {key: summary[key] for key in _REPORTED}
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        problem = "holds no scores of all folds; give cross_validation.json of training.cross_validate"
        raise InputError(problem, path=path) from error


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.release", __doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--metrics", type=Path, required=True, help="cross_validation.json of training.cross_validate")
    parser.add_argument(
        "--protocol",
        default="models of the same recipe on patients they never saw; every slice, hard mask, no smoothing",
        help="what was scored, in words",
    )
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    given = parser.parse_args(arguments)
    print(release(given.checkpoint, metrics=given.metrics, protocol=given.protocol, destination=given.destination))
    return 0


if __name__ == "__main__":
    sys.exit(main())
