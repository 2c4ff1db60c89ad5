"""A woven fabric with defects and masks, drawn from a seed: the demo's data and the tests'.

Twill of warp and weft threads with the irregularities of a real cloth (thread width, brightness,
slow shading, sensor noise), and six kinds of defect with their ground truth.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
PITCH = 8.0  # pixels from thread to thread


def fabric(rng: np.random.Generator, height: int, width: int) -> Float:
    """Good cloth, float32 ``[height, width]`` in 0..1."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x = x + rng.uniform(0, 4 * PITCH) + _wander(rng, height)[:, None]
    y = y + rng.uniform(0, 4 * PITCH) + _wander(rng, width)[None, :]
    warp, weft = np.floor(x / PITCH).astype(int), np.floor(y / PITCH).astype(int)
    over = (warp + weft) % 3 == 0  # 2/1 twill: the weft shows on every third crossing
    round_x = np.abs(np.sin(np.pi * x / PITCH))
    round_y = np.abs(np.sin(np.pi * y / PITCH))
    tone_x, tone_y = rng.normal(0, 0.03, warp.max() + 1), rng.normal(0, 0.03, weft.max() + 1)
    cloth = np.where(
        over, 0.58 + 0.22 * round_y + tone_y[weft], 0.32 + 0.22 * round_x + tone_x[warp]
    )
    shade = 1 + 0.05 * np.sin(2 * np.pi * (x / width * rng.uniform(-1, 1) + rng.random()))
    cloth = cloth * shade + rng.normal(0, 0.02, cloth.shape)
    return np.asarray(np.clip(cloth, 0, 1), np.float32)


def _wander(rng: np.random.Generator, length: int) -> Float:
    """A slow wave along the threads, pixels."""
    t = np.arange(length) / length
    waves = [rng.normal(0, 1.2 / k) * np.sin(2 * np.pi * (k * t + rng.random())) for k in (1, 2, 3)]
    return np.asarray(np.sum(waves, axis=0), np.float32)


def _place(rng: np.random.Generator, cloth: Float, margin: int = 24) -> tuple[float, float]:
    h, w = cloth.shape
    return float(rng.uniform(margin, h - margin)), float(rng.uniform(margin, w - margin))


def _blob(rng: np.random.Generator, cloth: Float, radius: float) -> Float:
    """A smooth spot of irregular outline, 0..1."""
    cy, cx = _place(rng, cloth)
    y, x = np.mgrid[0 : cloth.shape[0], 0 : cloth.shape[1]]
    angle = np.arctan2(y - cy, x - cx)
    edge = radius * (1 + 0.25 * np.sin(3 * angle + rng.uniform(0, 6)))
    distance = np.hypot(y - cy, (x - cx) * rng.uniform(0.7, 1.4))
    return np.asarray(np.clip((edge - distance) / 2 + 0.5, 0, 1), np.float32)


def stain(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """A darker or brighter spot; the weave stays visible."""
    spot = _blob(rng, cloth, rng.uniform(8, 20))
    change = rng.choice([-1, 1]) * rng.uniform(0.15, 0.3)
    return cloth + change * spot, spot > 0.5


def hole(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """The dark background shows."""
    spot = _blob(rng, cloth, rng.uniform(4, 11))
    return cloth * (1 - spot) + 0.08 * spot, spot > 0.5


def missing_thread(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """A stretch of one thread is gone."""
    cy, cx = _place(rng, cloth, 40)
    y, x = np.mgrid[0 : cloth.shape[0], 0 : cloth.shape[1]]
    long, across = (y - cy, x - cx) if rng.random() < 0.5 else (x - cx, y - cy)
    mask = (np.abs(long) < rng.uniform(20, 60)) & (np.abs(across) < PITCH / 2)
    return np.where(mask, 0.2 + 0.1 * cloth, cloth), mask


def slub(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """A thick, bright bit of thread."""
    cy, cx = _place(rng, cloth)
    y, x = np.mgrid[0 : cloth.shape[0], 0 : cloth.shape[1]]
    shape = ((y - cy) / rng.uniform(3, 5)) ** 2 + ((x - cx) / rng.uniform(12, 24)) ** 2
    body = np.clip(1.5 - shape, 0, 1)
    return cloth * (1 - body) + (0.75 + 0.1 * cloth) * body, body > 0.3


def smear(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """The weave is washed out, its mean grey kept: brightness alone cannot find it."""
    spot = _blob(rng, cloth, rng.uniform(10, 20))
    k = 13
    padded = np.pad(cloth, k // 2, mode="reflect")
    rows = np.lib.stride_tricks.sliding_window_view(padded, k, axis=0).mean(-1)
    mean = np.lib.stride_tricks.sliding_window_view(rows, k, axis=1).mean(-1)
    return cloth * (1 - spot) + mean * spot, spot > 0.5


def scratch(rng: np.random.Generator, cloth: Float) -> tuple[Float, Mask]:
    """A thin bright line at any angle."""
    cy, cx = _place(rng, cloth, 40)
    y, x = np.mgrid[0 : cloth.shape[0], 0 : cloth.shape[1]]
    angle = rng.uniform(0, np.pi)
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    mask = (np.abs(along) < rng.uniform(20, 50)) & (np.abs(across) < 1.6)
    return np.where(mask, 0.9, cloth), mask


DEFECTS: dict[str, Callable[[np.random.Generator, Float], tuple[Float, Mask]]] = {
    "hole": hole,
    "missing_thread": missing_thread,
    "scratch": scratch,
    "slub": slub,
    "smear": smear,
    "stain": stain,
}


def make_dataset(
    root: Path,
    seed: int = 0,
    train: int = 80,
    good: int = 24,
    per_defect: int = 4,
    size: tuple[int, int] = (256, 256),
    layout: str = "mvtec",
) -> None:
    """Write a dataset of grey 8-bit PNGs.

    Args:
        root: folder to make.
        seed: the same seed makes the same pictures.
        train, good, per_defect: pictures in train/good, test/good, and each test/<defect>.
        size: (height, width).
        layout: "mvtec", or "woven" (train, test, ground_truth/defective, all flat).
    """
    rng = np.random.default_rng(seed)
    woven = layout == "woven"
    for i in range(train):
        folder = root / "train" if woven else root / "train" / "good"
        _save(fabric(rng, *size), folder / f"{i:03}.png")
    number = 0
    for i in range(good):
        folder = root / "test" if woven else root / "test" / "good"
        _save(fabric(rng, *size), folder / f"{i:03}.png")
        number += 1
    for name, draw in DEFECTS.items():
        for i in range(per_defect):
            cloth, mask = draw(rng, fabric(rng, *size))
            if woven:
                _save(cloth, root / "test" / f"{number:03}.png")
                _save(mask, root / "ground_truth" / "defective" / f"{number:03}.png")
            else:
                _save(cloth, root / "test" / name / f"{i:03}.png")
                _save(mask, root / "ground_truth" / name / f"{i:03}_mask.png")
            number += 1


def _save(pixels: Float | Mask, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.clip(np.asarray(pixels, np.float32) * 255, 0, 255)
    Image.fromarray(values.astype(np.uint8)).save(file)
