"""Machined things under a camera: parts with an outline, a colour, a bevel and a surface.

A kind of object draws its parts once and returns what draws pictures of it, each in a slightly
different pose. Pictures are float32 [256, 256, 3] in 0..1. Outlines are signed distances in pixels,
negative inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from noise import MIDDLE, SIDE, Float, Rng, log_uniform, turned
from textures import TEXTURES, smooth

Outline = Callable[[Float, Float], Float]
Picture = Callable[[Rng], Float]
LETTERS = "ABCDEFGHKLMNPRSTUVXZ0123456789-+/."


@dataclass(frozen=True)
class Part:
    """``x, y`` is where it lies on the object; ``height`` < 0 sinks it in, ``rim`` pixels wide;
    ``sheen``: brightness of light from the side on turned metal."""

    outline: Outline
    colour: Float
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    height: float = 1.0
    rim: float = 3.0
    grain: float = 0.05
    sheen: float = 0.0


def disc(radius: float) -> Outline:
    return lambda x, y: np.hypot(x, y) - np.float32(radius)


def box(width: float, height: float, corner: float) -> Outline:
    """Half sides and the radius of the corners."""

    def distance(x: Float, y: Float) -> Float:
        dx = np.abs(x) - np.float32(width - corner)
        dy = np.abs(y) - np.float32(height - corner)
        outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
        return outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(corner)

    return distance


def polygon(sides: int, radius: float) -> Outline:
    """Regular; the distance of the nearest side's line."""
    wedge = np.float32(2 * math.pi / sides)

    def distance(x: Float, y: Float) -> Float:
        angle = np.remainder(np.arctan2(y, x), wedge) - wedge / 2
        return np.hypot(x, y) * np.cos(angle) - np.float32(radius * math.cos(math.pi / sides))

    return distance


def lobed(radius: float, waves: list[tuple[int, float, float]], steep: float = 0.0) -> Outline:
    """A round thing whose radius varies with the direction: gears (steep), nuts, stones."""

    def distance(x: Float, y: Float) -> Float:
        angle = np.arctan2(y, x)
        edge = np.full_like(angle, radius)
        for count, size, phase in waves:
            wave = np.sin(count * angle + np.float32(phase))
            edge += size * (np.clip(wave * steep, -1, 1) if steep else wave)
        return np.hypot(x, y) - edge

    return distance


def threaded(length: float, radius: float, pitch: float, depth: float) -> Outline:
    """A rod along x with a thread or rings over its length."""

    def distance(x: Float, y: Float) -> Float:
        edge = radius + depth * np.sin(x * np.float32(2 * math.pi / pitch) + np.sign(y))
        return np.maximum(np.abs(y) - edge, np.abs(x) - np.float32(length))

    return distance


def colour(rng: Rng) -> Float:
    """Grey metal, black or white plastic, or paint."""
    level = rng.uniform(0.05, 0.95)
    hue = rng.uniform(-1, 1, 3) * rng.choice([0.02, 0.08, 0.4])
    return np.clip(level + hue, 0.03, 0.97).astype(np.float32)


def near(rng: Rng, other: Float) -> Float:
    """The same material a little lighter or darker."""
    return np.clip(other * rng.uniform(0.6, 1.4) + rng.normal(0, 0.03), 0.03, 0.97)


def turned_part(rng: Rng) -> list[Part]:
    """Rings about one axis: washers, bearings, bottle mouths, caps."""
    radius, base = rng.uniform(40, 122), colour(rng)
    sheen = rng.choice([0, 0.3])
    parts = []
    for _ in range(int(rng.integers(2, 7))):
        base = near(rng, base) if rng.random() < 0.75 else colour(rng)
        height, rim = rng.choice([-1, 1]) * rng.uniform(0.3, 1), log_uniform(rng, 1, 12)
        parts.append(
            Part(disc(radius), base, height=height, rim=rim, grain=_grain(rng), sheen=sheen)
        )
        radius *= rng.uniform(0.5, 0.93)
    return parts + _around(rng, radius * rng.uniform(1, 1.3))


