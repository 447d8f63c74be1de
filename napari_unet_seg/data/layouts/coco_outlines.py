"""COCO's polygons and run lengths as masks, and masks as polygons or run lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Plane = NDArray[np.bool_]
"""Pixels of one annotation, ``(Y, X)``."""


def to_plane(annotation: Mapping[str, Any], *, height: int, width: int) -> Plane:
    """Pixels of an annotation, as pycocotools' ``annToMask`` has them.

    Parameters
    ----------
    annotation : mapping
        An entry of the file.
    height, width : int
        Size of its image.

    Raises
    ------
    ValueError
        If it has no outline, a malformed one, or one that lies outside the image. The text goes on from the name of
        the annotation.
    """
    outline = annotation.get("segmentation")
    if not outline:
        raise ValueError("has no outline, a box at most; export the masks as polygons")
    if isinstance(outline, list):
        _check_polygons(outline, height, width)
        return _rasterised(outline, height, width)
    if not isinstance(outline, dict) or "counts" not in outline:
        raise ValueError("has a segmentation that is neither polygons nor run lengths; export it again")
    if list(outline.get("size", ())) != [height, width]:
        raise ValueError(f"is of size {outline.get('size')} but its image {[height, width]}; export it again")
    counts = _counts(outline["counts"])
    if counts is None or sum(counts) != height * width:
        raise ValueError("has run lengths that do not fill the image; export it again")
    return _filled(counts, height, width)


def to_segmentation(plane: Plane) -> list[list[int]] | dict[str, Any]:
    """Polygons if they give exactly these pixels, else compressed run lengths.

    The polygons run along the edges of the pixels. They cannot do so around a hole.
    """
    height, width = plane.shape
    polygons = _outlines(plane)
    if polygons is not None and np.array_equal(_rasterised(polygons, height, width), plane):
        return polygons
    encoded = coco_mask.encode(np.asfortranarray(plane, np.uint8))
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def to_box(plane: Plane) -> list[int]:
    """``[x, y, width, height]`` of the pixels."""
    rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]


def _rasterised(polygons: Sequence[Sequence[float]], height: int, width: int) -> Plane:
    encoded = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    counts = _counts(encoded["counts"].decode("ascii"))
    if counts is None:
        raise ValueError("cannot be rasterised; export it again")
    return _filled(counts, height, width)


def _filled(counts: Sequence[int], height: int, width: int) -> Plane:
    """Pixels from run lengths down the columns, of background first."""
    values = np.zeros(len(counts), bool)
    values[1::2] = True
    return np.repeat(values, counts).reshape(width, height).T


def _check_polygons(polygons: Sequence[Any], height: int, width: int) -> None:
    for polygon in polygons:
        # pycocotools takes four numbers for a box.
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("has a polygon that is no list of three or more points; export it again")
        if not all(type(number) in (int, float) and abs(number) < 1e9 for number in polygon):
            raise ValueError("has a polygon with something else than coordinates; export it again")
        xs, ys = polygon[::2], polygon[1::2]
        outside = min(xs) > width or max(xs) < 0 or min(ys) > height or max(ys) < 0
        # Further out it is of another image, and rasterising it takes memory by its length.
        if outside or min(*xs, *ys) < -max(height, width) or max(*xs, *ys) > 2 * max(height, width):
            raise ValueError(f"lies outside its image of {width}x{height} pixels; export it again")


def _counts(counts: Any) -> list[int] | None:
    """Run lengths, unpacked where they are compressed; None if they are malformed.

    Not left to pycocotools: it returns uninitialised memory for some that do not fill the image, and its ``decode``
    warns with NumPy 2.
    """
    if isinstance(counts, list):
        return counts if all(type(count) is int and count >= 0 for count in counts) else None
    if not isinstance(counts, str):
        return None
    runs: list[int] = []
    value = shift = 0
    for sign in counts:
        code = ord(sign) - 48
        if not 0 <= code < 64 or shift > 60:
            return None
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        # From the third on, the difference to the last run of that kind is stored.
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        if runs[-1] < 0:
            return None
        value = shift = 0
    return None if shift else runs


def _outlines(plane: Plane) -> list[list[int]] | None:
    """Outlines ``[x0, y0, x1, y1, ...]`` along the pixels' edges; None if there are holes."""
    padded = np.pad(plane, 1)
    inside = padded[1:-1, 1:-1]
    # Each edge has its pixel on the right-hand side, so that outlines run clockwise on the screen, holes the other way.
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for neighbour, start, step in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (0, 1)),
        (padded[2:, 1:-1], (1, 1), (-1, 0)),
        (padded[1:-1, :-2], (0, 1), (0, -1)),
    ):
        for y, x in np.argwhere(inside & ~neighbour).tolist():
            edges.setdefault((x + start[0], y + start[1]), []).append(step)
    loops: list[list[int]] = []
    while edges:
        corners = _loop(edges)
        if sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairwise([*corners, corners[0]])) < 0:
            return None
        loops.append([number for corner in corners for number in corner])
    return loops


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]]) -> list[tuple[int, int]]:
    """Corners of one outline, whose edges are taken away."""
    first = at = next(iter(edges))
    step = edges[first][0]
    steps = [step]
    corners = [first]
    while True:
        at = (at[0] + step[0], at[1] + step[1])
        right = (-step[1], step[0])
        # Where two pixels touch at a corner, the outline stays with its own.
        following = right if right in edges[at] else edges[at][0]
        _take(edges, at, following)
        if at == first and following == steps[0]:
            break
        if following != step:
            corners.append(at)
        steps.append(following)
        step = following
    return corners if step != steps[0] else corners[1:]


def _take(edges: dict[tuple[int, int], list[tuple[int, int]]], at: tuple[int, int], step: tuple[int, int]) -> None:
    edges[at].remove(step)
    if not edges[at]:
        del edges[at]
