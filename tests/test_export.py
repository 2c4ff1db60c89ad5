"""Exports of a tiny run: equal to it, refused when they are not, and never half there."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from ssim_ae import Detector, train
from ssim_ae.data.images import read_picture
from ssim_ae.deploy import openvino as ir
from ssim_ae.deploy.export import check, export
from ssim_ae.deploy.int8 import network_nodes
from ssim_ae.deploy.mindspore_checkpoint import read_checkpoint
from ssim_ae.deploy.parity import BOUNDS, ParityError, precision_of
from ssim_ae.deploy.sample import read_sample, size_to_fix
from ssim_ae.errors import DetectorError, InputError, PictureError, SsimAeError
from ssim_ae.model.weights import WEIGHTS
from ssim_ae.runtime.benchmark import benchmark
from ssim_ae.runtime.blocks import Tiling
from ssim_ae.runtime.constants import read_constants
from ssim_ae.runtime.engines import ENGINES, start_engine, why_not
from ssim_ae.runtime.exported import sidecar_of
from ssim_ae.runtime.openvino_engine import BF16, OpenVino
from ssim_ae.runtime.record import FORMAT, Thresholds, constants_of, write_detector
from ssim_ae.training.calibrate import calibrate
from ssim_ae.training.from_checkpoint import run_from_checkpoint
from tests.conftest import TINY

openvino = pytest.importorskip("openvino")


@pytest.fixture
def own(run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def picture(fabric: Path) -> Path:
    return next((fabric / "test" / "hole").glob("*.png"))


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def test_openvino_says_what_the_detector_says(own: Path, picture: Path, tmp_path: Path) -> None:
    made = export(own, "openvino", pictures=[picture])
    assert left(own / "exports") == ["detector.bin", "detector.xml", "detector.xml.json"]
    assert [f.name for f in made.files] == ["detector.xml", "detector.bin", "detector.xml.json"]
    assert made.parity is not None
    kept = len(list((own / "sample").glob("*.png")))
    assert made.parity.pictures == kept + 1
    moved = tmp_path / "line"
    shutil.copytree(own / "exports", moved)  # needs nothing of the run
    expected, found = Detector.load(own).inspect(picture), None
    found = Detector.load(moved / "detector.xml").inspect(picture)
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=2e-4)
    assert found.is_defective == expected.is_defective
    again = check(own, moved / "detector.xml")
    assert again.parity is not None
    assert again.parity.map <= 2e-4


@pytest.mark.parametrize(("to", "precision", "file"), [
    ("openvino", "fp16", "detector-fp16.xml"), ("openvino", "int8", "detector-int8.xml"),
    ("onnx", "int8", "detector-int8.onnx"), ("onnx", "float32", "detector.onnx"),
])  # fmt: skip
def test_other_precisions_pass_their_gate(own: Path, to: str, precision: str, file: str) -> None:
    made = export(own, to, precision=precision)
    assert made.files[0] == own / "exports" / file
    other = Detector.load(made.files[0])
    assert other.record.precision == precision
    assert other.thresholds == Detector.load(own).thresholds
    assert made.parity is not None
    assert (made.parity.map > 0) == (precision != "float32")


def test_half_precision_keeps_the_thresholds_whole(own: Path) -> None:
    import openvino

    file = export(own, "openvino", precision="fp16").files[0]
    model = openvino.Core().read_model(file)
    found = {op.get_friendly_name(): op for op in model.get_ops() if "threshold" in
             op.get_friendly_name() and op.get_type_name() == "Constant"}  # fmt: skip
    wanted = constants_of(Detector.load(own).thresholds)
    assert {name: float(op.data) for name, op in found.items()} == wanted
    weights = [op.data for op in model.get_ops() if op.get_type_name() == "Constant"]
    assert max(weights, key=np.size).dtype == np.float16


def test_int8_quantizes_the_network_and_nothing_else(own: Path) -> None:
    model = onnx.load(export(own, "onnx", precision="int8").files[0])
    before = onnx.load(own / "detector.onnx")
    chosen = set(network_nodes(before))
    assert 10 < len(chosen) < sum(n.op_type.startswith("Conv") for n in before.graph.node)
    producers = {out: n for n in model.graph.node for out in n.output}
    quantized = [
        n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")
        and producers[n.input[0]].op_type == "DequantizeLinear"
    ]  # fmt: skip
    assert len(quantized) == len(chosen)


def test_the_gate_refuses_and_leaves_nothing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = ir.ir_bytes

    def spoilt(graph: bytes, half: bool) -> tuple[bytes, bytes]:
        model = onnx.load_from_string(graph)
        bias = next(t for t in model.graph.initializer if t.name.endswith("decoder.0.bias"))
        values = np.frombuffer(bias.raw_data, np.float32) + 0.05
        bias.raw_data = values.astype(np.float32).tobytes()
        return real(model.SerializeToString(), half)

    monkeypatch.setattr(ir, "ir_bytes", spoilt)
    with pytest.raises(ParityError, match=r"detector\.xml: not kept, .*map differs by"):
        export(own, "openvino")
    assert left(own / "exports") == []


def test_what_lies_beside_an_export_must_belong_to_it(own: Path) -> None:
    export(own, "openvino")
    file, beside = own / "exports" / "detector.xml", own / "exports" / "detector.xml.json"
    weights = file.with_suffix(".bin").read_bytes()
    file.with_suffix(".bin").write_bytes(weights[:-4] + b"\0\0\x80?")
    with pytest.raises(DetectorError, match=r"is not what detector\.xml\.json was written for"):
        Detector.load(file)
    file.with_suffix(".bin").unlink()
    with pytest.raises(DetectorError, match=r"detector\.bin: cannot be read"):
        Detector.load(file)
    beside.write_text("{}")
    with pytest.raises(DetectorError, match=r"detector\.xml\.json: is damaged"):
        Detector.load(file)
    beside.unlink()
    with pytest.raises(DetectorError, match=r"detector\.xml\.json: cannot be read.*copy it too"):
        Detector.load(file)


def test_new_thresholds_need_a_new_export(own: Path, fabric: Path) -> None:
    export(own, "openvino")
    file = own / "exports" / "detector.xml"
    with pytest.raises(InputError, match="calibrate the run and export it again"):
        calibrate(file, fabric / "test" / "good")
    calibrate(own, fabric / "test" / "good")
    detector = Detector.load(own)
    constants = read_constants(detector.file.read_bytes())
    assert constants["score_threshold"] == detector.thresholds.score
    with pytest.raises(ParityError, match="other thresholds"):
        check(own, file)


def test_wrong_use_is_found_before_work(own: Path, tmp_path: Path) -> None:
    cases = [
        (("tflite",), {}, "target 'tflite' is unknown: known are onnx"),
        (("onnx",), {"precision": "fp16"}, "'fp16' is not to be had for onnx: use float32, int8"),
        (("openvino",), {"output": tmp_path / "x.onnx"}, r"ends in \.xml"),
        (("onnx",), {"output": own / "detector.onnx"}, "is the detector itself"),
        (("openvino",), {"pictures": [tmp_path / "none.png"]}, "does not exist"),
    ]
    for targets, options, words in cases:
        with pytest.raises(InputError, match=words):
            export(own, *targets, **options)
    assert left(own / "exports") == []
    alone = tmp_path / "alone.onnx"
    shutil.copy(own / "detector.onnx", alone)
    with pytest.raises(InputError, match="keeps no pictures to compare"):
        export(alone, "openvino")
    with pytest.raises(InputError, match="keeps no good pictures"):
        export(alone, "onnx", precision="int8", pictures=[own / "sample" / "good_0.png"])
    export(own, "openvino")
    with pytest.raises(InputError, match="is an export itself"):
        export(own / "exports" / "detector.xml", "onnx")


def test_pictures_of_another_size_are_cut_or_continued_for_a_fixed_one(
    own: Path, tmp_path: Path
) -> None:
    detector = Detector.load(own)
    assert size_to_fix(detector, []) == (160, 176)  # of the run's own sample
    large = tmp_path / "large.png"
    noise = np.random.default_rng(0).integers(0, 256, (700, 600), np.uint8)
    Image.fromarray(noise).save(large)
    assert size_to_fix(detector, [large]) == (700, 600)
    *kept, last = read_sample(detector, [large], (650, 600))
    assert {p.shape for p in kept} == {(650, 600)}
    np.testing.assert_array_equal(last, noise[25:675])
    first = read_picture(sorted((own / "sample").glob("*.png"))[0], "grey")
    np.testing.assert_array_equal(kept[0][:320, :176], np.concatenate([first, first[::-1]]))
    assert read_sample(detector, [large])[-1].shape == (512, 512)
    for file in (own / "sample").glob("*.png"):
        Image.fromarray(noise[:512, :512]).save(file)  # a window of something larger
    with pytest.raises(InputError, match=r"does not tell how large .* --size HEIGHT WIDTH"):
        size_to_fix(detector, [])


def test_files_of_a_run_are_not_exported_over(own: Path, run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    before = (other / "detector.onnx").read_bytes()
    for file in (other / "detector.onnx", own / "no_model.onnx"):
        with pytest.raises(InputError, match="is a file of the run in"):
            export(own, "onnx", output=file)
    assert (other / "detector.onnx").read_bytes() == before
    assert export(own, "onnx", output=other / "of_another.onnx").files


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_threads_that_share_a_detector_get_their_own_results(own: Path, engine: str) -> None:
    detector = Detector.load(own, engine)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (160, 176), np.uint8) for _ in range(4)]
    expected = [detector.inspect(p).working_map for p in pictures]
    order = rng.integers(0, 4, 60)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: detector.inspect(pictures[i]).working_map, order))
    for i, working_map in zip(order, found, strict=True):
        np.testing.assert_array_equal(working_map, expected[i])


@pytest.mark.skipif(why_not("mindspore") is not None, reason="mindspore is not installed")
def test_sizes_of_a_mindir(own: Path) -> None:
    with pytest.raises(InputError, match="below 128 pixels"):
        export(own, "mindir", size=(100, 200))
    assert export(own, "mindir").files[0] == own / "exports" / "detector.mindir"
    large = export(own, "mindir", size=(544, 160))  # larger than any picture that the run keeps
    assert large.parity is not None
    assert check(own, large.files[0]).parity is not None
    assert Detector.load(large.files[0]).engine.size == (544, 160)


def test_the_sample_holds_good_and_defective_pictures(run: Path) -> None:
    folder = run / "sample"
    good, defective = sorted(folder.glob("good_*.png")), sorted(folder.glob("defective_*.png"))
    assert len(good) == len(defective) > 3
    for clean, changed in zip(good, defective, strict=True):
        a, b = read_picture(clean, "grey"), read_picture(changed, "grey")
        assert a.shape == b.shape == (160, 176)
        assert 0 < (a != b).mean() < 1


def test_torch_as_an_engine(own: Path, picture: Path) -> None:
    expected, found = (Detector.load(own, name).inspect(picture) for name in (None, "torch"))
    np.testing.assert_allclose(found.anomaly_map, expected.anomaly_map, atol=2e-4)
    pixels = read_picture(picture, "grey")[None]
    outputs = Detector.load(own, "torch").engine.outputs(pixels)
    for name, value in Detector.load(own).engine.outputs(pixels).items():
        assert outputs[name].dtype == value.dtype
        assert outputs[name].shape == value.shape
    weights = own / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(DetectorError, match="belongs to another training"):
        Detector.load(own, "torch")
    weights.unlink()
    with pytest.raises(InputError, match="name the whole run folder"):
        Detector.load(own, "torch")


def test_engines_that_cannot_run_here_say_why(own: Path) -> None:
    assert why_not("onnxruntime") is None
    unusable = [name for name in ENGINES if why_not(name)]
    for name in unusable:
        with pytest.raises(InputError, match=r"not to be had|takes no"):
            Detector.load(own, name)
    export(own, "openvino")
    with pytest.raises(InputError, match=r"onnxruntime takes no \.xml file, but \.onnx"):
        Detector.load(own / "exports" / "detector.xml", "onnxruntime")


@pytest.mark.skipif(why_not(BF16) is not None, reason="no bf16 on this processor")
def test_bf16_is_near_float32_and_held_to_its_own_bounds(own: Path) -> None:
    made = export(own, "openvino").files[0]
    for file in (own / "detector.onnx", made):  # both hold float32
        found = check(own, file, BF16)
        assert found.precision == "bf16"
        assert found.parity is not None
        assert found.parity.map > BOUNDS["float32"].map  # it does compute in bf16
        assert found.parity.failures(BOUNDS["bf16"]) == []
    assert Detector.load(made, BF16).engine.name == BF16
    small = export(own, "openvino", precision="int8").files[0]
    assert precision_of(Detector.load(small, BF16)) == "int8"


def test_a_processor_without_bf16_is_told(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32", "INT8"])
    assert why_not("openvino") is None
    with pytest.raises(InputError, match=r"bf16 is not to be had: .* use openvino, in float32"):
        Detector.load(own, BF16)


def test_the_joint_network_is_refused_in_bf16(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["BF16"])
    record = Detector.load(own).record
    settings = record.settings.model_copy(update={"network": "joint"})
    file = own / "detector.onnx"
    with pytest.raises(InputError, match=r"do not survive bf16: use openvino"):
        start_engine(
            BF16, file, file.read_bytes(), record.model_copy(update={"settings": settings})
        )


@pytest.mark.parametrize("engine", ["openvino", BF16, "torch", "onnxruntime"])
def test_a_library_that_does_not_load_is_told(
    own: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    def broken(name: str) -> None:
        raise ImportError("libtbb.so.12: cannot open shared object file\nmore")

    monkeypatch.setattr("ssim_ae.runtime.engines.import_module", broken)
    with pytest.raises(InputError, match=r"does not load \(libtbb\.so\.12: .*\): install it again"):
        Detector.load(own, engine)


def test_an_export_of_a_newer_version_is_not_called_damaged(own: Path) -> None:
    file = export(own, "openvino").files[0]
    beside = sidecar_of(file)
    written = json.loads(beside.read_text())
    written["record"] |= {"format": FORMAT + 1, "something_new": 1}
    beside.write_text(json.dumps(written))
    with pytest.raises(DetectorError, match=f"format {FORMAT + 1} is newer than {FORMAT}: upgrade"):
        Detector.load(file)
    written["record"]["format"] = FORMAT
    beside.write_text(json.dumps(written))
    with pytest.raises(DetectorError, match=r"damaged \(record\.something_new: .*export the run"):
        Detector.load(file)


def test_zoo_checkpoints_both_ways(own: Path, fabric: Path, picture: Path, tmp_path: Path) -> None:
    file = export(own, "ckpt").files[0]
    assert "encoded.0.weight" in read_checkpoint(file)
    made = tmp_path / "made"
    notes = run_from_checkpoint(file, made, changes=["resize=null"])
    assert any("ssim-ae calibrate" in note for note in notes)
    with pytest.raises(DetectorError, match="not calibrated"):
        Detector.load(made).inspect(picture)
    with pytest.raises(DetectorError, match="not calibrated"):
        export(made, "openvino")
    calibrate(made, fabric / "test" / "good")
    assert Detector.load(made).inspect(picture).score > 0
    with pytest.raises(InputError, match="exists already"):
        run_from_checkpoint(file, made)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert any("unknown" in warning for warning in Detector.load(made).record.warnings)
    # the same weights through --init-from: a step at a rate of nearly nothing changes nothing
    still = [*TINY, "steps=1", "learning_rate=1e-9"]
    warm = train(fabric, "autoencoder", changes=still, output=tmp_path / "warm", init_from=file)
    pixels = read_picture(picture, "grey")[None]
    expected, found = (Detector.load(r).engine.run(pixels)[0] for r in (own, warm.folder))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(InputError, match="holds the reference network"):
        train(fabric, "auto", changes=TINY, output=tmp_path / "no", init_from=file)
    (tmp_path / "bad.ckpt").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"bad\.ckpt"):
        run_from_checkpoint(tmp_path / "bad.ckpt", tmp_path / "no2")
    assert not (tmp_path / "no2").exists()


def test_int8_keeps_thresholds_of_equal_value(own: Path) -> None:
    """Its tools merge constants of one value; a pixel threshold may equal the score's."""
    detector = Detector.load(own)
    equal = Thresholds(score=0.5, pixel=0.5)  # and another constant of the graph
    record = detector.record.model_copy(update={"thresholds": equal})
    write_detector(detector.file.read_bytes(), record, detector.file)
    file = export(own, "onnx", precision="int8").files[0]
    assert read_constants(file.read_bytes()) == {"score_threshold": 0.5, "pixel_threshold": 0.5}
    with pytest.raises(InputError, match="is an export itself"):
        export(file, "openvino")