def _around(rng: Rng, radius: float) -> list[Part]:
    """Holes, balls or pins on a circle."""
    count = int(rng.choice([0, 0, 3, 4, 6, 8, 12]))
    size, tone = rng.uniform(3, max(4, radius / 5)), colour(rng)
    height, rim = rng.choice([-1, 1]), size * rng.uniform(0.2, 0.8)
    return [
        Part(
            disc(size),
            tone,
            radius * math.cos(2 * math.pi * k / count),
            radius * math.sin(2 * math.pi * k / count),
            height=height,
            rim=rim,
        )
        for k in range(count)
    ]


def gear(rng: Rng) -> list[Part]:
    """Teeth outside; bores, hubs and recesses inside."""
    radius, teeth = rng.uniform(50, 105), int(rng.integers(3, 40))
    depth = radius * rng.uniform(0.5, 2) / max(teeth, 6)
    steep, metal = rng.choice([0, 1.5, 3]), colour(rng)
    outer = lobed(radius, [(teeth, depth, 0)], steep)
    parts = [Part(outer, metal, rim=log_uniform(rng, 1, 8), grain=_grain(rng))]
    for _ in range(int(rng.integers(0, 3))):
        radius *= rng.uniform(0.6, 0.9)
        metal = near(rng, metal)
        parts.append(Part(disc(radius), metal, height=rng.choice([-1, 1]), grain=_grain(rng)))
    bore = radius * rng.uniform(0.2, 0.6)
    hole = rng.choice([0, 6])
    inner = polygon(int(hole), bore) if hole else disc(bore)
    return [*parts, *_around(rng, radius * 0.75), Part(inner, colour(rng) * 0.5, height=-1)]


def rod(rng: Rng) -> list[Part]:
    """Screws, bolts, pins: sections of different radius along one axis, lit like cylinders."""
    metal, x = colour(rng), -rng.uniform(60, 105)
    parts = []
    for k in range(int(rng.integers(2, 5))):
        half, radius = rng.uniform(8, 55), rng.uniform(6, 30)
        depth = rng.choice([0, 0.06, 0.15]) * radius
        outline = (
            threaded(half, radius, rng.uniform(4, 14), depth)
            if depth
            else box(half, radius, rng.uniform(0, 6))
        )
        if k and x + 2 * half > 115:
            break
        metal = near(rng, metal) if rng.random() < 0.8 else colour(rng)
        parts.append(Part(outline, metal, x + half, height=1.5, rim=radius, grain=_grain(rng)))
        x += 2 * half - 2
    return parts


def plate(rng: Rng) -> list[Part]:
    """A sheet with holes, slots and raised pads."""
    width, height = rng.uniform(45, 118, 2)
    if rng.random() < 0.3:
        outline = polygon(int(rng.integers(3, 9)), rng.uniform(50, 115))
        width = height = 70
    else:
        outline = box(width, height, rng.uniform(0, 25))
    metal = colour(rng)
    parts = [Part(outline, metal, rim=log_uniform(rng, 1, 10), grain=_grain(rng))]
    for _ in range(int(rng.integers(1, 8))):
        size = log_uniform(rng, 4, 26)
        place = rng.uniform(-0.75, 0.75, 2) * (width, height)
        shape = [disc(size), box(size, size * rng.uniform(0.2, 1), 2), polygon(6, size)]
        tone = near(rng, metal) if rng.random() < 0.5 else colour(rng)
        outline = shape[rng.integers(3)]
        rise, turn = rng.choice([-1, -1, 1]), float(rng.integers(2)) * math.pi / 2
        parts.append(Part(outline, tone, *place, turn, rise, log_uniform(rng, 1, 6)))
        if rng.random() < 0.5:  # a mate on the other side
            parts.append(Part(outline, tone, -place[0], place[1], turn, rise, 2))
    return parts


