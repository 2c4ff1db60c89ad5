"""Why the presets are what they are, measured on the generated fabric alone.

    python benchmarks/preset_choice.py [--work DIR] [--result FILE]

Trains the `autoencoder` preset with and without flips and initialization, compares held-out losses,
then takes the trained network through residual windows. No real test picture is looked at. What is
there under ``before_the_gradient_was_clipped`` comes from an earlier recipe and stays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from machine import load_result, save_result
from ssim_ae import train
from ssim_ae.config import ResidualSettings
from ssim_ae.data.layouts import test_pictures
from ssim_ae.data.synthetic import make_dataset
from ssim_ae.evaluation.metrics import PixelCounts, auroc, per_score
from ssim_ae.model.anomaly_map import Residual
from ssim_ae.model.findings import Findings
from ssim_ae.model.inspector import Inspector
from ssim_ae.model.network import Autoencoder
from ssim_ae.model.tiling import TiledReconstruction
from ssim_ae.model.weights import load_weights
from ssim_ae.runtime.detector import Detector

RESULT = Path(__file__).parent / "results" / "preset_choice.json"
FLIPS = {"augment.p_horizontal_flip": 0.3, "augment.p_vertical_flip": 0.3}
TRAININGS: dict[str, dict[str, Any]] = {
    "autoencoder": {},
    "autoencoder, flips 0.3": FLIPS,
    "autoencoder, xavier": {"initialization": "xavier"},
}
RESIDUALS: dict[str, list[dict[str, Any]]] = {
    "ssim, uniform 11": [{"kind": "ssim"}],
    "ssim, sigma 1.5": [{"kind": "ssim", "sigma": 1.5}],
    "ssim, sigma 2.5": [{"kind": "ssim", "sigma": 2.5}],
    "ssim, sigma 4": [{"kind": "ssim", "sigma": 4}],
    "ssim, sigma 6": [{"kind": "ssim", "sigma": 6}],
    "ssim, sigma 10": [{"kind": "ssim", "sigma": 10}],
    "l1": [{"kind": "l1"}],
    "ssim, sigma 4 + 2 l1": [{"kind": "ssim", "sigma": 4}, {"kind": "l1", "weight": 2}],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/preset_choice"))
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    results = load_result(arguments.result)
    data = arguments.work / "fabric"
    make_dataset(data)
    for name, changes in TRAININGS.items():
        folder = arguments.work / name.replace(", ", "_").replace(" ", "_")
        run = train(data, "autoencoder", changes=changes, output=folder, overwrite=True)
        keys = ("seconds", "held_out_loss", "contrast")
        results.setdefault("trainings", {})[name] = {k: run.report[k] for k in keys}
        results.setdefault("residuals", {})[name] = by_residual(folder, data)
        save_result(results, arguments.result)
        print(json.dumps({name: results["trainings"][name]}), flush=True)


@torch.inference_mode()
def by_residual(run: Path, data: Path) -> dict[str, dict[str, float | None]]:
    """Pixel AUROC, AU-PRO and image AUROC of one trained network under each residual."""
    detector = Detector.load(run)
    s = detector.record.settings
    network = Autoencoder(s.tile, s.channels, s.latent, s.first_layer_channels).eval()
    load_weights(network, run / "model.safetensors")
    reconstruct = TiledReconstruction(network, s.tile, s.stride)
    tests = test_pictures(data)
    defective = np.array([not t.is_good for t in tests])
    counts = {name: PixelCounts() for name in RESIDUALS}
    scores: dict[str, list[float]] = {name: [] for name in RESIDUALS}
    for test in tests:
        pixels, geometry = detector.record.preparation.read(test.file)
        truth = geometry.mask_to_working(test.mask(geometry.original))
        picture = Inspector.picture(torch.from_numpy(pixels)[None])
        found = Findings(reconstruct(picture))
        for name, terms in RESIDUALS.items():
            residual = Residual(ResidualSettings.model_validate({"terms": terms}))
            anomaly_map = residual(picture, found)[0].numpy()
            counts[name].add(anomaly_map, truth)
            scores[name].append(float(anomaly_map.max()))
    return {
        name: {
            "pixel_auroc": counts[name].auroc(),
            "aupro_30": counts[name].aupro(0.3),
            "image_auroc": auroc(*per_score(np.array(scores[name]), defective)),
        }
        for name in RESIDUALS
    }


if __name__ == "__main__":
    main()
