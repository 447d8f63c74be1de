"""A clinical 2D scan of a head: thick slices, a coil's shading, a limited matrix, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.sample_case.fields import Field, smooth_noise


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How one sequence is acquired."""

    slice_mm: float = 5.0
    """Slice thickness, which is the distance between slices too."""

    matrix: float = 0.86
    """Share of the spatial frequencies in the plane that are acquired; the rest is filled with zeros."""

    noise: float = 2.2
    """Standard deviation of the noise in the real and in the imaginary part, in grey levels."""

    shading: float = 0.09
    """Spread of the coil's sensitivity, as a share."""

    floor: float = 2.5
    """Grey levels that the export's window cuts off at the dark end; most of the noise in air goes with them."""


def through_plane(field: Field, *, slices: NDArray[np.int_], slice_mm: float) -> Field:
    """Average 1 mm planes into thick slices.

    Parameters
    ----------
    field : ndarray
        ``(Z, Y, X)`` at 1 mm.
    slices : ndarray
        Plane at the middle of each slice.
    slice_mm : float
        Full width at half maximum of the slice profile, which a real pulse makes round, not square.
    """
    return np.asarray(ndimage.gaussian_filter1d(field, slice_mm / 2.355, axis=0)[slices], np.float32)


def scan(rng: np.random.Generator, field: Field, *, slices: NDArray[np.int_], protocol: Protocol) -> NDArray[np.uint8]:
    """Acquire one sequence.

    Parameters
    ----------
    rng : numpy.random.Generator
    field : ndarray
        Ideal signal ``(Z, Y, X)`` at 1 mm, in grey levels.
    slices : ndarray
        Plane at the middle of each slice.
    protocol : Protocol

    Returns
    -------
    ndarray
        ``(slices, Y, X)`` uint8.
    """
    shaded = field * np.exp(protocol.shading * smooth_noise(rng, field.shape, 75))
    thick = through_plane(shaded, slices=slices, slice_mm=protocol.slice_mm)
    frequencies = np.fft.fft2(thick)
    fy = np.abs(np.fft.fftfreq(thick.shape[1]))[:, None] * 2 / protocol.matrix
    fx = np.abs(np.fft.fftfreq(thick.shape[2]))[None, :] * 2 / protocol.matrix
    # A soft filter over a sharp edge of k-space: rings at the scalp are there, but faint.
    window = (fy <= 1) * (fx <= 1) * np.cos(np.pi / 2 * np.clip(0.85 * np.hypot(fy, fx), 0, 1)) ** 0.5
    disturbance = rng.standard_normal((2, *thick.shape)) * protocol.noise
    frequencies = (frequencies + np.fft.fft2(disturbance[0] + 1j * disturbance[1])) * window
    # The magnitude of complex noise is Rician: air is not zero, and dark tissue is lifted.
    magnitude = np.abs(np.fft.ifft2(frequencies))
    return np.clip(np.rint(magnitude - protocol.floor), 0, 255).astype(np.uint8)
