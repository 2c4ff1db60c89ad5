"""Textures. Each kind draws its parameters once and returns what draws pictures of that texture.

A picture is float32 [256, 256], most of it in 0..1; colour, contrast, light and camera come later.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from noise import (
    SIDE,
    Float,
    Rng,
    cells,
    coarse,
    fractal,
    lobes,
    log_uniform,
    power_law,
    resized,
    ridged,
    spectral,
    turned,
    unit,
    white,
)

Draw = Callable[[Rng], Float]
# which thread lies on top, one period of the weave: plain, twills, herringbone, basket, satin
WEAVES = [
    np.array(rows, bool)
    for rows in (
        [[1, 0], [0, 1]],
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]],
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]],
        [[1, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0]],
        [[1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0]],
    )
]


def direction(rng: Rng) -> float:
    """Often along the picture's sides, as parts under a camera lie."""
    if rng.random() < 0.6:
        return float(rng.integers(2)) * math.pi / 2 + float(rng.normal(0, 0.02))
    return float(rng.uniform(0, math.pi))


def woven(rng: Rng) -> Draw:
    """Warp and weft with the irregularities of a cloth."""
    weave = WEAVES[rng.integers(len(WEAVES))]
    pitch = log_uniform(rng, 3, 22)
    pitches = pitch, pitch * rng.uniform(0.6, 1.6)
    angle, wander = direction(rng), rng.uniform(0, 0.25)
    tones, round_, level = rng.uniform(0, 0.12, 2), rng.uniform(0.3, 1), rng.uniform(-0.3, 0.3)
    fuzz = rng.uniform(0, 0.25)

    def draw(r: Rng) -> Float:
        x, y = turned(angle, *r.uniform(-60, 60, 2))
        x = x / pitches[0] + wander * coarse(r, 64)
        y = y / pitches[1] + wander * coarse(r, 64)
        i, j = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
        rows, columns = weave.shape
        on_top = weave[j % rows, i % columns]
        over_x, over_y = (x - i - 0.5) * 2, (y - j - 0.5) * 2
        across = np.where(on_top, over_x, over_y)
        along = np.where(on_top, over_y, over_x)
        value = 1 - round_ * across * across - 0.3 * round_ * along * along
        shift = r.normal(0, 1, (2, 4096)).astype(np.float32)
        thread = np.where(on_top, shift[0][i % 4096] * tones[0], shift[1][j % 4096] * tones[1])
        value = value + thread + level * on_top + fuzz * white(r)
        return unit(np.asarray(value, np.float32))

    return draw


def waves(rng: Rng) -> Draw:
    """Band-limited noise in one to four directions (Gabor noise)."""
    first, spread = rng.uniform(0, math.pi), rng.uniform(0.02, 0.5)
    count = int(rng.integers(1, 5))
    envelope = lobes(
        [
            (f := log_uniform(rng, 5, 70), first + k * math.pi / count, f * spread, f * spread)
            for k in range(count)
        ]
    )
    return lambda r: unit(spectral(r, envelope))


def grained(rng: Rng) -> Draw:
    """1/f noise, isotropic or drawn out: cast iron, stone, sheet metal."""
    stretch = 1 if rng.random() < 0.5 else log_uniform(rng, 1.5, 12)
    envelope = power_law(rng.uniform(0.3, 2.2), direction(rng), stretch)
    return lambda r: unit(spectral(r, envelope))


def cloudy(rng: Rng) -> Draw:
    """Fractal noise: plain, ridged (marble, folds), in steps (camouflage), or sharply clipped."""
    cell, octaves = log_uniform(rng, 8, 120), int(rng.integers(2, 7))
    gain, way = rng.uniform(0.35, 0.8), int(rng.integers(4))
    steps, steep = int(rng.integers(2, 5)), rng.uniform(1, 6)

    def draw(r: Rng) -> Float:
        values = fractal(r, cell, octaves, gain)
        if way == 1:
            values = ridged(values)
        elif way == 2:
            values = np.round(values * steps / 2)
        elif way == 3:
            values = np.tanh(values * np.float32(steep))
        return unit(values)

    return draw


