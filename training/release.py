"""Put a trained checkpoint into the package: ``python -m training.release CHECKPOINT --metrics FILE``.

The weights stay as they are. The header gets the recipe's rule for the mask and the scores of the held-out folds, with
their protocol. Those have to be of all patients, and of models of the same recipe; of the same network and training as
well, seeds aside, unless ``--protocol`` says how they differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_unet_seg.engine.checkpoint import Description, load_checkpoint, save_checkpoint
from napari_unet_seg.errors import InputError, reading
from training.command_line import command, command_parser
from training.differences import told_differences
from training.recipes import RECIPES
from training.report.held_out import check_trained
from training.report.same_training import settings_of, shape_of

DESTINATION = Path(__file__).resolve().parents[1] / "napari_unet_seg" / "resources" / "models"
_REPORTED = (
    "cases",
    "volume_dice_mean",
    "volume_dice_median",
    "volume_dice_ci95",
    "tumour_slice_dice_mean",
    "empty_slice_false_positive_rate",
)

PROTOCOL = "models of the same recipe on patients they never saw; every slice, hard mask, no smoothing"


def release(checkpoint: Path, *, metrics: Path, protocol: str | None = None, destination: Path) -> Path:
    """Write the checkpoint under its recipe's name, with the scores in its header.

    Parameters
    ----------
    checkpoint : Path
        As `training.run` wrote it.
    metrics : Path
        ``cross_validation.json`` of `training.cross_validate`.
    protocol : str, optional
        How the models that were scored differ from this one, in words; by default they must not, see `PROTOCOL`.
    destination : Path
        The folder.

    Raises
    ------
    InputError
        If the checkpoint or the scores cannot be read, it is half trained or of no recipe that there is, or the scores
        are of another one, of other settings, or not of all patients.
    """
    network, description = load_checkpoint(checkpoint)
    name = str(description.training.get("recipe", ""))
    if name not in RECIPES:
        problem = f"its recipe {name} is none of training/recipes" if name else "its header names no recipe"
        raise InputError(f"{problem}; release what training.run has trained", path=checkpoint)
    check_trained(checkpoint, description)
    recipe = RECIPES[name]()
    scores = _reported(metrics, checkpoint=checkpoint, description=description, same_settings=protocol is None)
    description = replace(
        description,
        name=recipe.name,
        min_fraction=recipe.min_fraction,
        largest_component=recipe.largest_component,
        flip=recipe.flip,
        metrics={"protocol": PROTOCOL if protocol is None else protocol, **scores},
    )
    target = destination / f"{recipe.name}.safetensors"
    save_checkpoint(target, network, description)
    return target


def _reported(path: Path, *, checkpoint: Path, description: Description, same_settings: bool) -> dict[str, Any]:
    """The scores that a header gets, after a look whether they speak of such a checkpoint."""
    try:
        with reading(path):
            scores = json.loads(path.read_text())
        found = {key: scores["summary"][key] for key in _REPORTED}
        recipe = description.training["recipe"]
        if scores["recipe"] != recipe:
            raise InputError(f"are scores of the recipe {scores['recipe']}, and {checkpoint} is of {recipe}", path=path)
        if scores.get("missing"):
            raise InputError(f"{scores['missing']} Score all folds first", path=path)
        own = settings_of(description.training, **shape_of(description))
        for fold in scores["folds"] if same_settings else ():
            # What an older version did not write is not asked for.
            if told := told_differences(settings_of(fold["training"], **fold.get("shape", {})), own):
                problem = f"the models scored were trained with other settings than {checkpoint}: {told}"
                raise InputError(f"{problem}; score its own, or say in --protocol how they differ", path=path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        problem = "holds no scores of all folds; give cross_validation.json of training.cross_validate"
        raise InputError(problem, path=path) from error
    return found


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.release", __doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--metrics", type=Path, required=True, help="cross_validation.json of training.cross_validate")
    parser.add_argument(
        "--protocol",
        help="what was scored, in words, where its network or training is another one (default: the same, and so said)",
    )
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    given = parser.parse_args(arguments)
    print(release(given.checkpoint, metrics=given.metrics, protocol=given.protocol, destination=given.destination))
    return 0


if __name__ == "__main__":
    sys.exit(main())
