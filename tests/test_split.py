from pathlib import Path

import pytest

from ssim_ae.data.groups import group_names
from ssim_ae.data.split import distinct, folds, hold_out, third_part
from ssim_ae.errors import InputError


def files(n: int) -> list[Path]:
    return [Path(f"{i // 5:02}_{i % 5}.png") for i in range(n)]


@pytest.mark.parametrize(
    ("n", "share", "rate", "held"),
    [
        (200, 0.2, 0.05, 40),  # a fifth
        (54, 0.2, 0.05, 19),  # grows until 5 % can be promised
        (30, 0.2, 0.05, 15),  # at most half
        (200, 0.2, 0.005, 100),
        (2, 0.2, 0.05, 1),
    ],
)
def test_how_many_are_held_out(n: int, share: float, rate: float, held: int) -> None:
    names = files(n)
    train, out = hold_out(names, share, rate, [str(i) for i in range(n)], seed=0)
    assert len(out) == held
    assert sorted(train + out) == names


def test_groups_stay_together_and_the_seed_decides() -> None:
    names = files(100)
    groups = group_names(names, r"^(\d+)_")
    train, out = hold_out(names, 0.2, 0.05, groups, seed=1)
    assert len(out) == 20
    assert {f.name[:2] for f in train}.isdisjoint({f.name[:2] for f in out})
    assert (train, out) == hold_out(names, 0.2, 0.05, groups, seed=1)
    assert out != hold_out(names, 0.2, 0.05, groups, seed=2)[1]


def test_what_cannot_be_split() -> None:
    with pytest.raises(InputError, match="cannot be split"):
        hold_out(files(1), 0.2, 0.05, ["0"], seed=0)
    with pytest.raises(InputError, match="cannot be split"):
        hold_out(files(10), 0.2, 0.05, ["one strip"] * 10, seed=0)


def test_pictures_seen_before_are_not_held_out() -> None:
    names = files(60)
    seen = set(names[:30])
    _, out = hold_out(names, 0.2, 0.05, [str(i) for i in range(60)], seed=0, seen=seen)
    assert len(out) == 19
    assert seen.isdisjoint(out)
    with pytest.raises(InputError, match="never trained on"):
        hold_out(names, 0.2, 0.05, ["a"] * 30 + ["b"] * 30, seed=0, seen=set(names))


def test_copies_are_left_out() -> None:
    names = files(4)
    kept, notes = distinct(dict(zip(names, ["a", "b", "a", "a"], strict=True)))
    assert kept == names[:2]
    assert notes == [
        "2 of 4 pictures are copies of others and are left out (00_2.png of 00_0.png, ...)"
    ]
    assert distinct(dict(zip(names, "abcd", strict=True))) == (names, [])


@pytest.mark.parametrize(("n", "chosen"), [(4, 1), (8, 2), (15, 3), (19, 4), (35, 4), (100, 12)])
def test_the_maps_are_weighed_on_a_few_pictures_even_of_small_sets(n: int, chosen: int) -> None:
    assert len(third_part(files(n), None, 0)[1]) == chosen


def test_a_few_pictures_are_never_half_of_them(tmp_path: Path) -> None:
    for n, chosen in ((8, 2), (16, 4)):
        two_strips = [tmp_path / f"{i % 2}_{i}.png" for i in range(n)]
        assert len(third_part(two_strips, r"^(\d+)_", 1)[1]) == chosen


def test_the_third_part_takes_groups_where_that_is_a_small_share(tmp_path: Path) -> None:
    strips, seed = r"^(\d+)_", 1
    many = [tmp_path / f"{strip}_{i}.png" for strip in range(10) for i in range(5)]
    kept, chosen = third_part(many, strips, seed)
    assert len(chosen) in (5, 10)
    assert {f.name[0] for f in kept}.isdisjoint(f.name[0] for f in chosen)
    few = [tmp_path / f"{strip}_{i}.png" for strip in range(2) for i in range(20)]
    kept, chosen = third_part(few, strips, seed)
    assert len(chosen) == 5  # not half of them
    assert set(kept) | set(chosen) == set(few)
    unseen = few[:3]
    _, chosen = third_part(few, strips, seed, set(few) - set(unseen))
    assert set(chosen) <= set(unseen)
    _, chosen = third_part(few, strips, seed, few)  # all were seen: any will do
    assert len(chosen) == 5


def test_folds_keep_groups_together() -> None:
    names = [f"strip{i // 3}" for i in range(24)]
    found = folds(names)
    assert sorted(set(found)) == [0, 1, 2, 3]
    assert len({(name, fold) for name, fold in zip(names, found, strict=True)}) == 8
    assert max(found.count(fold) for fold in range(4)) == 6


@pytest.mark.parametrize(
    "names",
    [["a"] * 8, ["a"] * 3 + ["b"] * 5, [str(i) for i in range(8)], ["a"] * 4 + list("bcdefghi")],
)
def test_a_group_larger_than_a_fold_is_not_kept_together(names: list[str]) -> None:
    found = folds(names)
    assert max(found.count(fold) for fold in range(4)) <= -(-len(names) // 4)


def test_folds_are_alike_where_groups_are_not() -> None:
    names = [
        str(i)
        for i, size in enumerate([10, 1, 1, 1, 10, 1, 1, 1, 10, 1, 1, 2])
        for _ in range(size)
    ]
    found = folds(names)
    assert len(set(zip(names, found, strict=True))) == 12
    assert {found.count(fold) for fold in range(4)} == {10}


def test_folds_of_few_pictures() -> None:
    assert folds(["a"]) == [0]
    assert sorted(set(folds(["a", "b"]))) == [0, 1]
