"""Write the hash-pinned requirements files: ``python requirements/lock.py`` (needs uv).

dev.txt        everything but torch, for tests and training
torch.txt      torch as PyPI has it; on Linux x86-64 that is the CUDA build with its libraries
torch-cpu.txt  the CPU build of the same release (not written here: PyPI does not carry it);
               the Makefile takes it where pip's own configuration knows a source for it
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

TORCH = "2.13.0"
HERE = Path(__file__).parent
ONLY_TORCH = re.compile(r"(torch|triton|nvidia-.*|cuda-.*)==")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pin, out = Path(folder) / "pin.txt", Path(folder) / "all.txt"
        pin.write_text(f"torch=={TORCH}\n")
        extras = [x for e in ("train", "openvino", "features", "parquet") for x in ("--extra", e)]
        subprocess.run(
            ["uv", "pip", "compile", "pyproject.toml", *extras, "--group", "dev", "--universal",
             "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate",
             "--constraints", pin, "--output-file", out, "--quiet"],
            cwd=HERE.parent, check=True,
        )  # fmt: skip
        entries = re.split(r"\n(?=[a-z])", out.read_text().strip())
    for name, wanted in (("dev.txt", False), ("torch.txt", True)):
        chosen = [e for e in entries if bool(ONLY_TORCH.match(e)) == wanted]
        head = "# written by requirements/lock.py\n"
        (HERE / name).write_text(head + "\n".join(chosen) + "\n")


if __name__ == "__main__":
    main()
