import tracemalloc

import numpy as np
import pytest

from ssim_ae import value_bins


def test_bins_order_like_values() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(
        np.concatenate([rng.normal(0, s, 2000) for s in (1e-6, 1, 1e6)] + [[0.0]])
    ).astype(np.float32)
    bins = value_bins.bin_of(values)
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < value_bins.BINS


def test_negative_zero_is_zero() -> None:
    assert len(set(value_bins.bin_of(np.array([0.0, -0.0], np.float32)))) == 1


def test_bins_are_narrow_and_edges_belong_to_them() -> None:
    for value in (-3.7, -1e-3, 1e-3, 0.5, 1.0, 777.7):
        index = int(value_bins.bin_of(np.float32([value]))[0])
        edge = value_bins.upper_edge(index)
        assert value <= edge or edge == pytest.approx(value, rel=1e-6)
        assert abs(edge - value) <= abs(value) * 2**-12
        assert value_bins.bin_of(np.float32([edge]))[0] == index
        assert (
            value_bins.bin_of(np.nextafter(np.float32([edge]), np.float32(np.inf)))[0] == index + 1
        )


def test_quantile_keeps_its_promise_in_parts() -> None:
    values = np.random.default_rng(1).gamma(2, 1, 100_000).astype(np.float32)
    counts = np.zeros(value_bins.BINS, np.int64)
    for part in np.array_split(values, 7):
        value_bins.count(counts, part)
    assert counts.sum() == len(values)
    for share in (0.5, 0.05, 0.001, 0.0):
        cut = value_bins.quantile(counts, share)
        assert (values > cut).mean() <= share
        assert cut == pytest.approx(np.quantile(values, 1 - share), rel=2e-3)


def test_no_nan_and_nothing_counted() -> None:
    with pytest.raises(ValueError, match="NaN"):
        value_bins.bin_of(np.float32([1, np.nan]))
    with pytest.raises(ValueError, match="nothing"):
        value_bins.quantile(np.zeros(value_bins.BINS, np.int64), 0.1)
    value_bins.count(np.zeros(value_bins.BINS, np.int64), np.empty(0, np.float32))


def test_values_are_counted_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=(300, 1000)).astype(np.float32)
    whole, parts = (np.zeros(value_bins.BINS, np.int64) for _ in range(2))
    value_bins.count(whole, values)
    monkeypatch.setattr(value_bins, "AT_ONCE", 1001)
    tracemalloc.start()
    value_bins.count(parts, values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(whole, parts)
    assert whole.sum() == values.size
    assert peak < values.nbytes / 4
