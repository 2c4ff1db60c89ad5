"""torch as an engine: the inspection graph before its export, from the weights of a run.

For GPUs beside a training, and as what every export is compared with.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import DetectorError, InputError, SsimAeError
from ssim_ae.model.build import inspector_of, network_of
from ssim_ae.model.inspector import Inspected, Inspector
from ssim_ae.model.weights import WEIGHTS, load_weights
from ssim_ae.runtime.record import Record, constants_of, sha256


def trained_network(file: Path, record: Record) -> nn.Module:
    """The network of a run, with the weights that its detector was exported from.

    Raises:
        InputError: there are no weights beside the detector.
        DetectorError: they belong to another training.
    """
    weights = file.with_name(WEIGHTS)
    if not weights.is_file():
        raise InputError(f"{weights}: does not exist: name the whole run folder")
    if sha256(weights.read_bytes()) != record.fingerprints.get("weights"):
        raise DetectorError(f"{weights}: belongs to another training than {file.name}")
    network = network_of(record.settings).eval()
    misfits = load_weights(network, weights)
    if misfits:
        raise DetectorError(f"{weights}: does not fit {file.name} ({misfits[0]}): copy both again")
    return network


def torch_inspector(file: Path, record: Record) -> Inspector:
    """The inspection graph of a run, in float32, with the record's thresholds.

    Raises:
        InputError, DetectorError: as ``trained_network``.
    """
    inspector = inspector_of(trained_network(file, record), record.settings)
    if record.thresholds is not None:
        for name, value in constants_of(record.thresholds).items():
            inspector.get_buffer(name).fill_(value)
    return inspector


class Torch:
    """On the first CUDA device, else on the CPU."""

    name = "torch"

    def __init__(self, file: Path, record: Record) -> None:
        torch.backends.cudnn.allow_tf32 = False  # maps like those calibrated on
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        inspector = torch_inspector(file, record)
        try:
            self._inspector = inspector.to(self._device)
        except RuntimeError as error:  # out of memory, a driver that does not start
            reason = str(error).splitlines()[0]
            raise SsimAeError(
                f"torch does not start on {self._device} ({reason}): free its memory, or use "
                "another engine"
            ) from None
        convert_conv2d_weight_memory_format(self._inspector, torch.channels_last)

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        found = self.outputs(batch)
        return found["anomaly_map"], found["score"]

    @torch.inference_mode()
    def outputs(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        try:
            found: Inspected = self._inspector(torch.from_numpy(np.asarray(batch)).to(self._device))
            return {name: value.cpu().numpy() for name, value in found._asdict().items()}
        except (RuntimeError, IndexError) as error:  # out of memory, too small
            reason = str(error).splitlines()[0]
            raise SsimAeError(
                f"torch failed on {batch.shape} ({reason}): free memory, or use smaller pictures"
            ) from None
