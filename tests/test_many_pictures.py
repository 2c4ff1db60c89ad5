"""Pictures in a row: none is held beside the next, and no two write one file."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssim_ae import Detector, evaluate
from ssim_ae.errors import PictureError
from ssim_ae.evaluation import evaluate as evaluating
from ssim_ae.runtime.inspect import _distinct_names, inspect_pictures

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts references"),
]


def test_an_inspection_is_gone_when_the_next_begins(
    run: Path, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspect_files, alive = Detector.inspect_files, []

    def watched(self: Detector, files: Any) -> Iterator[Any]:
        for found in inspect_files(self, files):
            alive.append(weakref.ref(found))
            yield found
            del found
            assert alive[-1]() is None

    monkeypatch.setattr(Detector, "inspect_files", watched)
    inputs = [fabric / "test" / "good"]
    quiet: list[str] = []
    inspect_pictures(run, inputs, tmp_path, "jsonl", True, None, quiet.append, quiet.append)
    assert len(alive) == 4


def test_a_test_picture_is_gone_when_the_next_is_decoded(
    run: Path, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[weakref.ref[Any]] = []

    def watched(
        files: Iterator[Path], decode: Callable[[Path], Any]
    ) -> Iterator[tuple[Path, Future[Any]]]:
        for file in files:
            assert all(reference() is None for reference in alive)
            decoded: Future[Any] = Future()
            decoded.set_result(decode(file))
            alive.append(weakref.ref(decoded.result()))
            yield file, decoded
            del decoded

    monkeypatch.setattr(evaluating, "read_ahead", watched)
    evaluate(run, fabric, tmp_path / "evaluation")
    assert len(alive) == 10


def test_names_differ_by_more_than_their_case() -> None:
    files = [
        Path("day1/Part.png"),
        Path("day2/part.png"),
        Path("day1/PART.png"),
        Path("a/part.PNG"),
    ]
    names = _distinct_names(files)
    assert names[0] == "Part"
    assert len({name.casefold() for name in names}) == 4


@pytest.mark.parametrize("shape", [(0, 10), (10, 0, 3)])
def test_an_array_without_pixels_is_told(run: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(PictureError, match="pass uint8"):
        Detector.load(run).inspect(np.zeros(shape, np.uint8))
