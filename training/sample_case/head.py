"""The three contrasts of a healthy head: brain, meninges, skull, scalp, orbits, vessels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from training.sample_case.anatomy import Anatomy
from training.sample_case.fields import Field, ball, layer, smooth_noise, step

SEQUENCES = ("t1", "flair", "t1ce")
"""Pre-contrast T1, FLAIR, post-contrast T1."""

SIGNAL: dict[str, tuple[float, float, float]] = {
    "white": (63, 50, 65),
    "grey": (49, 62, 55),
    "csf": (17, 9, 19),
    "bone": (6, 6, 7),
    "marrow": (62, 42, 66),
    "fat": (150, 128, 150),
    "skin": (62, 58, 74),
    "muscle": (40, 33, 47),
    "eye": (16, 12, 18),
    "mucosa": (45, 70, 92),
    "air": (2, 2, 2),
    "vein": (22, 14, 150),
    "choroid": (40, 58, 112),
    "dura": (38, 42, 92),
}
"""Brightness of pure tissue in each of ``SEQUENCES``, before coil, noise and blur; 8-bit, as clinical exports are."""


def paint(signal: Field, value: tuple[float, float, float], cover: Field) -> None:
    """Lay a tissue over what is there, in place; ``signal`` is ``(3, Z, Y, X)``, ``cover`` 0..1 ``(Z, Y, X)``."""
    for channel, brightness in enumerate(value):
        signal[channel] += cover * (brightness - signal[channel])


def make_head(rng: np.random.Generator, anatomy: Anatomy) -> Field:
    """Signal of the head in each of ``SEQUENCES``, ``(3, Z, Y, X)`` float32."""
    where, shape = anatomy.where, anatomy.inside.shape
    x, y, z = where
    brain = anatomy.inside > 0.5
    closed = _closing(brain, 24)
    beyond = np.asarray(ndimage.distance_transform_edt(~closed) - ndimage.distance_transform_edt(closed), np.float32)
    # A skull is rounder than the brain it holds.
    beyond = ndimage.gaussian_filter(beyond, 4)

    dura = 2.2 + 0.5 * smooth_noise(rng, shape, 40)
    table = dura + 5.6 + 0.6 * smooth_noise(rng, shape, 50)
    temples = 7 * step(22 - abs(z + 16), 16) * step(abs(x) - 44, 16) * step(26 - abs(y - 16), 22)
    scalp = table + 5.6 + 0.4 * smooth_noise(rng, shape, 50) + temples
    # Below the vault the outline is the face's, not the brain's.
    face = ball(where, (0, 22, -52), (66, 76, 62))
    depth = np.maximum(scalp - beyond, face)

    signal = np.zeros((len(SEQUENCES), *shape), np.float32)
    paint(signal, SIGNAL["muscle"], step(depth, 1.0))
    streaks = step(smooth_noise(rng, shape, 3.0) - 0.9, 0.8) * step(depth - 5, 2) * step(-z - 8, 6)
    paint(signal, SIGNAL["fat"], 0.7 * streaks)
    paint(signal, SIGNAL["fat"], layer(depth, 1.6, 5.4 + 0.7 * smooth_noise(rng, shape, 12), 1.2))
    paint(signal, SIGNAL["skin"], layer(depth, -0.2, 1.6, 0.8))
    _paint_face(rng, signal, where, depth=depth)

    paint(signal, SIGNAL["bone"], step(table - beyond, 1.0) * step(depth, 1.0))
    middle = (dura + table) / 2
    diploe = layer(beyond, middle - 1.6, middle + 1.5, 1.2) * step(smooth_noise(rng, shape, 6) + 0.4, 2.0)
    paint(signal, SIGNAL["marrow"], 0.75 * diploe)
    paint(signal, SIGNAL["csf"], step(dura - beyond, 1.0))
    paint(signal, SIGNAL["dura"], 0.35 * layer(beyond, dura - 0.8, dura + 0.6, 0.8))
    _paint_skull_base(rng, signal, anatomy, closed=closed)

    signal *= 1 - anatomy.inside
    for tissue, share in (("csf", anatomy.csf), ("grey", anatomy.grey), ("white", anatomy.white)):
        for channel, brightness in enumerate(SIGNAL[tissue]):
            signal[channel] += brightness * share
    _paint_vessels(rng, signal, anatomy, beyond=beyond, dura=dura)
    return signal


def _closing(solid: np.ndarray, radius: float) -> np.ndarray:
    """Fill what a ball of ``radius`` voxels cannot enter; by distances, as a ball that large is slow to slide."""
    room = int(radius) + 2
    padded = np.pad(solid, room)
    reached = ndimage.distance_transform_edt(~padded) <= radius
    kept = ndimage.distance_transform_edt(reached) > radius
    return kept[room:-room, room:-room, room:-room] | solid


def _paint_face(rng: np.random.Generator, signal: Field, where: Field, *, depth: Field) -> None:
    """Orbits, nose and sinuses: only as good as the lowest slices need."""
    x, _, _ = where
    rough = 1.2 * smooth_noise(rng, x.shape, 4)
    for side in (-1, 1):
        paint(signal, SIGNAL["fat"], step(ball(where, (30 * side, 50, -35), (17, 32, 16)) + rough, 2))
        paint(signal, SIGNAL["muscle"], layer(ball(where, (28 * side, 50, -35), (10, 26, 10)), 0, 2.2))
        eye = ball(where, (33 * side, 66, -36), (12.5, 12.5, 12.5))
        paint(signal, SIGNAL["muscle"], step(eye + 1.2, 1))
        paint(signal, SIGNAL["eye"], step(eye, 1))
        lens = ball(where, (33.5 * side, 76, -36), (4.5, 2.2, 4.5))
        paint(signal, SIGNAL["muscle"], step(lens, 1))
    paint(signal, SIGNAL["bone"], step(ball(where, (0, 52, -42), (15, 32, 22)) + rough, 1.5))
    cells = ball(where, (0, 52, -42), (12, 29, 20)) + rough
    paint(signal, SIGNAL["mucosa"], 0.8 * layer(cells, 0, 1.6) * step(smooth_noise(rng, x.shape, 3), 1.0))
    for side in (-1, 1):
        # The forehead over it is whole, however the head is bent.
        frontal = np.minimum(ball(where, (11 * side, 72, -14), (11, 6, 13)) + rough, depth - 8)
        paint(signal, SIGNAL["bone"], step(frontal + 2, 1))
        paint(signal, SIGNAL["air"], step(frontal, 1))


def _paint_skull_base(rng: np.random.Generator, signal: Field, anatomy: Anatomy, *, closed: np.ndarray) -> None:
    """Petrous bone, clivus and the sphenoid sinus, in the room that the lobes leave below."""
    where, shape = anatomy.where, anatomy.inside.shape
    from_brain = np.asarray(ndimage.distance_transform_edt(anatomy.inside < 0.5), np.float32)
    below = step(-18 - where[2], 4) * step(from_brain - 3, 1.5)
    filled = ndimage.gaussian_filter(closed.astype(np.float32), 1.0) * below
    paint(signal, SIGNAL["bone"], filled)
    paint(signal, SIGNAL["marrow"], 0.6 * filled * step(smooth_noise(rng, shape, 3.5) - 0.7, 0.8))
    clivus = ball(where, (0, -6, -38), (12, 7, 22))
    paint(signal, SIGNAL["marrow"], step(clivus, 1.5) * step(from_brain - 3, 1.5))
    sphenoid = ball(where, (0, 12, -40), (14, 12, 13))
    paint(signal, SIGNAL["bone"], step(sphenoid + 2, 1) * step(from_brain - 2, 1))
    paint(signal, SIGNAL["mucosa"], 0.6 * layer(sphenoid, 0, 1.5) * step(from_brain - 2, 1))
    for side in (-1, 1):
        mastoid = ball(where, (52 * side, -40, -40), (13, 15, 16)) + 2 * smooth_noise(rng, shape, 4)
        paint(signal, SIGNAL["bone"], step(mastoid, 1.5) * step(from_brain - 3, 1))


def _paint_vessels(rng: np.random.Generator, signal: Field, anatomy: Anatomy, *, beyond: Field, dura: Field) -> None:
    """Venous sinuses, veins on the cortex, falx and choroid plexus: what lights up with contrast."""
    where, shape = anatomy.where, anatomy.inside.shape
    x, y, z = where
    # A triangle with its tip between the hemispheres, from the forehead over the top to the back of the head.
    width = 0.8 + 0.5 * np.clip(beyond + 4, 0, 8)
    sagittal = step(width - abs(x), 1.2) * layer(beyond, -4.5, dura + 1.0) * step(np.maximum(z - 12, -y - 55), 12)
    sagittal *= step(z + 14, 5)
    transverse = layer(beyond, -2.5, dura + 0.8) * layer(z, -26, -15, 3) * step(-y - 48, 8)
    transverse *= 1 - 0.8 * anatomy.inside
    paint(signal, SIGNAL["vein"], np.clip(sagittal + 0.85 * transverse, 0, 1))

    falx = step(0.9 - abs(x), 0.8) * anatomy.csf * step(z - 5, 5)
    paint(signal, SIGNAL["dura"], 0.7 * falx)
    # Thin lines of a smooth field's zeros are as winding as veins.
    winding = step(0.16 - abs(smooth_noise(rng, shape, 9)), 0.1) * step(smooth_noise(rng, shape, 8) - 0.2, 0.6)
    on_surface = anatomy.csf * layer(beyond, -9, 2) + (1 - anatomy.inside) * layer(beyond, -4, dura)
    paint(signal, SIGNAL["vein"], 0.7 * np.clip(winding * on_surface, 0, 1))

    for side in (-1, 1):
        plexus = ball(where, (22 * side, -38, 10), (6, 9, 9)) + 0.8 * smooth_noise(rng, shape, 2.5)
        paint(signal, SIGNAL["choroid"], 0.85 * step(plexus, 1.5) * anatomy.ventricles)
    for centre, radius in (((0, 2, -17), 2.2), ((13, 0, -14), 2.2), ((-13, 0, -14), 2.2), ((0, -12, -28), 2.4)):
        artery = ball(where, centre, (radius, radius, 9))
        paint(signal, (12, 8, 120), step(artery, 1.0) * (1 - anatomy.inside + anatomy.csf))
