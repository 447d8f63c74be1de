"""A glioma with its oedema, and bright spots on FLAIR that are none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

from training.sample_case.anatomy import Anatomy
from training.sample_case.fields import Field, ball, layer, smooth_noise, step
from training.sample_case.head import paint

OEDEMA = (49.0, 98.0, 52.0)
TUMOUR = (42.0, 112.0, 52.0)
RIM = (45.0, 96.0, 142.0)
NECROSIS = (27.0, 70.0, 30.0)
GLIOSIS = (54.0, 92.0, 57.0)
FLOW = (22.0, 46.0, 26.0)
"""Brightness in pre-contrast T1, FLAIR, post-contrast T1; the last two are of things that are no tumour."""


def add_glioma(
    rng: np.random.Generator,
    signal: Field,
    anatomy: Anatomy,
    *,
    centre: Sequence[float],
    core_mm: float = 17.0,
    oedema_mm: float = 27.0,
) -> Field:
    """Grow a ring-enhancing glioma into the head, in place.

    Parameters
    ----------
    rng : numpy.random.Generator
    signal : ndarray
        ``(3, Z, Y, X)``, painted over.
    anatomy : Anatomy
    centre : three floats
        Where it starts, atlas x y z in mm; in white matter.
    core_mm, oedema_mm : float
        How far the solid tumour and the oedema have come through white matter.

    Returns
    -------
    ndarray
        Share of each voxel that is tumour or oedema, ``(Z, Y, X)``.
    """
    shape = anatomy.inside.shape
    # Cells wander along white matter, reluctantly into grey, and not through CSF.
    brain = anatomy.white + anatomy.grey
    free = ndimage.gaussian_filter(anatomy.white, 0.8) + 0.27 * ndimage.gaussian_filter(anatomy.grey, 0.8)
    solid = np.clip(ndimage.gaussian_filter(brain, 1.0), 0, 1) ** 3
    wander = np.exp(0.30 * smooth_noise(rng, shape, 9) + 0.22 * smooth_noise(rng, shape, 3.5))
    spread = _travel(anatomy, centre, speed=free * solid * wander, reach=oedema_mm)
    bulk = _travel(anatomy, centre, speed=solid * wander**0.8, reach=core_mm)

    oedema = step(oedema_mm - spread, 6.0) * np.clip(brain * 1.1, 0, 1)
    core = step(core_mm - bulk, 2.5) * np.clip(brain * 1.2, 0, 1)
    uneven = smooth_noise(rng, shape, 6)
    thickness = 3.4 + 1.1 * uneven
    rim = core * layer(core_mm - 1.2 - bulk, 0, thickness, 1.4) * step(smooth_noise(rng, shape, 8) + 1.1, 1.5)
    hollow = step(core_mm - 1.2 - thickness - bulk, 2.0)

    # Oedema thins out as it goes, so it ends in mid-grey and not at a fence.
    fading = np.clip(1.15 - 0.45 * spread / oedema_mm + 0.09 * smooth_noise(rng, shape, 3), 0, 1)
    paint(signal, OEDEMA, oedema * fading)
    paint(signal, TUMOUR, core * (0.85 + 0.15 * uneven.clip(-1, 1)))
    paint(signal, NECROSIS, 0.9 * hollow * core)
    paint(signal, RIM, 0.9 * rim)
    return np.maximum(oedema, core)


def _travel(anatomy: Anatomy, centre: Sequence[float], *, speed: Field, reach: float) -> Field:
    """Shortest way in mm of free-going tissue from ``centre`` to every voxel; infinite ones are cut at 4 ``reach``."""
    distance = np.sum((anatomy.where - np.reshape(np.asarray(centre, np.float32), (3, 1, 1, 1))) ** 2, axis=0)
    start = np.unravel_index(int(distance.argmin()), distance.shape)
    # Nothing comes further than twice the reach, and the search is what takes the time.
    room = int(2 * reach)
    window = tuple(slice(max(0, at - room), at + room) for at in start)
    local = tuple(int(at - cut.start) for at, cut in zip(start, window, strict=True))
    costs, _ = MCP_Geometric(1 / np.maximum(speed[window], 0.02)).find_costs([local])
    travel = np.full(speed.shape, 4 * reach, np.float32)
    # The search walks along voxels; a little blur takes its facets away.
    travel[window] = ndimage.gaussian_filter(np.minimum(costs, 4 * reach), 0.7)
    return travel


def add_mimics(rng: np.random.Generator, signal: Field, anatomy: Anatomy, *, away_from: Sequence[float]) -> None:
    """Paint what is bright on FLAIR and no tumour, in place: caps, white-matter spots, CSF flow.

    Parameters
    ----------
    rng : numpy.random.Generator
    signal : ndarray
        ``(3, Z, Y, X)``.
    anatomy : Anatomy
    away_from : three floats
        Centre of the glioma, atlas x y z in mm; the larger spots lie in the other hemisphere.
    """
    where, shape = anatomy.where, anatomy.inside.shape
    other = -np.sign(away_from[0])
    from_ventricle = np.asarray(ndimage.distance_transform_edt(anatomy.ventricles < 0.5), np.float32)
    ragged = smooth_noise(rng, shape, 3)

    horns = np.zeros(shape, np.float32)
    for side in (-1, 1):
        for tip in ((16 * side, 33, 6), (26 * side, -54, 14)):
            horns = np.maximum(horns, step(ball(where, tip, (9, 9, 12)), 5))
    caps = step(3.6 + 0.8 * ragged - from_ventricle, 2.0) * horns
    lining = step(1.4 - from_ventricle, 1.2)
    paint(signal, GLIOSIS, np.clip(0.75 * caps + 0.25 * lining, 0, 1) * anatomy.white)

    spots = (
        ((27 * other, -26, 27), (5.5, 11, 6)),
        ((25 * other, 12, 30), (3.2, 3.6, 4)),
        ((31 * other, -8, 34), (2.4, 2.8, 4)),
        ((22 * other, 26, 22), (2.6, 2.4, 4)),
        ((-30 * other, -46, 30), (2.8, 3.4, 4)),
        ((-26 * other, -30, 38), (2.2, 2.2, 4)),
    )
    for centre, radii in spots:
        spot = step(ball(where, centre, radii) + 1.5 * ragged, 2.2)
        paint(signal, GLIOSIS, 0.85 * spot * anatomy.white)

    # Fluid that moves between the two pulses escapes the inversion that should have darkened it.
    for centre, radii in (((0, -38, -32), (6, 6, 12)), ((0, -6, -4), (4, 8, 8)), ((0, -24, -40), (7, 5, 14))):
        paint(signal, FLOW, 0.8 * step(ball(where, centre, radii), 4) * anatomy.csf)
