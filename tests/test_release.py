"""What a release says of itself: one version everywhere, a history, sources of the data."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import mixedlm_ext
from mixedlm_ext import datasets

ROOT = Path(__file__).parents[1]
PACKAGE = Path(mixedlm_ext.__file__).parent


def text(name: str) -> str:
    """A file of the checkout or of the unpacked source distribution."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_written_once() -> None:
    assert 'dynamic = ["version"]' in text("pyproject.toml")
    assert re.search(r"^version: (\S+)$", text("CITATION.cff"), re.M)[1] == mixedlm_ext.__version__
    first = re.search(r"^(\d\S*)( \(.*\))?\n-+$", text("CHANGES.rst"), re.M)
    assert first[1] == mixedlm_ext.__version__


def test_every_data_set_has_a_source_and_a_licence() -> None:
    table = (PACKAGE / "datasets" / "SOURCES.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^``(\w+)``  ", table, re.M)
    assert listed == sorted(datasets.__all__)


def test_the_oldest_dependencies_can_be_read_from_the_metadata() -> None:
    """``.ci/oldest`` reads lines of this form."""
    found = re.findall(r'^ *"([a-z]*)>=([0-9.]*)",$', text("pyproject.toml"), re.M)
    assert [name for name, _ in found] == ["numpy", "pandas", "patsy", "scipy", "statsmodels"]


def test_supported_pythons_are_tested() -> None:
    listed = re.findall(r"Python :: (3\.\d+)", text("pyproject.toml"))
    assert re.search(r"python: \[(.*)\]", text(".github/workflows/tests.yml"))[1] == ", ".join(
        f'"{version}"' for version in listed
    )
    assert f'requires-python = ">={listed[0]}"' in text("pyproject.toml")


def test_every_file_of_the_repository_is_in_the_source_distribution() -> None:
    """MANIFEST.in covers what git has, so that a new folder is not forgotten."""
    listing = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    rules = text("MANIFEST.in")
    folders = {*re.findall(r"^graft (\S+)$", rules, re.M), "mixedlm_ext"}
    files = re.findall(r"^include (.*)$", rules, re.M)
    named = {"pyproject.toml", "MANIFEST.in", *" ".join(files).split()}
    for path in map(Path, listing.stdout.splitlines()):
        one = path.parts[0]
        kind = f"*{path.suffix}"
        assert one in (folders if len(path.parts) > 1 else named) or kind in named, path
