"""Changed formulas, other data, and predictors in files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from glmm_reference import fitted, table

from mixedlm_ext import DesignError, MixedGLM, MixedGLMResults, Predictor

F, L = sm.families, sm.families.links


def fit(formula: str, data: pd.DataFrame, family: Any, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MixedGLM.from_formula(formula, data, family=family, **how).fit()


@pytest.fixture
def data() -> pd.DataFrame:
    return table("cbpp").assign(healthy=lambda d: d["size"] - d["incidence"])


def test_a_term_less_and_a_column_more(data: pd.DataFrame) -> None:
    data["late"] = (data["period"] == "4").astype(float)
    result = fit("incidence / size ~ period + (1 | herd)", data, F.Binomial(), weights="size")
    assert isinstance(result.update("~ . - period"), MixedGLMResults)
    wanted = fit("incidence / size ~ late + (1 | herd)", data, F.Binomial(), weights="size")
    changed = result.update("~ . - period + late")
    assert changed.llf == pytest.approx(wanted.llf, abs=1e-8)
    assert result.update(nagq=9).nagq == 9
    probit = result.update(family=F.Binomial(L.Probit()))
    assert probit.llf == pytest.approx(fitted("cbpp_probit", 1).llf, abs=1e-7)


def test_two_columns_stay_two_columns(data: pd.DataFrame) -> None:
    result = fit("incidence + healthy ~ period + (1 | herd)", data, F.Binomial())
    wanted = fit("incidence + healthy ~ 1 + (1 | herd)", data, F.Binomial())
    small = result.update("~ . - period")
    assert small.llf == pytest.approx(wanted.llf, abs=1e-8)
    assert small.model.endog_names == "incidence + healthy"
    assert small.model.formula_full == "incidence + healthy ~ 1 + (1 | herd)"
    assert result.compare(small)["df"].iloc[1] == 3.0
    some = data[data["herd"] != "1"]
    assert result.update(data=some).nobs == len(some)


@pytest.mark.parametrize("response", ["incidence + healthy", "incidence > 2", "ill"])
@pytest.mark.filterwarnings("ignore:The estimated covariance")
def test_the_formula_is_as_the_user_wrote_it(data: pd.DataFrame, response: str) -> None:
    """Wherever it is shown, though the response that is evaluated is a number made of it."""
    text = f"{response} ~ size + (1 | herd)"
    data["ill"] = data["incidence"] > 1
    result = fit(text, data, F.Binomial())
    assert (result.model.formula, result.model.formula_full) == (f"{response} ~ size", text)
    assert result.model.data.formula == f"{response} ~ size"
    assert f"Binomial, {text}, 56" in repr(result.model)
    assert f"{text}, 56" in result.model._repr_html_().replace("&gt;", ">")
    small = result.update("~ . - size")
    assert small.model.formula_full == f"{response} ~ 1 + (1 | herd)"
    assert list(result.compare(small).index) == [small.model.formula_full, text]
    assert result.step(alpha_fixed=1.0, alpha_random=1.0).formula == text
    assert result.to_predictor().formula == text
    assert small.update("~ . + size").llf == pytest.approx(result.llf, abs=1e-8)


def test_weights_go_with_the_rows(data: pd.DataFrame) -> None:
    data.loc[3, "size"] = np.nan
    data["f"] = np.arange(len(data)) % 3 + 1
    how = {"weights": "size", "freq_weights": data["f"]}
    result = fit("incidence / size ~ period + (1 | herd)", data, F.Binomial(), **how)
    small = result.update("~ . - period")
    wanted = fit("incidence / size ~ 1 + (1 | herd)", data, F.Binomial(), **how)
    assert small.llf == pytest.approx(wanted.llf, abs=1e-8)
    with pytest.raises(DesignError, match="weights of the model were arrays"):
        result.update(data=data)
    named = fit("incidence / size ~ period + (1 | herd)", data, F.Binomial(), weights="size")
    assert named.update(data=data).llf == pytest.approx(named.llf, abs=1e-9)


def test_exposure_stays() -> None:
    result = fitted("poisson_offset", 1)
    small = result.update("~ . - x")
    wanted = fit("count ~ 1 + (1 | g)", table("poisson_offset"), F.Poisson(), exposure="exposure")
    assert small.llf == pytest.approx(wanted.llf, abs=1e-8)


def test_a_predictor_gives_means(tmp_path: Path) -> None:
    result = fitted("poisson_offset", 1)
    path = tmp_path / "p.json"
    result.to_predictor().save(path)
    predictor = Predictor.load(path)
    new = {"x": [0.0, 1.0], "exposure": [1.0, 10.0], "g": ["g01", "new"]}
    np.testing.assert_allclose(predictor.predict(new), result.predict(new))
    linear = result.predict(new, which="linear")
    np.testing.assert_allclose(predictor.predict(new, linear=True), linear)
    assert json.loads(path.read_text())["link"] == {"name": "Log"}


@pytest.mark.parametrize("name", ["cbpp_cloglog", "gamma_inverse", "cbpp_cauchit"])
def test_predictors_know_every_link(name: str, tmp_path: Path) -> None:
    result = fitted(name, 1)
    result.to_predictor().save(tmp_path / "p.json")
    rows = table("gamma" if name.startswith("gamma") else "cbpp").head(4)
    again = Predictor.load(tmp_path / "p.json").predict(rows)
    np.testing.assert_allclose(again, result.predict(rows))
