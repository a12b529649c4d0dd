"""Formatter, linter and types: the same commands as by hand."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
COMMANDS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_source_passes(name):
    done = subprocess.run([sys.executable, "-m", *COMMANDS[name]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_names_an_address_to_install_from():
    for name in ("constraints.txt", "pyproject.toml", ".pre-commit-config.yaml", "CONTRIBUTING.md"):
        assert "://" not in (ROOT / name).read_text()
