"""What is known of packed cases beside their pixels, and how that is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_unet_seg.engine.config import Normalisation
from napari_unet_seg.engine.prepared_case import SliceTable
from napari_unet_seg.errors import InputError

FORMAT = "napari-unet-seg-shards/1"
AGAIN = "pack it again with python -m training.pack"
"""What is to be done about shards that cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ShardedCase:
    """Where the slices of a case lie, and what is known of them; each is its pixels ``(C, Y, X)``, then its target."""

    case_id: str
    shard: int
    offset: int
    """Of the first slice in the shard, in bytes; the others follow."""

    size: tuple[int, int]
    """Height and width."""

    dtype: str
    """Of the pixels: uint8, or float16 normalised."""

    checksums: list[int]
    """CRC-32 of each slice."""

    table: SliceTable

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the pixels of a slice."""
        return len(self.table.statistics) * self.size[0] * self.size[1] * np.dtype(self.dtype).itemsize

    @property
    def slice_bytes(self) -> int:
        """Bytes of a slice with its target."""
        return self.pixel_bytes + self.size[0] * self.size[1]


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """What ``index.json`` says; it is written last, so that where it is, all is."""

    normalisation: Normalisation
    resize: tuple[int, int] | None
    channel_names: tuple[str, ...]
    """In the order in which they lie."""

    fingerprint: str
    """Of the pixels and masks read."""

    parts: Mapping[str, str]
    """The part of the split that each case belongs to, where the dataset says so."""

    shards: tuple[int, ...]
    """Bytes of each."""

    cases: tuple[ShardedCase, ...]

    def check(
        self, url: str, *, normalisation: Normalisation, resize: tuple[int, int] | None, channel_names: Sequence[str]
    ) -> None:
        """Raise InputError if what lies there was prepared in another way than is wanted."""
        wanted = {"normalisation": normalisation, "resize": resize, "channel_names": tuple(channel_names)}
        for name, value in wanted.items():
            if (packed := getattr(self, name)) != value:
                raise InputError(f"{url}: packed with {name} {packed}, and {value} is wanted; {AGAIN}")


def encode(index: ShardIndex) -> bytes:
    """The content of ``index.json``."""
    content = {"format": FORMAT, **asdict(index)}
    for case, entry in zip(content["cases"], index.cases, strict=True):
        table = entry.table
        case["table"] = {
            "statistics": table.statistics.tolist(),
            "air": table.air.tolist(),
            "centre": table.centre,
            "labelled": np.flatnonzero(table.labelled).tolist(),
            "tumour": np.flatnonzero(table.tumour).tolist(),
            "weight": None if (table.weight == 1).all() else table.weight.tolist(),
            "soft": table.soft,
        }
    return json.dumps(content, separators=(",", ":")).encode()


def decode(content: dict[str, Any]) -> ShardIndex:
    """What `encode` wrote, once JSON has read it; ValueError, LookupError or TypeError if it is something else."""
    if content.pop("format") != FORMAT:
        raise ValueError("another format")
    cases = [_decoded_case(**case) for case in content.pop("cases")]
    resize = content.pop("resize")
    return ShardIndex(
        **{**content, "channel_names": tuple(content["channel_names"]), "shards": tuple(content["shards"])},
        resize=tuple(resize) if resize is not None else None,
        cases=tuple(cases),
    )


def _decoded_case(*, table: dict[str, Any], size: list[int], checksums: list[int], **rest: Any) -> ShardedCase:
    depth = len(checksums)
    height, width = size
    weight = table["weight"]
    found = SliceTable(
        statistics=np.array(table["statistics"], np.float32).reshape(-1, 2),
        air=np.array(table["air"], np.float32),
        centre=(float(table["centre"][0]), float(table["centre"][1])),
        labelled=_marked(table["labelled"], depth),
        tumour=_marked(table["tumour"], depth),
        weight=np.ones(depth, np.float32) if weight is None else np.array(weight, np.float32),
        soft=bool(table["soft"]),
    )
    return ShardedCase(table=found, size=(height, width), checksums=checksums, **rest)


def _marked(numbers: list[int], depth: int) -> NDArray[np.bool_]:
    marked = np.zeros(depth, bool)
    marked[numbers] = True
    return marked
