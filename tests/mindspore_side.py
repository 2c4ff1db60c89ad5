"""The MindSpore half of test_zoo_weights.py, for an interpreter that has MindSpore.

In the folder named by the argument it finds ours.ckpt, pictures.npy and settings.json; it leaves
theirs.ckpt, what both networks answered, and the names that were left over.
"""

import json
import sys
from pathlib import Path

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint


def padded(inputs: int, outputs: int, kernel: int) -> list[nn.Cell]:
    """3x3 keeps the size, 4x4 halves it."""
    stride = 2 if kernel == 4 else 1
    layer = nn.Conv2d(inputs, outputs, kernel, stride, pad_mode="pad", padding=1, has_bias=True)
    return [layer, nn.LeakyReLU(0.2)]


def doubled(inputs: int, outputs: int) -> list[nn.Cell]:
    """The zoo leaves the padding of these to MindSpore's default, "same"."""
    return [nn.Conv2dTranspose(inputs, outputs, 4, 2, has_bias=True), nn.LeakyReLU(0.2)]


class Network(nn.Cell):
    """The names and places of the zoo's layers (MindSpore models, official/cv/ssim-ae)."""

    def __init__(self, tile: int, channels: int, latent: int, first_layer_channels: int) -> None:
        super().__init__()
        f, large = first_layer_channels, tile == 256
        flat = {"pad_mode": "valid", "has_bias": True}
        encoder = padded(channels, f, 4) + padded(f, f, 4) + (padded(f, f, 4) if large else [])
        encoder += padded(f, f, 3) + padded(f, 2 * f, 4) + padded(2 * f, 2 * f, 3)
        encoder += padded(2 * f, 4 * f, 4) + padded(4 * f, 2 * f, 3) + padded(2 * f, f, 3)
        self.encoded = nn.SequentialCell([*encoder, nn.Conv2d(f, latent, 8, **flat)])
        decoder = [nn.Conv2dTranspose(latent, f, 8, **flat), nn.LeakyReLU(0.2)]
        decoder += padded(f, 2 * f, 3) + padded(2 * f, 4 * f, 3) + doubled(4 * f, 2 * f)
        decoder += padded(2 * f, 2 * f, 3) + doubled(2 * f, f) + padded(f, f, 3) + doubled(f, f)
        decoder += doubled(f, f) if large else []
        last = nn.Conv2dTranspose(f, channels, 4, 2, pad_mode="pad", padding=1, has_bias=True)
        self.decoded = nn.SequentialCell([*decoder, last, nn.Sigmoid()])

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return self.decoded(self.encoded(x))


class WithLoss(nn.Cell):
    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self._net = network

    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return ((self._net(x) - x) ** 2).mean()


def trained_as_in_the_zoo(network: nn.Cell, pictures: np.ndarray, folder: Path) -> Path:
    """One step with its optimizer and its checkpoint callback."""
    data = ds.GeneratorDataset([(picture,) for picture in pictures], ["x"]).batch(len(pictures))
    optimizer = nn.AdamWeightDecay(
        network.trainable_params(), learning_rate=1e-3, weight_decay=1e-5
    )
    config = CheckpointConfig(save_checkpoint_steps=1, keep_checkpoint_max=1)
    callback = ModelCheckpoint("zoo", str(folder), config)
    model = Model(WithLoss(network), optimizer=optimizer)
    model.train(1, data, callbacks=[callback], dataset_sink_mode=False)
    (file,) = folder.glob("zoo*.ckpt")
    network.set_train(False)
    return file


def main(folder: Path) -> None:
    settings = json.loads((folder / "settings.json").read_text())
    pictures = np.load(folder / "pictures.npy")
    network = Network(**settings)
    ours = ms.load_checkpoint(str(folder / "ours.ckpt"))
    left = ms.load_param_into_net(network, ours, strict_load=True)
    np.save(folder / "with_ours.npy", network(ms.Tensor(pictures)).asnumpy())
    callback = trained_as_in_the_zoo(network, pictures, folder)
    np.save(folder / "with_theirs.npy", network(ms.Tensor(pictures)).asnumpy())
    callback.rename(folder / "theirs.ckpt")
    note = {"note": "grün", "half": ms.Tensor([1.5, -2], ms.float16)}
    note["brain"] = ms.Tensor([1.5, -2], ms.bfloat16)
    ms.save_checkpoint(network, str(folder / "crc.ckpt"), crc_check=True, append_dict=note)
    names = [parameter.name for parameter in network.get_parameters()]
    told = {"left": [list(names) for names in left], "names": names}
    (folder / "told.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
