from pathlib import Path

import numpy as np
import pytest

from ssim_ae.data.synthetic import DEFECTS, fabric, make_dataset


def test_the_seed_decides(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_dataset(tmp_path / name, seed, train=1, good=1, per_defect=1, size=(96, 96))
    a, b, c = (
        [f.read_bytes() for f in sorted((tmp_path / n).rglob("*.png"))] for n in ("a", "b", "c")
    )
    assert a == b
    assert a != c


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_a_defect_changes_its_mask_and_little_else(name: str) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        good = fabric(rng, 160, 160)
        bad, mask = DEFECTS[name](rng, good)
        assert 20 < mask.sum() < 8000
        change = np.abs(bad - good)
        assert change[mask].mean() > 0.04
        assert change[~mask].mean() < 0.02
