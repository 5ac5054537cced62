"""The command line: what it prints, and what it says of bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixedlm_ext import __version__, datasets
from mixedlm_ext.__main__ import main

FORMULA = "Reaction ~ Days + (Days | Subject)"
Capture = pytest.CaptureFixture[str]


def squeezed(text: str) -> str:
    """The text with single spaces."""
    return " ".join(text.split())


@pytest.fixture
def data() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data.assign(w=np.linspace(1, 2, 180))


@pytest.fixture
def csv(data: pd.DataFrame, tmp_path: Path) -> str:
    data.to_csv(tmp_path / "data.csv", index=False)
    return str(tmp_path / "data.csv")


def test_without_arguments_in_a_process_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "mixedlm_ext"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "Dep. Variable: Reaction REML criterion: 1743.628" in squeezed(run.stdout)
    assert "Days 10.4673 1.546 17.0 6.771 0.000 7.206 13.729" in squeezed(run.stdout)


@pytest.mark.parametrize("ending", ["csv", "parquet", "pq"])
def test_file(ending: str, data: pd.DataFrame, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / f"data.{ending}"
    data.to_csv(path, index=False) if ending == "csv" else data.to_parquet(path)
    assert main([FORMULA, str(path)]) == 0
    out, err = capsys.readouterr()
    assert "Days 10.4673 1.546 17.0 6.771 0.000 7.206 13.729" in squeezed(out)
    assert err == ""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "Reaction REML criterion: 1743.628"),
        (["--ml"], "Dep. Variable: Reaction -2 Log-Likelihood: 1751.939"),
        (["--weights", "w"], "REML criterion: 1736.042"),
        (["--weights=w", "--ml"], "-2 Log-Likelihood: 1744.326"),
    ],
)
def test_options(options: list[str], expected: str, csv: str, capsys: Capture) -> None:
    assert main([*options, FORMULA, csv]) == 0
    assert expected in squeezed(capsys.readouterr().out)


def test_notes_go_to_stderr(data: pd.DataFrame, tmp_path: Path, capsys: Capture) -> None:
    data["twice"] = 2 * data["Days"]
    data.to_csv(tmp_path / "d.csv", index=False)
    formula = "Reaction ~ Days + twice + (1 | Subject)"
    assert main([formula, str(tmp_path / "d.csv")]) == 0
    out, err = capsys.readouterr()
    assert "Not estimable and dropped: twice." in out
    assert err.startswith("mixedlm: note: ")
    assert "twice" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Reaction ~ Days | Subject", "CSV"], "Write (Days | Subject)"),
        (["Reaction ~ Days", "CSV"], "no random-effects term"),
        (["Reaction ~ Dayz + (1 | Subject)", "CSV"], "'Dayz' in the fixed part is neither"),
        (["Reaction ~ Days + (1 | Subjct)", "CSV"], "Did you mean 'Subject'?"),
        ([FORMULA, "CSV", "--weights", "ww"], "weights column 'ww' is not in the data."),
        ([FORMULA, "nowhere.csv"], "there is no file 'nowhere.csv'"),
        ([FORMULA, "."], "there is no file '.'"),
        ([FORMULA, "BAD.parquet"], "cannot read 'BAD.parquet': "),
        ([FORMULA, "BAD.csv"], "cannot read 'BAD.csv': "),
        ([FORMULA, "EMPTY.csv"], "cannot read 'EMPTY.csv': No columns to parse from file"),
        ([FORMULA], 'name a file after the formula: mixedlm "y ~ x + (1 | g)" data.csv'),
    ],
)
def test_bad_input(
    arguments: list[str],
    message: str,
    csv: str,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("BAD.parquet", "BAD.csv"):
        Path(name).write_bytes(b'"\xff\xfe\x00 no data, 1\n' * 9)
    Path("EMPTY.csv").write_text("")
    assert main([csv if a == "CSV" else a for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mixedlm: ")
    assert message in err
    assert "Traceback" not in err
    assert err.count("mixedlm: ") == 1


@pytest.mark.parametrize(
    ("option", "status", "text"),
    [("--version", 0, __version__), ("--help", 0, "a CSV or Parquet file"), ("--mll", 2, "--mll")],
)
def test_argparse(option: str, status: int, text: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == status
    out, err = capsys.readouterr()
    assert text in (err if status else out)