def test_weights_of_another_training_are_not_exported(own: Path, fabric: Path) -> None:
    other = train(fabric, "autoencoder", changes=[*TINY, "latent=9"], output=own.with_name("other"))
    shutil.copy(other.folder / WEIGHTS, own / WEIGHTS)
    with pytest.raises(DetectorError, match="belongs to another training"):
        export(own, "ckpt")
    assert left(own / "exports") == []


def test_an_engine_that_fails_says_so_in_one_line(run: Path) -> None:
    colour = np.zeros((1, 160, 176, 3), np.uint8)  # the detector is grey
    for name in ("onnxruntime", "openvino", "torch"):
        with pytest.raises(SsimAeError, match=r"failed on \(1, 160, 176, 3\)") as caught:
            Detector.load(run, name).engine.run(colour)
        assert "\n" not in str(caught.value)


def test_a_missing_engine_is_told_before_work(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ssim_ae.runtime.engines.find_spec", lambda n: None if n == "openvino" else find_spec(n)
    )
    with pytest.raises(InputError, match=r"checked on openvino, which is missing.*pip install"):
        export(own, "openvino")


def test_large_pictures_are_compared_on_their_middle(own: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((700, 600), np.uint8)).save(tmp_path / "large.png")
    Image.fromarray(np.zeros((100, 600), np.uint8)).save(tmp_path / "small.png")
    detector = Detector.load(own)
    assert read_sample(detector, [tmp_path / "large.png"])[-1].shape == (512, 512)
    with pytest.raises(InputError, match="600x100 at working size is smaller"):
        read_sample(detector, [tmp_path / "small.png"])


