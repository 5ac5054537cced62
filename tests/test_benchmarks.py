"""The history of benchmarks: what is stored comes back, and what became worse is said."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def history() -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("history")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture
def one(history: Any) -> Any:
    return history.Measurement(
        "2026-11-26", "abc", "0.1.0", "a cpu; 2 cores; 1 threads", 0.5, "oats", 0.02, 5, 559.028
    )


def test_what_is_stored_comes_back(history: Any, one: Any, tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert history.read_history(path) == []
    history.store([one], path)
    history.store([replace(one, date="2026-11-27", commit="")], path)
    assert history.read_history(path) == [one, replace(one, date="2026-11-27", commit="")]


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({}, ""),
        ({"seconds": 0.0209}, ""),
        ({"seconds": 0.0211}, "slower"),
        ({"seconds": 9.0, "machine": "another"}, ""),
        ({"evaluations": 6}, "5 evaluations before"),
        ({"evaluations": 4}, ""),
        ({"objective": 559.0281, "machine": "another"}, "criterion 559.028000 before"),
        ({"objective": 559.0279}, ""),
    ],
)
def test_what_became_worse_is_said(
    change: dict[str, Any], remark: str, history: Any, one: Any
) -> None:
    older = replace(one, seconds=1.0, evaluations=1, objective=0.0)
    line, worse = history.judge(replace(one, **change), [older, one], 0.05)
    assert worse is bool(remark)
    assert line.split(" | ")[-1] == f"{remark} |"


def test_the_stored_history_can_be_read(history: Any) -> None:
    stored = history.read_history()
    assert {line.problem for line in stored} >= set(history.QUICK)
    assert all(line.seconds > 0 for line in stored)
