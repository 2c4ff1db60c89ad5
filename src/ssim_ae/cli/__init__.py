"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper

import click

from ssim_ae import __version__
from ssim_ae.cli.calibrate import calibrate
from ssim_ae.cli.demo import demo
from ssim_ae.cli.evaluate import evaluate
from ssim_ae.cli.export import export
from ssim_ae.cli.inspect import inspect
from ssim_ae.cli.machine import benchmark, doctor
from ssim_ae.cli.train import train

TRAINING_PACKAGES = {"torch", "accelerate", "onnx", "onnxscript", "safetensors", "psutil"}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ssim-ae")
def cli() -> None:
    """Find and outline defects in pictures after training on good pictures only.

    RUN is a run folder or a detector.onnx. Exit codes: 0 done, 1 failed while working,
    2 wrong use or bad input.
    """


for command in (train, evaluate, inspect, calibrate, export, doctor, benchmark, demo):
    cli.add_command(command)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    from ssim_ae.errors import InputError, SsimAeError

    for stream in (sys.stdout, sys.stderr):  # a file's name may hold bytes that are no text
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
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
    except MemoryError:
        _fail("out of memory: use smaller pictures, or close other programs", 1)
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
