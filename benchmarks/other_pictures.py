"""The default command on further pictures.

    SSIM_AE_DATA=<folder> python benchmarks/other_pictures.py [--set NAME] [--steps N] [--work DIR]

No further sets of real pictures are at hand, so these are made of the four: cloth that is twice as
fine and half as coarse again, two cloths on one line, and the painted surface of the plates alone.
One setting of the recipe was settled with them in view: what of a map's mean counts to the score.
Writes benchmarks/results/other_pictures.json; its runs_highest_alone are from before that setting,
its runs_units_of_few from before maps were measured on pictures trained on as well.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from machine import load_result, save_result
from quality import finished_again, is_finished, measure
from real_data import folder_of_sets
from ssim_ae.data.layouts import test_pictures, training_pictures
from ssim_ae.data.working_size import Preparation

RESULT = Path(__file__).parent / "results" / "other_pictures.json"
MIDDLE = 170  # pixels of 256 that are enlarged to 256
SURFACE, STEP = 110, 10  # pixels of 512: side of a plate's surface, between places looked at
OF_A_PLATE = 2  # surfaces, which do not overlap
BACKGROUND = (120, 40)  # brighter, and less coloured, than paint

Mask = NDArray[np.bool_]
Change = Callable[[Image.Image, Mask], Iterator[tuple[Image.Image, Mask]]]


def half_size(picture: Image.Image, mask: Mask) -> Iterator[tuple[Image.Image, Mask]]:
    pixels, geometry = Preparation("grey", picture.height // 2, None).apply(np.array(picture))
    yield Image.fromarray(pixels), geometry.mask_to_working(mask)


def enlarged(picture: Image.Image, mask: Mask) -> Iterator[tuple[Image.Image, Mask]]:
    edge = (picture.width - MIDDLE) // 2
    yield from _cut(picture, mask, (edge, edge, edge + MIDDLE, edge + MIDDLE), picture.size)


def as_it_is(picture: Image.Image, mask: Mask) -> Iterator[tuple[Image.Image, Mask]]:
    yield picture, mask


def surface(picture: Image.Image, mask: Mask) -> Iterator[tuple[Image.Image, Mask]]:
    """Places of a plate where nothing but paint is seen, or what became of it."""
    pixels = np.asarray(picture).astype(int)
    free = ~((pixels.min(2) > BACKGROUND[0]) & (np.ptp(pixels, axis=2) < BACKGROUND[1]))
    found = 0
    for top, left in product(range(0, picture.height - SURFACE, STEP), repeat=2):
        place = (slice(top, top + SURFACE), slice(left, left + SURFACE))
        if found < OF_A_PLATE and free[place].all():
            found += 1
            free[place] = False
            box = (left, top, left + SURFACE, top + SURFACE)
            yield from _cut(picture, mask, box, (2 * SURFACE, 2 * SURFACE))


def grey_surface(picture: Image.Image, mask: Mask) -> Iterator[tuple[Image.Image, Mask]]:
    for part, truth in surface(picture, mask):
        yield part.convert("L"), truth


SETS: dict[str, tuple[list[str], Change]] = {
    "fabric_02 at half its size": (["aitex_fabric_02"], half_size),
    "fabric_01 at half its size": (["aitex_fabric_01"], half_size),
    "fabric_02 enlarged by half": (["aitex_fabric_02"], enlarged),
    "fabric_01 enlarged by half": (["aitex_fabric_01"], enlarged),
    "both fabrics as one set": (["aitex_fabric_01", "aitex_fabric_02"], as_it_is),
    "surfaces of plates, grey": (["mpdd_metal_plate_512"], grey_surface),
    "surfaces of plates": (["mpdd_metal_plate_512"], surface),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", action="append", choices=SETS)
    parser.add_argument("--steps", type=int, help="another length of training, to try it out")
    parser.add_argument("--work", type=Path, default=Path("runs/other_pictures"))
    parser.add_argument("--finish", action="store_true", help="see quality.py")
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    data = folder_of_sets()
    result = load_result(arguments.result)
    runs = result.setdefault("runs", {})
    changes = ["--set", f"steps={arguments.steps}"] if arguments.steps else []
    for name in arguments.set or SETS:
        folder = name.replace(" ", "_").replace(",", "")
        made, run = arguments.work / "sets" / folder, arguments.work / folder
        if arguments.finish and name in runs and not is_finished(run, runs[name]):
            counts = {"pictures": runs[name]["pictures"]}
            runs[name] = {**counts, **finished_again(folder, runs[name], made.parent, run)}
            save_result(result, arguments.result)
        if arguments.finish or name in runs:
            continue
        shutil.rmtree(made, ignore_errors=True)
        counts = write_set([data / source for source in SETS[name][0]], SETS[name][1], made)
        row = measure(folder, changes, made.parent, run)
        runs[name] = {"pictures": counts, **row}
        save_result(result, arguments.result)


def write_set(sources: list[Path], change: Change, folder: Path) -> dict[str, int]:
    """The changed pictures in MVTec's layout; how many there are of each part."""
    counts = {"train": 0, "good": 0, "defective": 0}
    for number, source in enumerate(sources):
        start = f"{number}_" if len(sources) > 1 else ""
        pictures = [(file, None) for file in training_pictures(source)]
        pictures += [(test.file, test) for test in test_pictures(source)]
        for file, test in pictures:
            with Image.open(file) as opened:
                picture = opened.copy()
            truth = np.zeros((picture.height, picture.width), bool)
            if test is not None and not test.is_good:
                truth = test.mask((picture.height, picture.width))
            for i, (changed, mask) in enumerate(change(picture, truth)):
                part = "train" if test is None else "good" if test.is_good else "defective"
                if part == "defective" and not mask.any():
                    continue  # its defect was cut off
                name = f"{start}{file.stem}{f'_{i}' if i else ''}"
                kind = {"train": "train/good", "good": "test/good"}.get(part, "test/defective")
                _save(changed, folder / kind / f"{name}.png")
                if part == "defective":
                    _save(Image.fromarray(mask), folder / f"ground_truth/defective/{name}_mask.png")
                counts[part] += 1
    return counts


def _cut(
    picture: Image.Image, mask: Mask, box: tuple[int, int, int, int], size: tuple[int, int]
) -> Iterator[tuple[Image.Image, Mask]]:
    part = picture.crop(box).resize(size, Image.Resampling.BICUBIC)
    yield part, np.asarray(Image.fromarray(mask).crop(box).resize(size, Image.Resampling.NEAREST))


def _save(picture: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file)


if __name__ == "__main__":
    main()