def rounded(rng: Rng) -> list[Part]:
    """Pills, nuts, stones, lenses: one soft body, perhaps of two colours."""
    radius, skin = rng.uniform(45, 105), colour(rng)
    waves = [(k, radius * rng.normal(0, 0.08) / k, rng.uniform(0, 6)) for k in (2, 3, 5)]
    grain = rng.uniform(0.02, 0.3)
    kind = rng.random()
    if kind < 0.5:
        return [Part(lobed(radius, waves), skin, height=1.2, rim=radius, grain=grain)]
    half = rng.uniform(0.3, 0.6) * radius
    bodies = [Part(box(radius, half, half), skin, height=1.2, rim=half, grain=grain / 2)]
    if kind < 0.8:
        cut = box(radius * 0.5, half, min(half, radius * 0.5))
        bodies.append(Part(cut, colour(rng), radius * 0.5, height=1.2, rim=half, grain=grain / 2))
    return bodies


def rows(rng: Rng) -> list[Part]:
    """Many alike in rows: pins, bristles, blisters, chips, buttons; or packed in a round cable."""
    count, tones = int(rng.integers(2, 6)), [colour(rng) for _ in range(int(rng.integers(1, 4)))]
    pitch = rng.uniform(150, 210) / count
    size = pitch * rng.uniform(0.25, 0.48)
    flat = box(size, size * rng.uniform(0.4, 1), size * 0.2)
    outline = disc(size) if rng.random() < 0.5 else flat
    height, rim = rng.choice([-1, 1]) * rng.uniform(0.4, 1.2), size * rng.uniform(0.1, 1)
    tray = [Part(box(118, 118, 10), colour(rng), grain=_grain(rng))] if rng.random() < 0.5 else []
    down = int(rng.integers(1, count + 1))
    return tray + [
        Part(
            outline,
            tones[(i + j) % len(tones)],
            (i - (count - 1) / 2) * pitch,
            (j - (down - 1) / 2) * pitch,
            height=height,
            rim=rim,
        )
        for j in range(down)
        for i in range(count)
    ]


def _grain(rng: Rng) -> float:
    return log_uniform(rng, 0.01, 0.25)


def marks(rng: Rng) -> Image.Image:
    """Print: letters, bars, conductors, 0..255 on twice the side, so that it can be turned."""
    sheet = Image.new("L", (2 * SIDE, 2 * SIDE))
    pen = ImageDraw.Draw(sheet)
    way = int(rng.integers(3))
    for _ in range(int(rng.integers(1, 4)) if way < 2 else int(rng.integers(4, 16))):
        x, y = (int(v) for v in rng.integers(SIDE - 60, SIDE + 30, 2))
        if way == 0:
            text = "".join(rng.choice(list(LETTERS), int(rng.integers(1, 9))))
            pen.text((x, y), text, 255, ImageFont.load_default(float(rng.integers(9, 44))))
        elif way == 1:
            for k in range(int(rng.integers(3, 14))):
                pen.rectangle((x + 6 * k, y, x + 6 * k + int(rng.integers(1, 5)), y + 30), fill=255)
        else:
            bends = rng.integers(-60, 60, 2)
            points = [(x, y), (x + bends[0], y), (x + bends[0] + 9, y + bends[1])]
            pen.line([(int(a), int(b)) for a, b in points], 255, int(rng.integers(1, 5)))
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=255)
    return sheet.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1))))


KINDS: list[Callable[[Rng], list[Part]]] = [turned_part, gear, rod, plate, rounded, rows]