def test_one_export_that_cannot_run_does_not_stop_the_benchmark(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(own, "openvino")

    def refuse(self: OpenVino, batch: np.ndarray) -> None:
        raise PictureError("made for another size")

    monkeypatch.setattr(OpenVino, "run", refuse)
    found = benchmark(own, (128, 128))["engines"]
    assert found["openvino"] == {"not_usable": "made for another size"}
    assert found["exports/detector.xml"] == {"not_usable": "made for another size"}
    assert found["onnxruntime"]["latency_ms"] > 0


def test_an_engine_that_fails_on_batches_does_not_stop_the_benchmark(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_one = OpenVino.run

    def refuse_several(self: OpenVino, batch: np.ndarray) -> object:
        if len(batch) > 1:
            raise SsimAeError("no memory for so many")
        return run_one(self, batch)

    monkeypatch.setattr(OpenVino, "run", refuse_several)
    found = benchmark(own, (128, 128))["engines"]
    assert found["openvino"] == {"not_usable": "no memory for so many"}
    assert found["onnxruntime"]["pictures_per_second"] > 0
    monkeypatch.setattr(Tiling, "room", lambda *_: 1)  # one by one, where they are large
    assert benchmark(own, (128, 128))["engines"]["openvino"]["pictures_per_second"] > 0
