from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssim_ae.config import AugmentSettings
from ssim_ae.data import picture_store
from ssim_ae.data.images import readable, size_of
from ssim_ae.data.patches import batch_seed, draw_patches
from ssim_ae.data.picture_store import PictureStore
from ssim_ae.data.working_size import Preparation, much_rescaled, of_many_sizes
from ssim_ae.errors import InputError
from ssim_ae.model.joint import JointNetwork
from ssim_ae.training.assemble import count_colors

NONE = AugmentSettings(p_rotate=0, p_horizontal_flip=0, p_vertical_flip=0)
PLENTY = 1 << 30


def store(folder: Path, shapes: list[tuple[int, ...]], memory: int = PLENTY) -> PictureStore:
    rng = np.random.default_rng(0)
    files = []
    for i, shape in enumerate(shapes):
        files.append(folder / f"{i}.png")
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(files[-1])
    color = "grey" if len(shapes[0]) == 2 else "rgb"
    return PictureStore(files, Preparation(color, None, None), 16, memory)


def is_crop(patch: np.ndarray, pictures: list[np.ndarray]) -> bool:
    windows = [np.lib.stride_tricks.sliding_window_view(p, patch.shape) for p in pictures]
    return any((w == patch).all(axis=(-1, -2)).any() for w in windows)


def test_large_pictures_are_decoded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_store, "LARGE", 24 * 30 - 1)
    streamed = store(tmp_path, [(24, 30)] * 3, memory=0)
    numbers = torch.tensor([2, 0, 2, 1])
    assert [p.tolist() for p in streamed.portions(numbers)] == [[1], [3], [0, 2]]


@pytest.mark.parametrize("height", [1023, 1025, 2049])
def test_colours_of_tall_pictures_are_counted(tmp_path: Path, height: int) -> None:
    network = JointNetwork(first_layer_channels=2, latent=2)
    count_colors(network, store(tmp_path, [(height, 16)]))
    assert float(network.colors.rarity.std()) > 0


def test_plain_patches_are_crops(tmp_path: Path) -> None:
    s = store(tmp_path, [(24, 30)] * 3)
    pictures = [np.array(Image.open(f)) for f in s.files]
    patches = draw_patches(s, 20, 16, NONE, seed=1)
    assert patches.shape == (20, 1, 16, 16)
    values = torch.round(patches * 255).numpy().astype(np.uint8)[:, 0]
    assert all(is_crop(v, pictures) for v in values)
    flip = AugmentSettings(p_rotate=0, p_horizontal_flip=1, p_vertical_flip=1)
    flipped = draw_patches(s, 20, 16, flip, seed=1)
    assert torch.equal(flipped, patches.flip(2, 3))


def test_same_seed_same_patches_and_streaming_changes_nothing(tmp_path: Path) -> None:
    augment = AugmentSettings(rotate_angle=45, p_rotate=0.5)
    memory, disk = store(tmp_path, [(24, 30, 3)] * 3), store(tmp_path, [(24, 30, 3)] * 3, memory=0)
    assert memory.in_memory
    assert not disk.in_memory
    a = draw_patches(memory, 16, 16, augment, seed=7)
    assert a.shape == (16, 3, 16, 16)
    assert torch.equal(a, draw_patches(disk, 16, 16, augment, seed=7))
    mixed = [(24 + i, 30, 3) for i in range(7)]  # of many sizes, taken in portions
    numbers = torch.tensor([6, 0, 3, 3, 5, 1, 0, 2])
    portions = list(store(tmp_path, mixed, memory=0).portions(numbers))
    assert len(portions) == 2
    assert sorted(torch.cat(portions).tolist()) == list(range(8))
    few, many = (store(tmp_path, mixed, memory=m) for m in (0, PLENTY))
    b, c = (draw_patches(s, 16, 16, augment, seed=7) for s in (few, many))
    assert torch.equal(b, c)
    assert not torch.equal(a, draw_patches(memory, 16, 16, augment, seed=8))


def test_rotation(tmp_path: Path) -> None:
    s = store(tmp_path, [(48, 48)])
    always = AugmentSettings(rotate_angle=0, p_rotate=1, p_horizontal_flip=0, p_vertical_flip=0)
    plain = draw_patches(s, 8, 16, NONE, seed=2)
    torch.testing.assert_close(draw_patches(s, 8, 16, always, seed=2), plain)  # by 0 degrees
    from ssim_ae.data.patches import _rotated

    corner = torch.tensor([9])
    pictures = s.take(torch.zeros(1, dtype=torch.long))
    quarter = _rotated(pictures, corner, corner, torch.tensor([torch.pi / 2]), 16)
    crop = s.picture(0)[0, 9:25, 9:25].float()
    torch.testing.assert_close(quarter[0], torch.rot90(crop, 1, (0, 1)), atol=1e-2, rtol=0)


def test_rotated_corners_are_mirrored_back(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "white.png")
    s = PictureStore([tmp_path / "white.png"], Preparation("grey", None, None), 16, PLENTY)
    turned = AugmentSettings(rotate_angle=45, p_rotate=1)
    patches = draw_patches(s, 32, 16, turned, seed=3)
    torch.testing.assert_close(patches, torch.ones_like(patches))  # no corner is black


