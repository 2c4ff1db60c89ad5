"""Shapes of generated defects: blobs, ellipses, rectangles, scratches; drawn once, from a seed."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

MASKS = 1024


def draw_masks(side: int, seed: int, count: int = MASKS) -> Tensor:
    """``count`` soft shapes about the middle of a canvas, uint8 ``[count, side, side]``.

    A third each of irregular blobs, of ellipses and rectangles, of scratches; from 4 pixels to the
    side of the canvas, scratches up to 120.
    """
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([_shape(rng, side, i % 3) for i in range(count)]))


def _shape(rng: np.random.Generator, side: int, kind: int) -> NDArray[np.uint8]:
    while True:
        if kind == 0:
            drawn = _blob(rng, side)
        else:
            drawn = Image.new("L", (side, side))
            pen = ImageDraw.Draw(drawn)
            (_solid if kind == 1 else _scratch)(rng, side, pen)
        if rng.random() < 0.7:
            drawn = drawn.filter(ImageFilter.GaussianBlur(float(rng.choice([0.6, 1, 1.5, 2.5]))))
        values = np.asarray(drawn, np.float32)
        if values.max() > 50:
            return np.asarray(np.round(values * (255 / values.max())), np.uint8)


def _length(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform: small defects are as frequent as large ones."""
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def _turned(
    rng: np.random.Generator, side: int, points: NDArray[np.float64]
) -> list[tuple[float, float]]:
    a = rng.uniform(0, math.pi)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return [(float(x), float(y)) for x, y in points @ turn + side / 2]


def _blob(rng: np.random.Generator, side: int) -> Image.Image:
    cells = int(rng.choice([4, 5, 6, 8, 10]))
    noise = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    values = np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC))
    y, x = (np.mgrid[:side, :side] - side / 2) * 2
    inside = (x / _length(rng, 8, 2 * side)) ** 2 + (y / _length(rng, 8, 2 * side)) ** 2 < 1
    shape = (values > rng.uniform(-0.5, 0.6)) & inside
    return Image.fromarray((shape * np.uint8(255)).astype(np.uint8))


def _solid(rng: np.random.Generator, side: int, pen: ImageDraw.ImageDraw) -> None:
    half = np.array([_length(rng, 4, side), _length(rng, 4, side)]) / 2
    if rng.random() < 0.5:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    else:
        angle = np.linspace(0, 2 * math.pi, 24, endpoint=False)
        corners = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    pen.polygon(_turned(rng, side, corners * half), fill=255)


def _scratch(rng: np.random.Generator, side: int, pen: ImageDraw.ImageDraw) -> None:
    length, joints = _length(rng, 10, 120), int(rng.integers(2, 6))
    along = np.linspace(-0.5, 0.5, joints) * length
    off = rng.normal(0, length * rng.choice([0, 0.05, 0.12]), joints)
    points = _turned(rng, side, np.stack([along, off], axis=1))
    pen.line(points, fill=255, width=int(rng.choice([1, 1, 2, 2, 3, 4, 6])), joint="curve")
