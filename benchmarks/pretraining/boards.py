"""Boards full of small things: circuit boards, panels and dials, drawn once and moved a little."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from noise import SIDE, Float, Rng
from objects import LETTERS, Picture, colour, near

FINE = 2  # drawn so many times as large, then reduced
WIDE = 384  # more than a picture, so that it can be moved and turned
Ink = tuple[int, int, int]


def board(rng: Rng) -> Picture:
    """Conductors, pads, chips, print, on a lattice; or rings and ticks of dials."""
    sheet = Image.new("RGB", (FINE * WIDE, FINE * WIDE), _ink(base := _ground(rng)))
    pen = ImageDraw.Draw(sheet)
    lattice = int(rng.integers(8, 28))
    trace, pad = _ink(near(rng, base)), _ink(colour(rng))
    for _ in range(int(rng.integers(10, 90))):
        _conductor(rng, pen, lattice, trace, pad)
    for _ in range(int(rng.integers(0, 4))):
        _dial(rng, pen, _ink(colour(rng)))
    kinds = [(_ink(colour(rng)), _ink(colour(rng)), rng.uniform(0.6, 4, 2)) for _ in range(3)]
    for _ in range(int(rng.integers(6, 50))):
        body, legs, size = kinds[rng.integers(3)]
        _chip(rng, pen, lattice, body, legs, size)
    for _ in range(int(rng.integers(0, 12))):
        text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 6))))
        font = ImageFont.load_default(float(FINE * rng.integers(7, 16)))
        pen.text(_spot(rng, lattice), text, _ink(np.array([0.9, 0.9, 0.85])), font)
    sheet = sheet.resize((WIDE, WIDE), Image.Resampling.BOX)
    play, freedom = rng.uniform(0, 8), rng.uniform(0, 0.03)

    def draw(r: Rng) -> Float:
        angle, (dx, dy) = r.uniform(-freedom, freedom), r.uniform(-play, play, 2)
        cos, sin, to = math.cos(angle), math.sin(angle), WIDE / 2
        x, y = -SIDE / 2 + dx, -SIDE / 2 + dy
        matrix = (cos, sin, cos * x + sin * y + to, -sin, cos, cos * y - sin * x + to)
        size, affine = (SIDE, SIDE), Image.Transform.AFFINE
        moved = sheet.transform(size, affine, matrix, Image.Resampling.BICUBIC)
        return np.asarray(moved, np.float32) / 255

    return draw


def _ground(rng: Rng) -> Float:
    """Green, blue, red or black lacquer, or anything."""
    if rng.random() < 0.4:
        return colour(rng)
    lacquers = [(0.05, 0.3, 0.12), (0.05, 0.12, 0.35), (0.4, 0.06, 0.06), (0.06, 0.07, 0.06)]
    return np.array(lacquers[rng.integers(4)], np.float32) * np.float32(rng.uniform(0.6, 1.5))


def _ink(tone: Float) -> Ink:
    r, g, b = (int(v) for v in np.clip(tone * 255, 0, 255))
    return r, g, b


def _spot(rng: Rng, lattice: int) -> tuple[int, int]:
    x, y = rng.integers(0, WIDE // lattice + 1, 2) * (lattice * FINE)
    return int(x), int(y)


def _conductor(rng: Rng, pen: ImageDraw.ImageDraw, lattice: int, trace: Ink, pad: Ink) -> None:
    """Straight, a corner of 45 degrees, straight; with a hole in a pad at its end."""
    x, y = _spot(rng, lattice)
    step, width = lattice * FINE, FINE * int(rng.integers(1, 4))
    along, aside = int(rng.integers(-6, 7)) * step, int(rng.integers(-2, 3)) * step
    points = [(x, y), (x + along, y), (x + along + aside, y + aside)]
    if rng.random() < 0.5:
        points = [(b, a) for a, b in points]
    pen.line(points, trace, width)
    (x, y), r = points[-1], FINE * 4
    pen.ellipse((x - r, y - r, x + r, y + r), pad)
    pen.ellipse((x - r // 3, y - r // 3, x + r // 3, y + r // 3), (10, 10, 10))


def _chip(
    rng: Rng, pen: ImageDraw.ImageDraw, lattice: int, body: Ink, legs: Ink, size: Float
) -> None:
    """A box with legs on two sides and a lighter edge towards the lamp."""
    x, y = _spot(rng, lattice)
    w, h = (int(v * lattice * FINE / 2) for v in (size if rng.random() < 0.6 else size[::-1]))
    leg = FINE * 3
    for k in range(-w, w + 1, leg * 2):
        pen.rectangle((x + k, y - h - leg, x + k + leg, y + h + leg), legs)
    pen.rectangle((x - w, y - h, x + w, y + h), body)
    light, dark = (tuple(min(255, int(c * f) + 8) for c in body) for f in (1.4, 0.6))
    pen.line([(x - w, y + h), (x - w, y - h), (x + w, y - h)], light, FINE)
    pen.line([(x - w, y + h), (x + w, y + h), (x + w, y - h)], dark, FINE)
    r = FINE * 2
    if rng.random() < 0.3:
        pen.ellipse((x - w + r, y - h + r, x - w + 3 * r, y - h + 3 * r), light)


def _dial(rng: Rng, pen: ImageDraw.ImageDraw, ink: Ink) -> None:
    """A ring with ticks."""
    x, y = (int(v) for v in rng.uniform(0.25, 0.75, 2) * WIDE * FINE)
    r, ticks = int(FINE * rng.uniform(20, 90)), int(rng.integers(0, 40))
    pen.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=FINE * int(rng.integers(1, 5)))
    for k in range(ticks):
        c, s = math.cos(2 * math.pi * k / ticks), math.sin(2 * math.pi * k / ticks)
        inner = r * 0.85
        pen.line([(x + inner * c, y + inner * s), (x + r * c, y + r * s)], ink, FINE)
