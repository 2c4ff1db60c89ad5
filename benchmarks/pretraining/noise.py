"""Chance of several kinds, as maps of 256x256 float32: what textures and surfaces are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]
Rng = np.random.Generator
SIDE = 256
MIDDLE = (SIDE - 1) / 2
Y, X = (axis - np.float32(MIDDLE) for axis in np.mgrid[:SIDE, :SIDE].astype(np.float32))


def log_uniform(rng: Rng, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def white(rng: Rng, *shape: int) -> Float:
    return rng.standard_normal(shape or (SIDE, SIDE), dtype=np.float32)


def turned(angle: float, dx: float = 0.0, dy: float = 0.0) -> tuple[Float, Float]:
    """(x, y) of every pixel in axes turned by ``angle`` about the picture's centre + (dx, dy)."""
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x, y = X - np.float32(dx), Y - np.float32(dy)
    return cos * x + sin * y, cos * y - sin * x


def resized(values: Float, height: int = SIDE, width: int = SIDE) -> Float:
    picture = Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(picture, np.float32)


def unit(values: Float) -> Float:
    """Mean 0.5, standard deviation 0.2: most of it in 0..1."""
    scale = 0.2 / max(float(values.std()), 1e-6)
    return (values - values.mean()) * np.float32(scale) + np.float32(0.5)


def coarse(rng: Rng, cell: float, stretch: float = 1.0) -> Float:
    """Smooth noise with features of ``cell`` pixels, ``stretch`` times as long along x."""
    rows = max(3, round(SIDE / cell) + 2)
    columns = max(3, round(SIDE / (cell * stretch)) + 2)
    return resized(white(rng, rows, columns))


def fractal(rng: Rng, cell: float, octaves: int, gain: float, stretch: float = 1.0) -> Float:
    """Octaves of smooth noise, each half as large and ``gain`` times as strong."""
    total = coarse(rng, cell, stretch)
    for k in range(1, octaves):
        size = cell / 2**k
        octave = white(rng) if size < 1.5 else coarse(rng, size, stretch)
        total = total + np.float32(gain**k) * octave
    return total


def ridged(values: Float) -> Float:
    """Thin dark lines where the noise crosses its mean: cracks, veins, folds."""
    return np.sqrt(np.abs(values))


def lobes(waves: Sequence[tuple[float, float, float, float]]) -> Float:
    """Gaussian lobes in the frequency plane, for ``spectral``.

    Each is (cycles per picture, direction, width across in cycles, width in direction).
    """
    fy = scipy.fft.fftfreq(SIDE, 1 / SIDE).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(SIDE, 1 / SIDE).astype(np.float32)[None, :]
    total = np.zeros((SIDE, SIDE // 2 + 1), np.float32)
    for radius, direction, across, along in waves:
        for sign in (1, -1):
            ux, uy = sign * math.cos(direction), sign * math.sin(direction)
            a = (fx * ux + fy * uy - radius) / along
            b = (fx * uy - fy * ux) / across
            total += np.exp(-0.5 * (a * a + b * b), dtype=np.float32)
    return total


def power_law(exponent: float, direction: float, stretch: float) -> Float:
    """1 / f ** exponent, drawn out by ``stretch`` along one direction, for ``spectral``."""
    fy = scipy.fft.fftfreq(SIDE, 1 / SIDE).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(SIDE, 1 / SIDE).astype(np.float32)[None, :]
    a = (fx * math.cos(direction) + fy * math.sin(direction)) * stretch
    b = fx * math.sin(direction) - fy * math.cos(direction)
    return np.asarray((a * a + b * b + 4) ** (-exponent / 2), np.float32)


def spectral(rng: Rng, envelope: Float) -> Float:
    """White noise with an envelope of its spectrum; periodic."""
    spectrum = scipy.fft.rfft2(white(rng)) * envelope
    return np.asarray(scipy.fft.irfft2(spectrum, s=(SIDE, SIDE)), np.float32)


def cells(rng: Rng, x: Float, y: Float, pitch: float, jitter: float) -> tuple[Float, Float, Float]:
    """Voronoi cells of a jittered grid: (distance to the nearest point, to the second nearest,
    a random tone for each cell), distances in units of ``pitch``.

    S. Worley, A cellular texture basis function, SIGGRAPH 1996.
    """
    x, y = x / np.float32(pitch), y / np.float32(pitch)
    column, row = np.floor(x), np.floor(y)
    left, top = int(column.min()) - 1, int(row.min()) - 1
    across, down = int(column.max()) - left + 2, int(row.max()) - top + 2
    points = (rng.random((2, down * across), np.float32) - 0.5) * np.float32(jitter) + 0.5
    tones = rng.random(down * across, np.float32)
    index = ((row - top) * across + (column - left)).astype(np.intp)
    fx, fy = x - column, y - row
    near = np.full(x.shape, 9, np.float32)
    second, tone = near.copy(), np.zeros_like(near)
    for j in (-1, 0, 1):
        for i in (-1, 0, 1):
            at = index + (j * across + i)
            dx, dy = points[0].take(at) + (i - fx), points[1].take(at) + (j - fy)
            distance = dx * dx + dy * dy
            closer = distance < near
            np.minimum(second, np.maximum(distance, near), out=second)
            tone = np.where(closer, tones.take(at), tone)
            np.minimum(near, distance, out=near)
    return np.sqrt(near), np.sqrt(second), tone