def brushed(rng: Rng) -> Draw:
    """Fine streaks of several lengths along one direction."""
    angle, lengths = direction(rng), [log_uniform(rng, 20, 300) for _ in range(3)]
    strengths, width = rng.uniform(0.2, 1, 3), rng.uniform(0.6, 3)

    def draw(r: Rng) -> Float:
        streaks = [
            np.float32(s) * resized(white(r, 400, max(3, round(400 / n))), 400, 400)
            for n, s in zip(lengths, strengths, strict=True)
        ]
        canvas = ndimage.gaussian_filter1d(sum(streaks), width, axis=0)
        x, y = turned(angle)
        return unit(ndimage.map_coordinates(canvas, [y + 200, x + 200], order=1))

    return draw


def leather(rng: Rng) -> Draw:
    """Cells with grooves, of irregular size."""
    pitch, jitter = log_uniform(rng, 5, 28), rng.uniform(0.7, 1)
    groove, bend = rng.uniform(0.1, 0.5), rng.uniform(0, 0.35) * pitch
    tone, fine = rng.uniform(0, 0.4), rng.uniform(0, 0.3)
    stretch = rng.uniform(1, 1.8)

    def draw(r: Rng) -> Float:
        x = turned(0, *r.uniform(-99, 99, 2))[0] + bend * coarse(r, 1.5 * pitch)
        y = turned(0, *r.uniform(-99, 99, 2))[1] * stretch + bend * coarse(r, 1.5 * pitch)
        near, second, tones = cells(r, x, y, pitch, jitter)
        values = np.minimum((second - near) / groove, 1) + tone * tones + fine * coarse(r, 2)
        return unit(np.asarray(values, np.float32))

    return draw


def mosaic(rng: Rng) -> Draw:
    """Cells of different tones: terrazzo, granite, crystals."""
    pitch, jitter = log_uniform(rng, 4, 40), rng.uniform(0.8, 1)
    contrast = rng.uniform(0.2, 3)

    def draw(r: Rng) -> Float:
        x, y = turned(0, *r.uniform(-99, 99, 2))
        bent = 0.15 * pitch
        _, _, tones = cells(
            r, x + bent * coarse(r, pitch), y + bent * coarse(r, pitch), pitch, jitter
        )
        return unit(tones**contrast + np.float32(0.04) * white(r))

    return draw


def wood(rng: Rng) -> Draw:
    """Rings seen lengthwise, and fibres along them."""
    angle, pitch = direction(rng), log_uniform(rng, 8, 60)
    bend, fibres = rng.uniform(0.2, 1.5), rng.uniform(0.1, 0.7)
    stretch, knee = rng.uniform(4, 14), rng.uniform(1, 4)

    def draw(r: Rng) -> Float:
        x, y = turned(angle, *r.uniform(-40, 40, 2))
        along, across = coarse(r, 24, stretch), coarse(r, 1.6, 20)
        if abs(math.sin(angle)) > 0.7:
            along, across = along.T, across.T
        rings = y / pitch + bend * along + 0.002 * x
        saw = (rings - np.floor(rings)) ** knee
        return unit(np.asarray(saw + fibres * across, np.float32))

    return draw


def dotted(rng: Rng) -> Draw:
    """Dots at random: dense grain, sparse speckle on a painted plate, of one or two sizes."""
    sizes = [log_uniform(rng, 0.6, 5) for _ in range(int(rng.integers(1, 3)))]
    shares = [log_uniform(rng, 0.002, 0.3) / s**2 for s in sizes]
    signs, hard = rng.choice([-1, 1], len(sizes)), rng.random() < 0.5

    def draw(r: Rng) -> Float:
        total = np.zeros((SIDE, SIDE), np.float32)
        for size, share, sign in zip(sizes, shares, signs, strict=True):
            seeds = (r.random((SIDE, SIDE), np.float32) < share).astype(np.float32)
            dots = ndimage.gaussian_filter(seeds, size, truncate=3) * np.float32(6 * size**2)
            total += sign * (np.minimum(dots * 2, 1) if hard else dots)
        return np.clip(unit(total), -0.5, 1.5)

    return draw


