"""Procedural pictures of good parts: textures and machined things, each under its own camera.

A world is one texture or kind of object with fixed parameters, colours, light and camera; its
pictures differ as good pictures of one line do. About half of the worlds are grey. Everything
depends on the seed alone.

    python benchmarks/pretraining/pictures.py SHEET.png [--seed N]    a contact sheet to look at
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from boards import board
from noise import SIDE, Float, Rng, X, Y, log_uniform, white
from objects import colour, thing
from textures import TEXTURES

Pixels = NDArray[np.uint8]
Shoot = Callable[[Rng], Pixels]
OBJECTS = 0.45  # share of the worlds
BOARDS = 0.15  # share of the objects
GREY = 0.5


def worlds(count: int, each: int, seed: int) -> Pixels:
    """``each`` pictures of ``count`` worlds, ``[count, each, 256, 256, 3]``."""
    pictures = np.empty((count, each, SIDE, SIDE, 3), np.uint8)
    for number in range(count):
        pictures[number] = world(number, each, seed)
    return pictures


def world(number: int, each: int, seed: int) -> Pixels:
    """Pictures of one world, ``[each, 256, 256, 3]``."""
    rng = np.random.default_rng([seed, number])
    grey = rng.random() < GREY
    scene = _object(rng) if rng.random() < OBJECTS else _texture(rng)
    shoot = _camera(rng, scene, grey)
    return np.stack([shoot(rng) for _ in range(each)])


def _texture(rng: Rng) -> Callable[[Rng], Float]:
    """A texture between two or three colours; sometimes with a second one on top."""
    draw = TEXTURES[rng.integers(len(TEXTURES))](rng)
    over = TEXTURES[rng.integers(len(TEXTURES))](rng) if rng.random() < 0.25 else None
    share = rng.uniform(0.1, 0.5)
    contrast = log_uniform(rng, 0.04, 1.2)
    base = np.clip(colour(rng), 0.35 * contrast, 1 - 0.35 * contrast)
    away = np.where(rng.random() < 0.6, 1, rng.uniform(-1, 1, 3)) * rng.choice([-1, 1])
    bend = rng.uniform(-0.3, 0.3, 3) * (rng.random() < 0.3)

    def scene(r: Rng) -> Float:
        values = draw(r) - 0.5
        if over is not None:
            values = values + share * (over(r) - 0.5)
        values = values[..., None]
        return np.asarray(base + contrast * (values * away + values * values * bend), np.float32)

    return scene


def _object(rng: Rng) -> Callable[[Rng], Float]:
    """An object, its whole contrast lowered in some worlds."""
    draw = board(rng) if rng.random() < BOARDS else thing(rng)
    middle = np.float32(rng.uniform(0.2, 0.8))
    contrast = np.float32(rng.choice([1, 1, rng.uniform(0.15, 1)]))
    return lambda r: middle + contrast * (draw(r) - middle)


def _camera(rng: Rng, scene: Callable[[Rng], Float], grey: bool) -> Shoot:
    """Light that falls off to one side, lens, sensor; a little different in every picture."""
    slope, direction = log_uniform(rng, 0.01, 0.35), rng.uniform(0, 2 * math.pi)
    fall = (X * np.float32(math.cos(direction)) + Y * np.float32(math.sin(direction))) / SIDE
    spot = -(X * X + Y * Y) / np.float32(SIDE * SIDE) * np.float32(rng.choice([0, 0, 0.5]))
    lamp = 1 + np.float32(slope) * (fall + spot)
    blur = float(rng.choice([0, 0, rng.uniform(0.4, 1.4)]))
    noise, drift = log_uniform(rng, 0.001, 0.04), rng.uniform(0, 0.04)
    chroma = rng.uniform(0, 0.7)
    weights = rng.dirichlet((4, 6, 2)).astype(np.float32)

    def shoot(r: Rng) -> Pixels:
        picture = scene(r)
        if grey:
            picture = (picture @ weights)[..., None]
        gain = np.float32(1 + drift * r.normal())
        picture = picture * (lamp * gain)[..., None]
        if blur:
            picture = _blurred(picture, blur)
        picture = picture + (noise * white(r))[..., None]
        if not grey and chroma > 0.2:
            picture = picture + chroma * noise * white(r, SIDE, SIDE, 3)
        pixels = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        return np.broadcast_to(pixels, (SIDE, SIDE, 3))

    return shoot


def _blurred(picture: Float, sigma: float) -> Float:
    pixels = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    whole = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    soft = np.asarray(whole.filter(ImageFilter.GaussianBlur(sigma)), np.float32)
    return soft.reshape(picture.shape) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = [worlds(8, 2, arguments.seed + i).reshape(16, SIDE, SIDE, 3) for i in range(10)]
    sheet = np.concatenate([np.concatenate(list(row[:, ::2, ::2]), axis=1) for row in rows])
    Image.fromarray(sheet).save(arguments.sheet)


if __name__ == "__main__":
    main()
