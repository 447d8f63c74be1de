"""Pack a dataset for streaming: ``python -m training.pack default --data FOLDER --output s3://BUCKET/LGG``.

Every case with a mask is prepared as the recipe has it (channels, normalisation, size) and written into shards, one
after the other; ``python -m training.run default --data s3://BUCKET/LGG`` trains from them, with whatever split or
folds. The output is a folder, or a URL of what fsspec reaches with the package for it: s3fs, gcsfs, adlfs …
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from napari_unet_seg.data.splits import labelled_slices, parts_of_folders
from napari_unet_seg.engine.shard_index import ShardIndex
from napari_unet_seg.errors import InputError
from napari_unet_seg.wording import counted
from training.command_line import command, command_parser, positive_int
from training.recipe import Recipe
from training.recipes import RECIPES
from training.spill import pack
from training.training_data import prepared_cases
from training.whole_dataset import open_whole


def pack_dataset(recipe: Recipe, *, data: str, output: str, shard_bytes: int) -> ShardIndex:
    """Write every case of a dataset that has a mask into shards.

    Parameters
    ----------
    recipe : Recipe
        Channels, normalisation, size; where its split is given, the parts are packed as well.
    data : str
        The dataset.
    output : str
        A folder or URL without shards.
    shard_bytes : int
        A shard that is as long is ended with its case.

    Raises
    ------
    InputError
        If the data cannot be used, or the shards cannot be written.
    """
    dataset = open_whole(data)
    labelled = labelled_slices(dataset.cases)
    cases = [case for case in dataset if case.case_id in labelled]
    if not cases:
        raise InputError("no case has a mask to learn from", path=data)
    prepared, fingerprint = prepared_cases(cases, recipe)
    parts = parts_of_folders(dataset) if recipe.split.kind == "given" else {}
    return pack(prepared, recipe, url=output, fingerprint=fingerprint, parts=parts, shard_bytes=shard_bytes)


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = command_parser("training.pack", __doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES))
    parser.add_argument("--data", required=True, help="a dataset with masks")
    parser.add_argument("--output", required=True, help="folder or URL for the shards")
    parser.add_argument("--shard-mib", type=positive_int, default=64, help="length of a shard (default: %(default)s)")
    given = parser.parse_args(arguments)
    index = pack_dataset(
        RECIPES[given.recipe](), data=given.data, output=given.output, shard_bytes=given.shard_mib * 2**20
    )
    slices = sum(len(case.checksums) for case in index.cases)
    size = sum(index.shards) / 2**20
    packed = f"{counted(len(index.cases), 'case')}, {counted(slices, 'slice')}"
    print(f"{packed}, {size:.0f} MiB in {counted(len(index.shards), 'shard')}: {given.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