def tiled(rng: Rng) -> Draw:
    """Tiles in rows, perhaps staggered like bricks, with joints; every tile with its own tone."""
    width = log_uniform(rng, 14, 110)
    height, stagger = width * rng.choice([1, 1, 0.5, 0.4]), rng.choice([0, 0, 0.5])
    joint, bevel = rng.uniform(0.5, 3), rng.uniform(0.7, 4)
    angle, tone, fine = direction(rng), rng.uniform(0, 0.5), rng.uniform(0, 0.3)

    def draw(r: Rng) -> Float:
        x, y = turned(angle, *r.uniform(-60, 60, 2))
        row = np.floor(y / height)
        x = x + stagger * width * (row % 2)
        column = np.floor(x / width)
        edge = np.minimum(
            width / 2 - np.abs(x - (column + 0.5) * width),
            height / 2 - np.abs(y - (row + 0.5) * height),
        )
        tones = r.normal(0, 1, 997).astype(np.float32)
        own = tones[(row * 31 + column * 17).astype(np.intp) % 997]
        body = np.clip((edge - joint) / bevel, 0, 1)
        values = body * (1 + tone * own) + fine * fractal(r, 24, 4, 0.6) * body
        return unit(np.asarray(values, np.float32))

    return draw


def meshed(rng: Rng) -> Draw:
    """Regular relief: wire grids, knurls, perforated and corrugated sheet, honeycomb."""
    pitch, angle = log_uniform(rng, 6, 48), direction(rng)
    sides = int(rng.choice([1, 2, 2, 3]))
    crossing = math.pi / sides if rng.random() < 0.7 else rng.uniform(0.7, 1.5)
    sharp, by_product, wander = log_uniform(rng, 0.5, 8), rng.random() < 0.5, rng.uniform(0, 0.1)
    fine = rng.uniform(0, 0.1)

    def draw(r: Rng) -> Float:
        offset = r.uniform(-50, 50, 2)
        off = wander * coarse(r, 70)
        profiles = [
            np.cos((turned(angle + k * crossing, *offset)[0] / pitch + off) * (2 * math.pi))
            for k in range(sides)
        ]
        values = np.prod(profiles, axis=0) if by_product else np.max(profiles, axis=0)
        values = np.tanh((values - 0.4) * sharp)
        return unit(np.asarray(values + fine * white(r), np.float32))

    return draw


def striped(rng: Rng) -> Draw:
    """Stripes of a few widths and tones that repeat: corduroy, strips, printed lines."""
    period, angle = log_uniform(rng, 10, 90), direction(rng)
    stops = np.sort(rng.uniform(0, 1, int(rng.integers(2, 7))))
    tones = rng.uniform(0, 1, len(stops) + 1)
    soft, bend, fine = rng.uniform(0, 0.03), rng.uniform(0, 2), rng.uniform(0, 0.08)

    def draw(r: Rng) -> Float:
        x = turned(angle, *r.uniform(-60, 60, 2))[0] + bend * coarse(r, 80)
        phase = (x / period) % 1 + soft * white(r)
        values = tones[np.searchsorted(stops, phase)] + fine * white(r)
        return unit(np.asarray(values, np.float32))

    return draw


def fibrous(rng: Rng) -> Draw:
    """Felt, fleece, carpet: streaks in all directions on top of each other."""
    count = int(rng.integers(2, 5))
    length = rng.uniform(4, 14)
    envelopes = [power_law(rng.uniform(1.2, 2), k * math.pi / count, length) for k in range(count)]
    strict = rng.uniform(0, 1.5)

    def draw(r: Rng) -> Float:
        layers = [spectral(r, e) for e in envelopes]
        top = np.max([layer / layer.std() for layer in layers], axis=0)
        return unit(np.asarray(np.tanh(top - strict), np.float32))

    return draw


def smooth(rng: Rng) -> Draw:
    """Paint, glass, plastic: next to nothing but the light."""
    cell, fine = log_uniform(rng, 60, 250), rng.uniform(0, 0.3)
    return lambda r: unit(coarse(r, cell) + fine * white(r)) * np.float32(0.4) + np.float32(0.3)


TEXTURES: list[Callable[[Rng], Draw]] = [
    woven,
    woven,
    waves,
    grained,
    cloudy,
    brushed,
    leather,
    mosaic,
    wood,
    dotted,
    tiled,
    meshed,
    striped,
    fibrous,
    smooth,
]
