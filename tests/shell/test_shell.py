"""The command ``mixedlm``: what it prints, saves and predicts, and what it says of bad input."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from places import ROOT

from mixedlm_ext import MixedLM, __version__, datasets
from mixedlm_ext.__main__ import main
from mixedlm_ext.prediction.predictor import Predictor

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


def test_residuals_with_a_structure(csv: str, data: pd.DataFrame, capsys: Capture) -> None:
    structure = {"correlation": "ar1(Days | Subject)", "variance": "power(w)"}
    options = [text for name, own in structure.items() for text in (f"--{name}", own)]
    formula = "Reaction ~ Days + (1 | Subject)"
    assert main([formula, csv, *options]) == 0
    out, _ = capsys.readouterr()
    assert "Residuals: ar1(Days | Subject), variance by power(w)." in out
    result = MixedLM.from_formula(formula, data, **structure).fit()
    assert f"{result.objective:.3f}" in out


def test_without_arguments_in_a_process_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "mixedlm_ext"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
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
        ([FORMULA, "."], "'.' is a folder. Name a file in it."),
        (["CSV", FORMULA], f'the formula comes before the file: mixedlm "{FORMULA}"'),
        ([FORMULA, "CSV", "--sep", ";"], "such as --sep ','"),
        ([FORMULA, "CSV", "--ddf", "kr"], "--ddf kr is not known."),
        ([FORMULA, "BAD.parquet"], "cannot read 'BAD.parquet': it is no text. Save it as CSV"),
        ([FORMULA, "BAD.csv"], "cannot read 'BAD.csv': it is no text. Save it as CSV or Parquet."),
        ([FORMULA, "EMPTY.csv"], "cannot read 'EMPTY.csv': there is nothing in it."),
        ([FORMULA, "CSV", "--ddf", "kenward"], "Did you mean 'kenward-roger'?"),
        ([FORMULA, "CSV", "--correlation", "ar1(Dayz | Subject)"], "in --correlation"),
        ([FORMULA, "CSV", "--variance", "w"], "--variance 'power(w)'"),
        ([FORMULA, "CSV", "--family", "poisson", "--variance", "w"], "--variance is of linear"),
        ([FORMULA, "CSV", "--type", "4"], "Use 1, 2, 3 or 'marginal'."),
        (["predict", "nowhere.json", "CSV"], "there is no file 'nowhere.json'"),
        (["predict", "BAD.csv", "CSV"], "'BAD.csv' holds no predictor"),
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
    [
        ("--version", 0, __version__),
        ("--help", 0, "CSV or other text, or Parquet"),
        ("--sep=||", 2, "is not one character"),
        ("--mll", 2, "--mll"),
        ("--encoding=utf9", 2, "is no encoding"),
    ],
)
def test_argparse(option: str, status: int, text: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == status
    out, err = capsys.readouterr()
    assert text in (err if status else out)


def test_how_a_file_was_read_is_said_before_an_error(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "d.csv").write_bytes("y;Größe\n1,5;a\n2,5;b\n".encode("latin-1"))
    assert main(["y ~ 1 + (1 | Grosse)", str(tmp_path / "d.csv")]) == 2
    first, second, error = capsys.readouterr().err.splitlines()
    assert "was read as Latin-1" in first
    assert "was read with decimal commas" in second
    assert "'Grosse'" in error


# --- what is printed --------------------------------------------------------------------------


def output(arguments: list[str], capsys: Capture) -> tuple[str, str]:
    """What a successful run writes to standard output and standard error."""
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    return out, err


def test_json_holds_the_fit(csv: str, capsys: Capture) -> None:
    out, _ = output([FORMULA, csv, "--output", "json", "--anova"], capsys)
    found = json.loads(out, parse_constant=pytest.fail)
    assert found["formula"] == FORMULA
    assert found["nobs"] == 180
    assert found["groups"] == {"Subject": 18}
    assert found["objective"] == pytest.approx(1743.6282720, abs=1e-6)  # lme4
    days = found["fixed_effects"][1]
    assert days["term"] == "Days"
    assert days["estimate"] == pytest.approx(10.467286, abs=1e-6)  # lme4
    assert days["df"] == pytest.approx(17.0, abs=1e-3)  # lmerTest
    assert [row["std_dev"] for row in found["variance_components"]] == pytest.approx(
        [24.7405, 5.9221, 25.5918], abs=1e-3
    )  # lme4
    assert found["variance_components"][0]["corr_1"] is None
    assert found["anova"][0]["F"] == pytest.approx(45.853, abs=1e-3)  # lmerTest
    assert found["converged"] is True
    assert found["notes"] == []


def test_json_writes_infinite_df_as_null(csv: str, capsys: Capture) -> None:
    out, _ = output([FORMULA, csv, "--output=json", "--ddf=normal"], capsys)
    found = json.loads(out, parse_constant=pytest.fail)
    assert found["ddf"] == "normal"
    assert found["fixed_effects"][1]["df"] is None


def test_csv_is_a_table_of_parameters_or_of_f_tests(csv: str, capsys: Capture) -> None:
    out, _ = output([FORMULA, csv, "--output", "csv"], capsys)
    frame = pd.read_csv(io.StringIO(out))
    assert frame["term"].tolist()[:3] == ["Intercept", "Days", "sd__Intercept"]
    out, _ = output([FORMULA, csv, "--output", "csv", "--type", "2"], capsys)
    frame = pd.read_csv(io.StringIO(out))
    assert frame["term"].tolist() == ["Days"]
    assert frame["F"].tolist() == pytest.approx([45.853], abs=1e-3)


def test_anova_follows_the_summary(csv: str, capsys: Capture) -> None:
    out, _ = output([FORMULA, csv, "--anova", "--ddf", "kenward-roger"], capsys)
    assert "Type III analysis of variance, degrees of freedom: kenward-roger" in out
    assert "Days 30031 30031 1 17 45.853" in squeezed(out)


def test_anova_of_an_intercept(csv: str, capsys: Capture) -> None:
    out, _ = output(["Reaction ~ 1 + (1 | Subject)", csv, "--anova"], capsys)
    assert out.endswith("There is no term to test besides the intercept.\n")


@pytest.mark.parametrize("form", ["text", "json", "csv"])
def test_rows_left_out_are_counted(
    form: str, data: pd.DataFrame, tmp_path: Path, capsys: Capture
) -> None:
    data.loc[[3, 7], "Days"] = np.nan
    data.loc[9, "Reaction"] = np.nan
    data.to_csv(tmp_path / "d.csv", index=False)
    out, err = output([FORMULA, str(tmp_path / "d.csv"), "--output", form], capsys)
    if form == "json":
        assert json.loads(out)["rows_with_missing_values"] == 3
    else:
        said = "ows with missing values left out: 3."
        assert said in (out if form == "text" else err)


def test_offset(data: pd.DataFrame, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "d.csv"
    data.assign(o=3.0 * data["Days"]).to_csv(path, index=False)
    out, _ = output([FORMULA, str(path), "--offset", "o", "--output", "csv"], capsys)
    assert pd.read_csv(io.StringIO(out))["estimate"][1] == pytest.approx(10.467286 - 3, abs=1e-5)


# --- save and predict -------------------------------------------------------------------------


@pytest.fixture
def saved(csv: str, tmp_path: Path, capsys: Capture) -> str:
    path = str(tmp_path / "model.json")
    output([FORMULA, csv, "--save", path], capsys)
    return path


@pytest.fixture
def new(tmp_path: Path) -> str:
    path = tmp_path / "new.csv"
    path.write_text("id,Days,Subject\na,0,308\nb,5,999\nc,,308\n")
    return str(path)


def test_predict(saved: str, new: str, capsys: Capture) -> None:
    out, err = output(["predict", saved, new], capsys)
    frame = pd.read_csv(io.StringIO(out))
    assert list(frame) == ["id", "Days", "Subject", "predicted"]
    assert frame["predicted"][:2].tolist() == pytest.approx([253.6637, 303.7424], abs=1e-3)  # lme4
    assert np.isnan(frame["predicted"][2])
    assert err == ""


def test_predict_for_the_population_as_json(saved: str, new: str, capsys: Capture) -> None:
    arguments = ["predict", saved, new, "--population", "--output=json", "--name", "mean"]
    out, _ = output(arguments, capsys)
    found = json.loads(out, parse_constant=pytest.fail)
    assert [row["mean"] for row in found[:2]] == pytest.approx([251.4051, 303.7424], abs=1e-3)
    assert found[2]["mean"] is None
    assert found[2]["Days"] is None


def test_predict_as_text(saved: str, new: str, capsys: Capture) -> None:
    out, _ = output(["predict", saved, new, "--output", "text"], capsys)
    assert squeezed(out).startswith("id Days Subject predicted a 0.0 308 253.66")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--new-levels", "error"], "999"),
        (["--new-levels", "error"], "Use --new-levels population"),
        (["--new-levels", "nam"], "Did you mean 'nan'?"),
        (["--name", "Days"], "has a column 'Days' already"),
        (["--sep", ";"], "no column 'Days'"),
    ],
)
def test_predict_refuses(
    more: list[str], message: str, saved: str, new: str, capsys: Capture
) -> None:
    assert main(["predict", saved, new, *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_model_that_cannot_be_written_leaves_the_old_one(
    csv: str, saved: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Path(saved).read_bytes()

    def full(self: Predictor, path: str) -> None:
        Path(path).write_text("half a mod")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Predictor, "save", full)
    assert main(["Reaction ~ 1 + (1 | Subject)", csv, "--save", saved]) == 1
    out, err = capsys.readouterr()
    assert "Mixed Model" in out
    assert f"cannot write {saved!r}: No space left" in err
    assert Path(saved).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "model.json"]


def test_save_into_a_folder_that_is_not_there(csv: str, tmp_path: Path, capsys: Capture) -> None:
    path = str(tmp_path / "no" / "model.json")
    assert main([FORMULA, csv, "--save", path]) == 1
    assert f"cannot write {path!r}: No such file or directory" in capsys.readouterr().err