def test_seeds_differ_by_step_and_rank() -> None:
    seeds = {batch_seed(0, step, rank) for step in range(50) for rank in range(4)}
    assert len(seeds) == 200
    assert batch_seed(1, 0, 0) not in seeds


@pytest.mark.parametrize("shapes", [[(24, 30), (40, 17), (16, 16)], [(24, 30, 3), (16, 40, 3)]])
@pytest.mark.parametrize("memory", [PLENTY, 0])
def test_pictures_of_any_sizes(shapes: list[tuple[int, ...]], memory: int, tmp_path: Path) -> None:
    s = store(tmp_path, shapes, memory)
    pictures = [np.array(Image.open(f)) for f in s.files]
    for i, picture in enumerate(pictures):
        assert np.array_equal(s.picture(i)[0].numpy(), picture)
    assert s.shortest == 16
    assert s.bytes == sum(p.size for p in pictures)
    patches = torch.round(draw_patches(s, 300, 16, NONE, seed=1)[:, 0] * 255).numpy()
    planes = [p.reshape(*p.shape[:2], -1)[..., 0] for p in pictures]  # red tells as much
    fits = np.array([[is_crop(patch.astype(np.uint8), [p]) for p in planes] for patch in patches])
    assert fits.any(1).all()
    assert (fits.sum(0) > 60).all()  # every picture as often as the next, whatever its size
    turned = draw_patches(s, 16, 16, AugmentSettings(rotate_angle=45, p_rotate=1), seed=2)
    assert turned.shape == (16, len(s.picture(0).shape[3:]) * 2 + 1, 16, 16)


def test_corners_of_the_smaller_picture_are_mirrored_into_it(tmp_path: Path) -> None:
    for i, (side, value) in enumerate([(16, 255), (40, 0)]):
        Image.fromarray(np.full((side, side), value, np.uint8)).save(tmp_path / f"{i}.png")
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    s = PictureStore(files, Preparation("grey", None, None), 16, PLENTY)
    patches = draw_patches(s, 64, 16, AugmentSettings(rotate_angle=45, p_rotate=1), seed=3)
    means = patches.mean((1, 2, 3))
    assert set(means.round(decimals=4).tolist()) == {0.0, 1.0}  # never a pixel of the other


def test_a_picture_lying_on_its_side_is_stored_upright(tmp_path: Path) -> None:
    lying = Image.Exif()
    lying[274] = 6
    pixels = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
    Image.fromarray(pixels).save(tmp_path / "0.png", exif=lying)
    for memory in (PLENTY, 0):
        s = PictureStore([tmp_path / "0.png"], Preparation("grey", None, None), 16, memory)
        assert torch.equal(s.picture(0)[0], torch.from_numpy(np.rot90(pixels, -1).copy()))


def test_small_and_unreadable_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="smaller than a 16x16 patch"):
        store(tmp_path, [(24, 12)])
    (tmp_path / "0.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"0\.png"):
        PictureStore([tmp_path / "0.png"], Preparation("grey", None, None), 16, PLENTY)


def test_what_much_smaller_pictures_lose_is_said(tmp_path: Path) -> None:
    for side in (130, 400):
        Image.fromarray(np.zeros((side, 2 * side), np.uint8)).save(tmp_path / f"{side}.png")
    sizes = {f: size_of(f) for f in sorted(tmp_path.iterdir())}
    line = str(much_rescaled(sizes, 64, 16))
    assert line.startswith("pictures of 800x400 are reduced 6.2 times (resize=64)")
    assert "narrower than about 7 pixels" in line
    assert much_rescaled(sizes, 200, 16) is much_rescaled(sizes, None, 16) is None


def test_pictures_blown_up_for_nothing_are_said(tmp_path: Path) -> None:
    for side in (50, 100):
        Image.fromarray(np.zeros((side, 2 * side), np.uint8)).save(tmp_path / f"{side}.png")
    sizes = {f: size_of(f) for f in sorted(tmp_path.iterdir())}
    line = str(much_rescaled(sizes, 256, 128))
    assert line.startswith("pictures of 200x100 are enlarged 2.6 times (resize=256)")
    assert line.endswith("--set resize=128 is enough")  # patches must fit
    assert much_rescaled(sizes, 256, 16).endswith("--set resize=100 is enough")
    assert much_rescaled(sizes, 200, 128) is None  # twice and no more
    assert much_rescaled(sizes, 256, 256) is None  # less is not to be had


def test_pictures_of_several_sizes_are_said(tmp_path: Path) -> None:
    for side in (100, 120, 200):
        Image.fromarray(np.zeros((side, 300), np.uint8)).save(tmp_path / f"{side}.png")
    sizes = {f: size_of(f) for f in sorted(tmp_path.iterdir())}
    line = str(of_many_sizes(sizes, 64))
    assert line.startswith("pictures are of 300x100 (100.png) to 300x200 (200.png)")
    assert "up to 2.0 times as large" in line
    assert of_many_sizes(sizes, None) is None  # nothing is resized
    assert of_many_sizes(dict(list(sizes.items())[:2]), 64) is None  # 1.2 times: as pictures are


def test_all_unreadable_pictures_are_told_at_once(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.png" for i in range(6)]
    for file in files:
        file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"6 of 6 pictures .*0\.png.*2\.png.*; and 3 more"):
        readable(files)
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(files[4])
    kept, errors = readable(files)
    assert kept == [files[4]]
    assert len(errors) == 5
