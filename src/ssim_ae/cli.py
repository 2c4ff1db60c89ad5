"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssim_ae import __version__

if TYPE_CHECKING:
    from ssim_ae.evaluation.evaluate import Evaluation
    from ssim_ae.training.loop import Progress

TRAINING_PACKAGES = {"torch", "accelerate", "onnx", "onnxscript", "safetensors", "psutil"}
DEMO_STEPS = "steps=300"  # its defects are plain: a quarter of the usual training finds them
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON object instead.")
engine_option = click.option(
    "--engine", help="Default: the one that RUN's file is for; `ssim-ae doctor` lists them."
)
path = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssim-ae")
def cli() -> None:
    """Find and outline defects in pictures after training on good pictures only.

    RUN is a run folder or a detector.onnx. Exit codes: 0 done, 1 failed while working,
    2 wrong use or bad input.
    """


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    from ssim_ae.errors import InputError, SsimAeError

    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _fail("stopped", 1)
    except InputError as error:
        _fail(str(error), 2)
    except SsimAeError as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING_PACKAGES:
            raise
        _fail(f"{error.name} is not installed: pip install 'ssim-ae[train]'", 2)
    except BrokenPipeError:  # as in `ssim-ae inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}: check disk and path", 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


@cli.command()
@click.argument("dataset", type=path)
@click.option(
    "--preset",
    help="A starting point; auto by default (docs/settings.md).",
)
@click.option("--config", type=path, help="YAML file of settings, ours or the zoo's.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@click.option("--output", type=path, metavar="RUN", help="Run folder [runs/<dataset>].")
@click.option("--group", metavar="PATTERN", help="Regular expression on file names: pictures of "
              "one strip or part are held out together.")  # fmt: skip
@click.option("--init-from", type=path, metavar="RUN", help="Start from another run's weights, or "
              "a zoo's .ckpt.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue an interrupted run.")
@click.option("--overwrite", is_flag=True, help="Replace an existing run.")
@as_json
def train(
    dataset: Path,
    preset: str | None,
    config: Path | None,
    changes: tuple[str, ...],
    output: Path | None,
    group: str | None,
    init_from: Path | None,
    resume: bool,
    overwrite: bool,
    json_: bool,
) -> None:
    """Train on DATASET's good pictures and write a calibrated detector."""
    from ssim_ae.errors import InputError
    from ssim_ae.evaluation.conformal import confident_rate, promise

    began = time.monotonic()
    if resume and (preset or config or changes or group or init_from or overwrite):
        raise InputError("--resume takes the run's own settings: leave the other options out")
    run = _train(
        dataset,
        preset=preset,
        config=config,
        changes=[*changes, ("group", group)] if group is not None else changes,
        output=output,
        overwrite=overwrite,
        resume=resume,
        init_from=init_from,
        json_=json_,
    )
    thresholds, calibration = run.record.thresholds, run.record.calibration
    if thresholds is None or calibration is None:  # a helper process of several
        return
    numbers = {
        "run": str(run.folder),
        "detector": str(run.folder / "detector.onnx"),
        **run.report,
        "threshold": thresholds.score,
        "pixel_threshold": thresholds.pixel,
        "promised_false_reject_rate": calibration.promised_false_reject_rate,
        "false_reject_rate_with_confidence": confident_rate(calibration),
        "held_out": calibration.pictures,
        "notes": run.notes + run.record.warnings,
        "unreadable": run.unreadable,
    }
    if json_:
        click.echo(json.dumps(numbers))
    else:
        seen_as = " ".join(word for word in (run.report["color"], run.report["kind"]) if word)
        click.echo(
            f"trained {run.report['steps']} steps in {run.report['seconds']:.0f} s "
            f"({time.monotonic() - began:.0f} s in all) on {seen_as} pictures, held-out loss "
            f"{run.report['held_out_loss']:.3f}\n"
            f"threshold {thresholds.score:.4f}: {promise(calibration)}\n"
            f"detector: {run.folder / 'detector.onnx'}"
        )
    if run.unreadable:
        sys.exit(1)


@cli.command()
@click.argument("run", type=path)
@click.argument("dataset", type=path)
@click.option("--output", type=path, metavar="DIR", help="Folder [RUN/evaluation].")
@click.option("--maps", is_flag=True, help="Also write float TIFF maps for MVTec's script.")
@engine_option
@as_json
def evaluate(
    run: Path, dataset: Path, output: Path | None, maps: bool, engine: str | None, json_: bool
) -> None:
    """Measure RUN on DATASET's test pictures; writes metrics.json and report.html."""
    result = _evaluate(run, dataset, output, maps, engine, json_)
    _finish_evaluation(result, json_)


@cli.command()
@click.argument("run", type=path)
@click.argument("pictures", type=path, nargs=-1, required=True, metavar="PICTURE|FOLDER...")
@click.option("--output", type=path, metavar="DIR", help="Write a table, overlays and masks here.")
@click.option("--format", "kind", default="jsonl", show_default=True, help="jsonl, csv, parquet.")
@click.option("--maps", is_flag=True, help="Also write float TIFF maps.")
@engine_option
@as_json
def inspect(
    run: Path,
    pictures: tuple[Path, ...],
    output: Path | None,
    kind: str,
    maps: bool,
    engine: str | None,
    json_: bool,
) -> None:
    """Score PICTUREs, or every picture in FOLDERs, and say which are defective."""
    from ssim_ae.errors import InputError
    from ssim_ae.runtime.inspect import inspect_pictures

    if output is None and (maps or kind in ("csv", "parquet")):
        raise InputError("--maps and --format are for files: say where with --output DIR")
    show = (lambda line: None) if json_ else click.echo
    summary = inspect_pictures(
        run, pictures, output, kind, maps, engine, show, lambda line: click.echo(line, err=True)
    )
    if json_:
        click.echo(json.dumps(summary))
    elif output is not None:
        click.echo(f"results: {output}")
    if summary["unreadable"]:
        sys.exit(1)


@cli.command()
@click.argument("run", type=path)
@click.argument("dataset", type=path)
@click.option("--false-reject-rate", type=float, default=0.05, show_default=True)
@click.option("--group", metavar="PATTERN", help="Regular expression on file names.")
@as_json
def calibrate(
    run: Path, dataset: Path, false_reject_rate: float, group: str | None, json_: bool
) -> None:
    """Set RUN's thresholds anew from good pictures it was not trained on."""
    from ssim_ae.evaluation.conformal import confident_rate, promise
    from ssim_ae.training.calibrate import calibrate as recalibrate

    record, before, notes = recalibrate(run, dataset, false_reject_rate, group)
    calibration, thresholds = record.calibration, record.thresholds
    assert calibration is not None
    assert thresholds is not None
    if json_:
        body = {
            "threshold": thresholds.score,
            "threshold_before": before,
            "pixel_threshold": thresholds.pixel,
            "false_reject_rate_with_confidence": confident_rate(calibration),
            "calibration": calibration.model_dump(),
            "notes": notes,
        }
        click.echo(json.dumps(body))
        return
    for note in notes:
        click.echo(f"note: {note}", err=True)
    old = "" if before is None else f" (was {before:.4f})"
    click.echo(f"threshold {thresholds.score:.4f}{old}: {promise(calibration)}")


@cli.command()
@click.argument("run", type=path, required=False)
@click.option("--to", help="onnx, openvino, mindir or ckpt.")
@click.option("--precision", default="float32", show_default=True, help="float32, fp16 or int8.")
@click.option("--output", type=path, metavar="FILE", help="[RUN/exports/detector...]")
@click.option("--pictures", type=path, multiple=True, metavar="PATH", help="Compare on these too: "
              "good and defective pictures, or folders of them.")  # fmt: skip
@click.option("--size", nargs=2, type=int, metavar="HEIGHT WIDTH", help="Of a MindIR.")
@click.option("--check", type=path, metavar="FILE", help="Compare an export with RUN again.")
@click.option("--engine", help="With --check: the engine to run FILE on.")
@click.option("--from-ckpt", type=path, metavar="FILE", help="Make the run --output from a zoo "
              "checkpoint, without training.")  # fmt: skip
@click.option("--config", type=path, help="With --from-ckpt: settings, ours or the zoo's.")
@as_json
def export(
    run: Path | None,
    to: str | None,
    precision: str,
    output: Path | None,
    pictures: tuple[Path, ...],
    size: tuple[int, int] | None,
    check: Path | None,
    engine: str | None,
    from_ckpt: Path | None,
    config: Path | None,
    json_: bool,
) -> None:
    """Write RUN's detector for other engines; each file is kept only if it proves equal."""
    from ssim_ae.errors import InputError

    if [to, check, from_ckpt].count(None) != 2 or (run is None) != (from_ckpt is not None):
        raise InputError(
            "say what to do: export RUN --to FORMAT, export RUN --check FILE, or "
            "export --from-ckpt FILE --output RUN"
        )
    given = {
        "--precision": precision != "float32", "--output": output, "--pictures": pictures,
        "--size": size, "--engine": engine, "--config": config,
    }  # fmt: skip
    acts = {
        "--from-ckpt": ("--output", "--config"),
        "--check": ("--pictures", "--engine"),
        "--to ckpt": ("--output",),
        "--to mindir": ("--output", "--pictures", "--size"),
        "--to": ("--precision", "--output", "--pictures"),
    }
    what = "--from-ckpt" if from_ckpt else "--check" if check else f"--to {to}"
    useless = [k for k, v in given.items() if v and k not in acts.get(what, acts["--to"])]
    if useless and to in (None, "onnx", "openvino", "mindir", "ckpt"):
        raise InputError(f"{', '.join(useless)} does nothing with {what}: leave it out")
    if from_ckpt is not None:
        from ssim_ae.training.from_checkpoint import run_from_checkpoint

        if output is None:
            raise InputError("--from-ckpt needs --output RUN: the folder to make")
        notes = run_from_checkpoint(from_ckpt, output, config)
        if json_:
            click.echo(json.dumps({"run": str(output), "notes": notes}))
            return
        for note in notes:
            click.echo(f"note: {note}", err=True)
        click.echo(f"detector: {output / 'detector.onnx'}")
        return
    from ssim_ae.deploy import export as exporting
    from ssim_ae.deploy.parity import BOUNDS

    assert run is not None
    if check is not None:
        found = exporting.check(run, check, engine, pictures)
    else:
        assert to is not None
        found = exporting.export(run, to, output, precision, pictures, size)
    files = [str(file) for file in found.files]
    if json_:
        figures = None if found.parity is None else found.parity.__dict__
        click.echo(json.dumps({"files": files, "precision": found.precision, "parity": figures}))
        return
    if found.parity is not None:
        click.echo(found.parity.table(BOUNDS[found.precision]))
    click.echo(f"{'equal' if check else 'exported'}: {', '.join(files)}")


@cli.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what this machine can do, and why not the rest."""
    from ssim_ae.runtime.doctor import doctor as examine

    found = examine()
    if json_:
        click.echo(json.dumps(found))
        return
    click.echo(
        f"ssim-ae {found['ssim_ae']}, Python {found['python']}, {found['system']}, "
        f"{found['cores']} cores"
    )
    for name, reason in found["engines"].items():
        click.echo(f"{name:22} {'usable' if reason is None else f'no: {reason}'}")
    training = found["training"]
    if training["why_not"]:
        click.echo(f"{'training':22} no: {training['why_not']}")
    else:
        devices = ", ".join(training["devices"])
        click.echo(f"{'training':22} usable: {devices}, {training['precision_auto']}")
    for name, reason in found["extras"].items():
        click.echo(f"{name:22} {'usable' if reason is None else f'no: {reason}'}")


@cli.command()
@click.argument("run", type=path)
@click.option("--size", nargs=2, type=int, metavar="HEIGHT WIDTH", help="At working size.")
@as_json
def benchmark(run: Path, size: tuple[int, int] | None, json_: bool) -> None:
    """Time RUN on this machine with every usable engine."""
    from ssim_ae.runtime.benchmark import benchmark as time_run

    result = time_run(run, size)
    if json_:
        click.echo(json.dumps(result))
        return
    height, width = result["size"]
    tiles = "in one piece" if result["tiles"] == 1 else f"{result['tiles']} tiles"
    click.echo(f"{height}x{width}, {tiles}; sgemm {result['sgemm_gflops']} GFLOP/s")
    for name, found in result["engines"].items():
        if "not_usable" in found:
            click.echo(f"{name:27} not usable: {found['not_usable']}")
        else:
            click.echo(
                f"{name:27} {found['latency_ms']:8.1f} ms a picture, "
                f"{found['pictures_per_second']:.1f} pictures/s in batches, "
                f"loads in {found['load_ms']:.0f} ms"
            )


@cli.command()
@click.option("--output", type=path, default=Path("runs/demo"), show_default=True, metavar="RUN")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change one setting.")
@as_json
def demo(output: Path, changes: tuple[str, ...], json_: bool) -> None:
    """Make a woven fabric with defects, train, evaluate, and write the report."""
    from ssim_ae.data.synthetic import make_dataset
    from ssim_ae.errors import InputError
    from ssim_ae.files import writing

    output = Path(os.path.relpath(output.resolve()))
    data = output.with_name(f"{output.name}-fabric")
    if output.exists() and not data.exists():
        raise InputError(f"{output}: exists and was not made by the demo: choose another --output")
    with writing(data):
        make_dataset(data)
    if not json_:
        click.echo(f"fabric with defects: {data}")
    changes = (DEMO_STEPS, *changes)
    run = _train(data, preset="auto", changes=changes, output=output, overwrite=True, json_=json_)
    result = _evaluate(run.folder, data, None, False, None, json_)
    if not json_:
        click.echo(f"detector: {run.folder / 'detector.onnx'}")
    _finish_evaluation(result, json_)


def _train(dataset: Path, json_: bool, **options: Any) -> Any:
    from tqdm import tqdm

    from ssim_ae.training.train import train as train_run

    with _training_bar(json_) as (show, phase):
        return train_run(
            dataset,
            on_progress=show,
            on_note=lambda line: tqdm.write(f"note: {line}", file=sys.stderr),  # above the bar
            on_phase=phase,
            **options,
        )


def _evaluate(
    run: Path, dataset: Path, output: Path | None, maps: bool, engine: str | None, json_: bool
) -> Evaluation:
    from tqdm import tqdm

    from ssim_ae.evaluation.evaluate import evaluate as evaluate_run

    with tqdm(unit="picture", desc="evaluating", disable=json_, leave=False) as bar:

        def on_picture(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate_run(run, dataset, output, maps, engine, on_picture)


def _finish_evaluation(result: Evaluation, json_: bool) -> None:
    from ssim_ae.evaluation.report import number

    m = result.metrics
    if json_:
        click.echo(json.dumps(m))
    else:
        for line in result.notes + result.unreadable:
            click.echo(f"note: {line}", err=True)
        control = m["baselines"]["no_model"] or {}
        rows = [
            ("pixel AUROC", m["pixel_auroc"], control.get("pixel_auroc")),
            ("AU-PRO (30 %)", m["aupro_30"], control.get("aupro_30")),
            ("image AUROC", m["image_auroc"], control.get("image_auroc")),
            ("false-reject rate", m["at_threshold"]["false_reject_rate"], None),
            ("recall", m["at_threshold"]["recall"], None),
        ]
        for name, value, baseline in rows:
            beside = "" if baseline is None else f"   (no trained model: {number(baseline)})"
            click.echo(f"{name:18} {number(value)}{beside}")
        if "zoo" in m:
            found = m["zoo"][f"{m['zoo']['level']}_level"]
            shares = ", ".join(f"{k} {number(found[k])}" for k in ("ok", "nok", "acc"))
            click.echo(f"zoo's rule         {shares} (by {m['zoo']['level']})")
        click.echo(f"metrics: {result.folder / 'metrics.json'}")
        click.echo(f"report:  {result.folder / 'report.html'}")
    if result.unreadable:
        sys.exit(1)


@contextmanager
def _training_bar(
    quiet: bool,
) -> Iterator[tuple[Callable[[Progress], None], Callable[[str], None]]]:
    """A bar with loss, patches per second and time left, then what is being done; from the first
    step on, so that it does not stand before an error."""
    from tqdm import tqdm

    layout = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}"
    bars: list[tqdm[Any]] = []

    def show(line: Progress) -> None:
        if not bars:  # what was done before, by a resumed run too, says nothing of the pace
            bars.append(
                tqdm(desc="training", bar_format=layout, disable=quiet, total=line.steps,
                     initial=line.step)
            )  # fmt: skip
        speed = f"{line.patches_per_second:.0f} patches/s"
        bars[0].set_postfix_str(f"loss {line.loss:.3f}, {speed}", refresh=False)
        bars[0].update(line.step - bars[0].n)

    def phase(what: str) -> None:
        for bar in bars:
            bar.bar_format = "{desc} ({elapsed})"
            bar.set_description_str(what)

    try:
        yield show, phase
    finally:
        for bar in bars:
            bar.close()
