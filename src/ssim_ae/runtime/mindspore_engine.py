"""MindSpore as an engine: runs a MindIR, made for pictures of one size, on the CPU."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssim_ae.data.images import Map, Pixels
from ssim_ae.errors import DetectorError, InputError, PictureError, SsimAeError

AVX2 = 0x7  # oneDNN's dnnl_cpu_isa_avx2


def graph_mode() -> Any:
    """The module ``mindspore``, set to compile whole graphs for the CPU.

    Raises:
        InputError: not installed.
    """
    try:
        import mindspore as ms
    except ImportError:
        raise InputError(
            "mindspore is not installed: pip install mindspore (there are wheels for Python 3.11)"
        ) from None
    _fast_convolutions(Path(ms.__file__).parent / "lib" / "libdnnl.so.3")
    ms.set_context(mode=ms.GRAPH_MODE)  # the other mode does not work with NumPy 2
    ms.set_device("CPU")
    return ms


def _fast_convolutions(library: Path) -> None:
    """Keep MindSpore's own oneDNN from a kernel that takes a hundred times as long.

    MindSpore stores planes one after another; for those oneDNN 3.10 picks its reference kernel on
    CPUs with AVX-512, and a fast one if told that there is AVX2 only. Its first use settles it.
    """
    if "ONEDNN_MAX_CPU_ISA" in os.environ or platform.machine().lower() not in ("x86_64", "amd64"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another build of MindSpore
        ctypes.CDLL(str(library)).dnnl_set_max_cpu_isa(AVX2)


def reason_of(error: Exception) -> str:
    """The first line of a MindSpore error that says something; rulers come first."""
    lines = (line.strip(" -") for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


class MindSpore:
    """MindSpore on the CPU; takes pictures of the one size that its file was exported for."""

    name = "mindspore"

    def __init__(
        self, file: Path, picture: Sequence[int], outputs: Sequence[str], threads: int | None = None
    ) -> None:
        """Load a MindIR.

        Args:
            file: detector.mindir.
            picture, outputs: as in the ``Sidecar`` beside it.
            threads: hold for the whole process: the first engine that names some settles it.

        Raises:
            DetectorError: MindSpore refuses the graph.
        """
        self._picture, self._names = tuple(picture), tuple(outputs)
        self.size = self._picture[:2]
        self._ms = graph_mode()
        self._turn = threading.Lock()  # nothing says that threads may share a graph
        if threads is not None:
            with contextlib.suppress(RuntimeError):  # settled by an earlier engine
                self._ms.device_context.cpu.op_tuning.threads_num(threads)
        try:
            self._graph = self._ms.nn.GraphCell(self._ms.load(str(file)))
        except Exception as error:  # its loader raises whatever it meets
            reason = reason_of(error)
            raise DetectorError(f"MindSpore refuses the graph ({reason})") from None

    def run(self, batch: Pixels) -> tuple[Map, Map]:
        found = self.outputs(batch)
        return found["anomaly_map"], found["score"]

    def outputs(self, batch: Pixels) -> dict[str, NDArray[Any]]:
        """Of uint8 ``[n, h, w(, 3)]`` of the file's own size.

        Raises:
            PictureError: pictures of another size or kind.
            SsimAeError: it fails on them.
        """
        if batch.shape[1:] != self._picture or batch.dtype != np.uint8 or not len(batch):
            raise PictureError(
                f"pictures are {batch.dtype} {batch.shape[1:]}, but the MindIR takes uint8 "
                f"{self._picture}: export one for this size"
            )
        try:
            with self._turn:
                results = self._graph(self._ms.Tensor(np.ascontiguousarray(batch)))
                return {n: x.asnumpy() for n, x in zip(self._names, results, strict=True)}
        except Exception as error:  # as above
            reason = reason_of(error)
            raise SsimAeError(
                f"MindSpore failed on {batch.shape} ({reason}): free memory, or use fewer pictures"
            ) from None
