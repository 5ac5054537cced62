"""Generalized models from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from glmm_reference import fitted, table

from mixedlm_ext.__main__ import main

Capture = pytest.CaptureFixture[str]
FORMULA = "incidence / size ~ period + (1 | herd)"


@pytest.fixture
def csv(tmp_path: Path) -> str:
    data = table("cbpp").assign(well=lambda d: d["size"] - d["incidence"])
    data["period"] = "p" + data["period"]
    data.to_csv(tmp_path / "cbpp.csv", index=False)
    return str(tmp_path / "cbpp.csv")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([FORMULA, "--weights", "size", "--family", "binomial"], "-2 Log-Likelihood: 184.0526"),
        (["incidence + well ~ period + (1 | herd)", "--family=binomial"], "184.0526"),
        ([FORMULA, "--weights=size", "--family=binomial", "--nagq=9"], "183.9667"),
        ([FORMULA, "--weights=size", "--family=binomial", "--link=probit"], "185.2424"),
    ],
)
def test_a_fit(arguments: list[str], expected: str, csv: str, capsys: Capture) -> None:
    formula, *options = arguments
    assert main([formula, csv, *options]) == 0
    out, err = capsys.readouterr()
    assert expected in " ".join(out.split())
    assert err == ""


def test_json_and_tests(csv: str, capsys: Capture) -> None:
    options = ["--weights=size", "--family=binomial", "--output=json", "--anova"]
    assert main([FORMULA, csv, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    result = fitted("cbpp", 1)
    assert (found["family"], found["link"], found["nagq"]) == ("Binomial", "Logit", 1)
    assert found["llf"] == pytest.approx(result.llf)
    assert found["anova"][0]["chisq"] == pytest.approx(result.anova()["chisq"].iloc[0], rel=1e-4)
    assert "sigma" not in found


def test_counts_with_an_exposure_and_predictions(tmp_path: Path, capsys: Capture) -> None:
    path, model = tmp_path / "d.csv", tmp_path / "m.json"
    table("poisson_offset").to_csv(path, index=False)
    options = ["--family=poisson", "--exposure=exposure", f"--save={model}"]
    assert main(["count ~ x + (1 | g)", str(path), *options]) == 0
    capsys.readouterr()
    assert main(["predict", str(model), str(path)]) == 0
    out = pd.read_csv(pd.io.common.StringIO(capsys.readouterr().out))
    wanted = fitted("poisson_offset", 1).fittedvalues
    assert out["predicted"].to_numpy() == pytest.approx(wanted.to_numpy(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--family", "binomal"], "--family binomal is not known. Did you mean 'binomial'?"),
        (["--family", "poisson", "--link", "lgo"], "--link lgo is not known. Did you mean 'log'?"),
        (["--family", "poisson", "--link", "probit"], "poisson does not go with the link probit"),
        (["--family", "binomial", "--ml"], "--ml is of linear models"),
        (["--family", "binomial", "--ddf", "normal"], "--ddf is of linear models"),
        (["--nagq", "9"], "--nagq belongs to a generalized model. Name its --family"),
        (["--family", "binomial", "--nagq", "-3"], "is no number of nodes"),
    ],
)
def test_what_is_refused(options: list[str], message: str, csv: str, capsys: Capture) -> None:
    assert main([FORMULA, csv, "--weights=size", *options]) == 2
    assert message in capsys.readouterr().err
