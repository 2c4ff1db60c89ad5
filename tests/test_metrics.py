import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from ssim_ae.evaluation.metrics import (
    PixelCounts,
    auroc,
    average_precision,
    f1_max,
    per_score,
)

Pictures = list[tuple[np.ndarray, np.ndarray]]


def pictures(count: int = 6, side: int = 48, levels: int | None = None) -> Pictures:
    """Noisy maps over random blobs; ``levels`` makes ties."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        noise = ndimage.gaussian_filter(rng.normal(size=(side, side)), 3)
        mask = noise > np.quantile(noise, 0.93) if i % 3 else np.zeros((side, side), bool)
        score = mask * rng.uniform(0.3, 1.2) + rng.normal(1, 0.5, (side, side))
        if levels:
            score = np.round(score * levels) / levels
        made.append((score.astype(np.float32), mask))
    return made


def counted(made: Pictures) -> PixelCounts:
    counts = PixelCounts()
    for score, mask in made:
        counts.add(score, mask)
    return counts


def brute_aupro(made: Pictures, limit: float) -> float:
    """Every threshold, every region, by hand."""
    thresholds = np.unique(np.concatenate([s.ravel() for s, _ in made]))[::-1]
    regions = []
    for i, (_, mask) in enumerate(made):
        labels, n = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(i, labels == k) for k in range(1, n + 1)]
    good = np.concatenate([s[~m] for s, m in made])
    rates, overlaps = [0.0], [0.0]
    for t in thresholds:
        rates.append(float((good >= t).mean()))
        overlaps.append(float(np.mean([(made[i][0][r] >= t).mean() for i, r in regions])))
    x = np.linspace(0, limit, 20001)
    return float(np.trapezoid(np.interp(x, rates, overlaps), x) / limit)


@pytest.mark.parametrize("levels", [None, 8])
def test_pixel_metrics_equal_scikit_learn(levels: int | None) -> None:
    made = pictures(levels=levels)
    counts = counted(made)
    truth = np.concatenate([m.ravel() for _, m in made])
    score = np.concatenate([s.ravel() for s, _ in made])
    assert counts.auroc() == pytest.approx(roc_auc_score(truth, score), abs=1e-5)
    assert counts.average_precision() == pytest.approx(
        average_precision_score(truth, score), abs=1e-4
    )


@pytest.mark.parametrize("limit", [0.3, 0.05, 1.0])
@pytest.mark.parametrize("levels", [None, 3])
def test_aupro_equals_brute_force(limit: float, levels: int | None) -> None:
    made = pictures(levels=levels)
    assert counted(made).aupro(limit) == pytest.approx(brute_aupro(made, limit), abs=2e-3)


def test_perfect_and_useless_maps() -> None:
    mask = np.zeros((32, 32), bool)
    mask[4:9, 4:9] = mask[20:22, 20:30] = True
    perfect = counted([(mask.astype(np.float32), mask)])
    assert perfect.region_count == 2
    assert perfect.auroc() == perfect.average_precision() == 1
    assert perfect.aupro(0.3) == pytest.approx(1)
    useless = counted([(np.ones((32, 32), np.float32), mask)])
    assert useless.auroc() == 0.5
    assert useless.aupro(0.3) == pytest.approx(0.15)  # the diagonal's area up to 0.3, over 0.3


def test_one_kind_alone_has_no_curve() -> None:
    good = counted([(np.ones((4, 4), np.float32), np.zeros((4, 4), bool))])
    assert good.auroc() is None
    assert good.average_precision() is None
    assert good.aupro(0.3) is None
    with pytest.raises(ValueError, match="differ in shape"):
        good.add(np.ones((4, 4), np.float32), np.zeros((4, 5), bool))


def test_image_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    truth = rng.random(80) < 0.4
    scores = np.round(truth * 0.5 + rng.random(80), 1)  # with ties
    counts = per_score(scores, truth)
    assert auroc(*counts) == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(*counts) == pytest.approx(average_precision_score(truth, scores))
    precision, recall, _ = precision_recall_curve(truth, scores)
    best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
    assert f1_max(*counts) == pytest.approx(best)
    only_good = per_score(scores, np.zeros(80, bool))
    assert auroc(*only_good) is average_precision(*only_good) is f1_max(*only_good) is None
