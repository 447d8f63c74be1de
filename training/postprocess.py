"""What the steps behind the network are worth: ``python -m training.postprocess --data D --checkpoints CKPT ...``.

Every checkpoint predicts the cases that its header holds out, plain and as the mean with the mirror image::

    python -m training.postprocess --data kaggle_3m --checkpoints runs/fold_{0,1,2}.safetensors --output runs/behind

Scored are the mask as it comes, without small pieces and with the largest piece alone, at the checkpoints' own
threshold; and their own rule about pieces with a threshold chosen, for each fold, on the patients of the others. The
folder gets ``postprocess.json`` and the table ``postprocess.md``. No patient is scored by a network that has seen them,
nor at a threshold chosen by scores of theirs. The networks of the other folds have trained on them, though: their
probabilities, and so the chosen threshold, are not wholly independent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from napari_unet_seg.data.formats.atomic import check_writable, write_bytes
from napari_unet_seg.engine.checkpoint import file_hash
from training.command_line import command, command_parser, positive_int
from training.json_file import save_json
from training.launch import default_threads
from training.report.fold_settings import held_out_cases, score_fold_settings
from training.report.held_out import check_readable
from training.report.mask_settings import rules, thresholds
from training.report.settings_table import compare, markdown
from training.whole_dataset import open_whole


def study(
    data: Path,
    checkpoints: Sequence[Path],
    *,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """All of it, as ``postprocess.json`` has it.

    Raises
    ------
    InputError
        If dataset or checkpoints cannot be used, see `held_out_cases`, or a case cannot be read.
    """
    dataset = open_whole(data)
    own, folds = held_out_cases(checkpoints, dataset)
    for cases in folds:
        check_readable(cases)
    # A setting of both lists is scored once.
    settings = list(dict.fromkeys([*rules(own), *thresholds(own, flip=False), *thresholds(own, flip=True)]))
    done = [
        score_fold_settings(path, cases, settings, device=device, progress=progress)
        for path, cases in zip(checkpoints, folds, strict=True)
    ]
    return {
        "data": str(dataset.root),
        "cases": sum(map(len, folds)),
        "checkpoints": [
            {"name": path.name, "sha256": file_hash(path), "cases": len(cases)}
            for path, cases in zip(checkpoints, folds, strict=True)
        ],
        "own": asdict(own),
        "rows": compare(done, own=own),
    }


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.postprocess", __doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="a dataset with masks")
    add("--checkpoints", type=Path, nargs="+", required=True, metavar="CKPT", help="one of each fold, two or more")
    add("--output", type=Path, required=True, metavar="DIR", help="where JSON and table go")
    add("--device", default="auto", help="what is predicted on")
    add("--threads", type=positive_int, help="CPU threads (default: all)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads or default_threads())
    check_writable(given.output / "postprocess.json")
    result = study(
        given.data,
        given.checkpoints,
        device=given.device,
        progress=lambda case: print(f"{case}: scored", flush=True),
    )
    save_json(given.output / "postprocess.json", result)
    write_bytes(given.output / "postprocess.md", markdown(result).encode())
    print(markdown(result))
    print(f"written: {given.output / 'postprocess.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
