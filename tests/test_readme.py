"""What the README shows is true."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_passes_strict_type_checks(tmp_path: Path) -> None:
    (block,) = re.findall(r"or from Python:\n\n((?:    .*\n|\n)+)", README.read_text())
    example = tmp_path / "example.py"
    example.write_text("\n".join(line[4:] for line in block.splitlines()))
    assert "Detector.load(run)" in example.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "mypy", example], cwd=README.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