def thing(rng: Rng) -> Picture:
    """One or several alike on a background, in poses that vary a little or, for some, freely."""
    parts = KINDS[rng.integers(len(KINDS))](rng)
    count = int(rng.choice([1, 1, 1, 1, 1, 2, 3, 4]))
    size = rng.uniform(0.75, 1.25) if count == 1 else rng.uniform(0.35, 0.55)
    places = _spots(rng, count)
    freedom = math.pi if rng.random() < 0.25 else rng.uniform(0, 0.08)
    play, lying = rng.uniform(0, 8), float(rng.choice([0, 0, rng.uniform(0, math.pi)]))
    light, glare = rng.uniform(0, 2 * math.pi), log_uniform(rng, 0.05, 0.5)
    backdrop = colour(rng) if rng.random() < 0.7 else rng.choice([0.06, 0.9]) * np.ones(3)
    ground = smooth if rng.random() < 0.6 else TEXTURES[rng.integers(len(TEXTURES))]
    ground_strength, shadow = log_uniform(rng, 0.02, 0.4), rng.uniform(0, 0.6)
    skin = TEXTURES[rng.integers(len(TEXTURES))]
    grounds = [ground(rng)(rng) - 0.5 for _ in range(2)]
    skins = [draw(rng) - 0.5 for draw in [skin(rng)] for _ in range(2)]
    print_on = marks(rng) if rng.random() < 0.35 and count == 1 else None
    ink = colour(rng)

    def draw(r: Rng) -> Float:
        under = _flipped(r, grounds)
        picture = backdrop * (1 + ground_strength * 2 * under[..., None])
        picture = np.asarray(picture, np.float32)
        surface = _flipped(r, skins)
        for place in places:
            angle = lying + r.uniform(-freedom, freedom)
            dx, dy = place + r.normal(0, 1, 2) * play
            x, y = turned(angle, dx, dy)
            x, y = x / np.float32(size), y / np.float32(size)
            for number, part in enumerate(parts):
                px, py = x - np.float32(part.x), y - np.float32(part.y)
                if part.angle:
                    px, py = -py, px
                distance = part.outline(px, py) * np.float32(size)
                if number == 0:
                    body = np.clip(0.5 - distance, 0, 1)
                    _darken(picture, distance, light, shadow)
                _lay(picture, part, distance, surface, light, glare, (px, py))
            if print_on is not None:
                covered = _posed(print_on, angle, dx, dy) * body
                picture += covered[..., None] * (ink - picture)
        return picture

    return draw


def _spots(rng: Rng, count: int) -> list[tuple[float, float]]:
    """Where to put several things without laying them on top of each other."""
    start, away = rng.uniform(0, 2 * math.pi), (0 if count == 1 else rng.uniform(58, 80))
    angles = [start + 2 * math.pi * k / count for k in range(count)]
    return [(away * math.cos(a), away * math.sin(a)) for a in angles]


def _flipped(r: Rng, maps: list[Float]) -> Float:
    values = maps[r.integers(len(maps))]
    return values[:: r.choice([-1, 1]), :: r.choice([-1, 1])]


def _darken(picture: Float, distance: Float, light: float, shadow: float) -> None:
    """A soft shadow on the side away from the light."""
    down, across = round(6 * math.sin(light)), round(6 * math.cos(light))
    away = np.pad(distance, 6, mode="edge")[6 + down :, 6 + across :][:SIDE, :SIDE]
    picture *= (1 - np.float32(shadow) * np.clip(0.5 - away / 12, 0, 1))[..., None]


def _lay(
    picture: Float,
    part: Part,
    distance: Float,
    surface: Float,
    light: float,
    glare: float,
    place: tuple[Float, Float],
) -> None:
    """Put a part on the picture, where it is."""
    rows_, columns = (np.flatnonzero((distance < 1).any(axis)) for axis in (1, 0))
    if len(rows_) < 3 or len(columns) < 3:
        return
    window = slice(rows_[0], rows_[-1] + 1), slice(columns[0], columns[-1] + 1)
    distance, surface = distance[window], surface[window]
    inside = np.clip(0.5 - distance, 0, 1)
    depth = np.clip(-distance / np.float32(part.rim), 0, 1)
    rise = np.sqrt(depth * (2 - depth)) * np.float32(part.rim * part.height)  # a quarter circle
    down, across = np.gradient(rise)
    lit = across * np.float32(math.cos(light)) + down * np.float32(math.sin(light))
    shade = 1 - np.float32(glare) * np.clip(lit, -1.2, 1.2) + 2 * part.grain * surface
    if part.sheen:
        x, y = place[0][window], place[1][window]
        shade += part.sheen * ((x * x - y * y) / (x * x + y * y + 1))
    picture[window] += inside[..., None] * (part.colour * shade[..., None] - picture[window])


def _posed(sheet: Image.Image, angle: float, dx: float, dy: float) -> Float:
    """Print as it lies on an object in this pose, 0..1."""
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = -MIDDLE - dx, -MIDDLE - dy
    matrix = (cos, sin, cos * x + sin * y + SIDE, -sin, cos, cos * y - sin * x + SIDE)
    moved = sheet.transform((SIDE, SIDE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved, np.float32) / 255
