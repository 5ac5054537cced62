"""Every line of code in README.rst runs, and prints what the README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mixedlm_ext import datasets
from mixedlm_ext.__main__ import main

ROOT = Path(__file__).parents[1]
Capture = pytest.CaptureFixture[str]

RUN_ELSEWHERE = (
    "python -m pip install . && python -m mixedlm_ext",
    'python -m pip install ".[test,lint]" && python -m pytest',
    'python -m pip install ".[docs]" && python -m sphinx -W docs docs/_build',
    "client = dask.distributed.Client()\n"
    'MixedLM.from_formula("y ~ x + (x | g)", dask.dataframe.read_parquet("rows/")).fit()',
)
"""Installing needs an environment of its own; CI runs the second, the rest is tested in parts."""


def blocks(kind: str) -> list[str]:
    """The indented blocks of the README after a line: ``.. code-block:: python`` or ``::``."""
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    found = re.findall(rf"^{kind}\n\n((?:(?: {{4}}.*)?\n)+)", text, re.MULTILINE)
    return [re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip("\n") for block in found]


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pytest.importorskip("matplotlib").use("agg")
    monkeypatch.chdir(tmp_path)
    code = blocks(r"\.\. code-block:: python")
    assert len(code) == 4
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in code:
        exec(compile(block, "README.rst", "exec"), namespace)
    assert "Days          10.4673" in capsys.readouterr().out
    assert (tmp_path / "pastes.csv").exists()


def test_shell_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.chdir(tmp_path)
    datasets.pastes.load_pandas().data.to_csv("pastes.csv")
    printed = "Linear Mixed Model Regression Results"
    lines = [b for b in blocks(r"(?:.*[^:\n])?::") if printed not in b]
    (shell,) = (block for block in lines if block not in RUN_ELSEWHERE)
    assert len(lines) == len(RUN_ELSEWHERE) + 1
    for command in shell.splitlines():
        words, _, file = command.partition(" > ")
        program, *arguments = shlex.split(words)
        assert program == "mixedlm"
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert (",predicted\n" if file else "batch:cask Intercept") in printed


def test_what_the_first_command_prints(capsys: Capture) -> None:
    (shown,) = (b for b in blocks(r"(?:.*[^:\n])?::") if "Regression Results" in b)
    assert main([]) == 0
    printed = capsys.readouterr().out.rstrip()
    assert undated(printed) == undated(shown)


def undated(text: str) -> list[str]:
    """The lines without trailing blanks, date and time."""
    lines = [re.sub(r"(Date|Time): +(\w+, \d+ \w+ \d+|[\d:]+)", r"\1", x) for x in text.split("\n")]
    return [line.rstrip() for line in lines]


def test_extras_that_the_commands_name() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = {name for line in RUN_ELSEWHERE for name in re.findall(r"\[([\w,]+)\]", line)}
    for extra in {part for group in named for part in group.split(",")}:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra


def test_one_line_is_the_test_command() -> None:
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    found = re.findall(r"^\s*python -m pip install .*pytest.*$", text, re.MULTILINE)
    assert [line.strip() for line in found] == [RUN_ELSEWHERE[1]]


def test_links_and_pictures_exist() -> None:
    text = (ROOT / "README.rst").read_text(encoding="utf-8")
    targets = re.findall(r"<([\w/]+\.rst)>`_", text) + re.findall(r"\.\. image:: (\S+)", text)
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []
