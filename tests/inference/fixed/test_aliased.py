"""Tests of terms where columns repeat others: each compares the models its formulas give."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import FitError

TYPES = (1, 2, 3, "marginal")


def fit(formula: str, data: Any, reml: bool = True, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropped columns, singular fits
        return MixedLM.from_formula(formula, data, **arguments).fit(reml=reml)


def cake() -> pd.DataFrame:
    return datasets.cake.load_pandas().data


def lack_of_fit() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(20), 8), np.tile(np.arange(4), 40)
    y = x + rng.standard_normal(20)[g] + rng.standard_normal(160)
    return pd.DataFrame({"y": y, "x": x, "g": g, "f": [f"l{value}" for value in x]})


def test_a_factor_beyond_a_line() -> None:
    result = fit("angle ~ recipe + temp + C(temp) + (1 | recipe:replicate)", cake())
    first = result.anova(1)  # lmerTest 3.1
    assert list(first.index) == ["recipe", "temp", "C(temp)"]
    assert first["num_df"].tolist() == [2, 1, 4]
    assert_allclose(first["F"], [0.2488, 96.0462, 1.6311], atol=5e-5)
    assert_allclose(first["den_df"], [42, 220, 220], rtol=1e-6)
    for table in (result.anova(2), result.anova(3), result.anova("marginal"), result.drop1()):
        assert table["num_df"].tolist() == [2, 0, 4]
        assert np.isnan(table.loc["temp", "F"])
        assert_allclose(table["F"].drop("temp"), [0.2488, 1.6311], atol=5e-5)
        assert_allclose(table.loc["C(temp)", "pvalue"], 0.1674, atol=5e-5)
    lrt = result.drop1(test="LRT")  # lme4 1.1's drop1
    assert_allclose(lrt["LRT"].iloc[1:], [0.5300, 0.0, 6.5755], atol=5e-5)
    assert lrt["Df"].iloc[1:].tolist() == [2, 0, 4]


@pytest.mark.parametrize("factor", ["f", "C(x)", "C(x, Sum)", "C(x, Poly)"])
@pytest.mark.parametrize("line", ["x", "I(3 * x)", "center(x)"])
def test_lack_of_fit(factor: str, line: str) -> None:
    data = lack_of_fit()
    for formula in (f"y ~ {line} + {factor} + (1 | g)", f"y ~ 0 + {line} + {factor} + (1 | g)"):
        if formula.startswith("y ~ 0") and line == "center(x)":
            continue
        result = fit(formula, data)
        table = result.drop1(factor)
        lrt = result.drop1(test="LRT").iloc[-1]
        if not formula.startswith("y ~ 0"):
            first = result.anova(1)  # lmerTest 3.1
            assert first["num_df"].tolist() == [1, 2]
            assert_allclose(first["F"], [224.0152, 0.1407], atol=6e-5)
            assert_allclose(table["F"], 0.1407, atol=6e-5)
            assert_allclose(lrt["LRT"], 0.28717, atol=6e-6)
        smaller = result.update(f"~ . - {factor}").model.fit(reml=False)
        assert_allclose(lrt["logLik"], smaller.llf, rtol=1e-9)
        assert lrt["npar"] == smaller.df_modelwc
        assert lrt["Df"] == table["num_df"].iloc[0]


@pytest.mark.parametrize(
    "formula",
    [
        "angle ~ temp + recipe*C(temp) + (1 | recipe:replicate)",
        "angle ~ recipe*temp + C(temp) + (1 | recipe:replicate)",
        "angle ~ recipe*C(temp) + temp + (1 | recipe:replicate)",
        "angle ~ recipe + I(temp**2) + temp + I(2*temp) + (1 | recipe:replicate)",
        "angle ~ 0 + temp + C(temp) + recipe + (1 | recipe:replicate)",
        "angle ~ recipe:C(temp) + C(temp):replicate + (1 | recipe:replicate)",
        "angle ~ 0 + recipe:temp + temp:replicate + (1 | recipe:replicate)",
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_drop1_is_the_fit_of_the_formula_without_the_term(formula: str, weighted: bool) -> None:
    data = cake()
    data["w"] = 1.0 + np.arange(len(data)) % 3
    weights = {"weights": "w"} if weighted else {}
    result = fit(formula, data, **weights)
    table, f = result.drop1(test="LRT"), result.drop1()
    for name in f.index:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            smaller = result.update(f"~ . - {name}").model.fit(reml=False)
        assert_allclose(table.loc[name, "logLik"], smaller.llf, rtol=1e-9)
        assert table.loc[name, "npar"] == smaller.df_modelwc
        assert f.loc[name, "num_df"] == table.loc[name, "Df"]


def test_types_with_an_interaction_and_aliases() -> None:
    """lmerTest 3.1, but for `temp`, which adds nothing to the factor of itself."""
    result = fit("angle ~ temp + recipe*C(temp) + (1 | recipe:replicate)", cake())
    for type in (2, 3):
        table = result.anova(type)
        assert table["num_df"].tolist() == [0, 2, 4, 10]
        assert_allclose(table["F"].iloc[1:], [0.2488, 1.6315, 1.0062], atol=6e-5)
    assert_allclose(result.anova(1)["F"], [96.0732, 0.2488, 1.6315, 1.0062], atol=6e-5)
    both = fit("angle ~ recipe*temp + C(temp) + (1 | recipe:replicate)", cake())
    for type in (2, 3):
        table = both.anova(type)
        assert table["num_df"].tolist() == [2, 0, 4, 2]
        assert_allclose(table["F"].drop("temp"), [0.0966, 1.6169, 0.0422], atol=6e-5)
        assert_allclose(table["den_df"].iloc[0], 249.88, atol=6e-3)


def test_the_order_is_that_of_the_formula() -> None:
    """With the factor first nothing is left of the line."""
    result = fit("angle ~ recipe + C(temp) + temp + (1 | recipe:replicate)", cake())
    assert result.anova(1)["num_df"].tolist() == [2, 5, 0]
    assert result.drop1()["num_df"].tolist() == [2, 4, 0]


def test_aliases_of_arrays_and_columns_left_out() -> None:
    data = lack_of_fit()
    X = np.column_stack([np.ones(160), data["x"], 2.0 * data["x"], data["x"] ** 2])
    with pytest.warns(match="rank deficient"):
        arrays = MixedLM(data["y"].to_numpy(), X, [RandomTerm(data["g"])]).fit()
    assert arrays.anova(1)["num_df"].tolist() == [1, 0, 1]
    assert arrays.drop1()["num_df"].tolist() == [0, 0, 1]
    named = fit("y ~ x + f + (1 | g)", data, drop_cols=["f[T.l1]"])
    assert named.anova(1)["num_df"].tolist() == [1, 2]
    assert named.drop1()["num_df"].tolist() == [1, 2]


def test_after_pickling_and_remove_data() -> None:
    data = lack_of_fit()
    data["w"] = 1.0 + np.arange(len(data)) % 3
    result = fit("y ~ x + f + (1 | g)", data, weights="w")
    before = [result.anova(type) for type in TYPES] + [result.drop1(), result.drop1(test="LRT")]
    kept = pickle.loads(pickle.dumps(result))
    kept.remove_data()
    kept = pickle.loads(pickle.dumps(kept))
    after = [kept.anova(type) for type in TYPES] + [kept.drop1(), kept.drop1(test="LRT")]
    for one, two in zip(before, after):
        assert_allclose(one, two)


def test_a_formula_that_is_no_special_case_is_refused() -> None:
    """The formula without `recipe` has other columns of `temperature` than one left out here."""
    left_out = {"drop_cols": ["temperature[T.185]"]}
    result = fit("angle ~ 0 + recipe + temperature + (1 | replicate)", cake(), **left_out)
    with pytest.raises(FitError, match="without 'recipe' is no special case of this one"):
        result.drop1()
    assert result.drop1("temperature")["num_df"].tolist() == [4]


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        (3, r"scope=3 is neither a name nor a list of names. Write scope='x' or \['x', 'z'\]"),
        ([3], r"scope=\[3\] is neither"),
        (np.zeros((40, 3)), r"scope=<ndarray of shape \(40, 3\)> is neither"),
        ("recip", r"'recip' is no term; .* Did you mean 'recipe'"),
        ("Intercept", r"'Intercept' is the intercept"),
    ],
)
def test_scope(scope: Any, message: str) -> None:
    result = fit("angle ~ recipe + temp + (1 | recipe:replicate)", cake())
    with pytest.raises(FitError, match=message):
        result.drop1(scope)


def test_scope_takes_the_factors_of_a_term_in_any_order() -> None:
    result = fit("angle ~ recipe*temp + (1 | recipe:replicate)", cake())
    assert_allclose(result.drop1("temp : recipe"), result.drop1("recipe:temp"))
    with pytest.raises(FitError, match="'temp' is part of an interaction, 'recipe:temp'"):
        result.drop1("temp")


def test_one_hypothesis_has_one_df() -> None:
    """Machines without some rows; lmerTest 3.1 has 5.00833 in all tables, by finite differences."""
    data = datasets.machines.load_pandas().data
    data = data.drop(index=data.index[[0, 4, 8, 13, 21, 22, 30, 39, 46]])
    result = fit("score ~ Machine + (0 + Machine | Worker)", data)
    dfs = [result.anova(type)["den_df"].iloc[0] for type in TYPES]
    dfs += [result.drop1()["den_df"].iloc[0]]
    dfs += [result.wald_test_terms().table["df_denom"]["Machine"]]
    L = np.eye(3)[1:]
    dfs += [result.f_test(M @ L).df_denom for M in (np.eye(2), [[1, 2], [3, -1.0]])]
    assert_allclose(dfs, dfs[0], rtol=1e-10)
    assert_allclose(dfs[0], 5.00833, rtol=1e-4)


def test_one_df_whatever_the_basis() -> None:
    data = datasets.sleepstudy.load_pandas().data.iloc[:-4]
    result = fit("Reaction ~ Days + I(Days**2) + (Days | Subject)", data)
    L = np.eye(3)[1:]
    for M in ([[1, 1.0], [1, -1.0]], [[1e6, 1.0], [0, 1.0]], [[0, 1.0], [1, 0]]):
        assert_allclose(
            result.f_test(np.array(M) @ L).df_denom, result.f_test(L).df_denom, rtol=1e-8
        )


def test_missing_cells_get_a_note() -> None:
    data = cake()
    temperature = data["temperature"].astype(str)
    data = data[~((data["recipe"] == "B") & (temperature == "185"))]
    result = fit("angle ~ recipe*temperature + (1 | recipe:replicate)", data)
    note = result.anova(3).attrs["note"]
    assert "recipe:temperature ('B:185')" in note and "interpret them with care" in note
    assert "note" not in result.anova(2).attrs
    full = fit("angle ~ recipe*temperature + (1 | recipe:replicate)", cake())
    assert not full.anova(3).attrs.get("note")


@pytest.mark.parametrize("bad", [np.arange(3), pd.Series([1, 2]), [1], None, 2.5, {"a": 1}])
def test_arguments_that_are_no_choice(bad: Any) -> None:
    result = fit("angle ~ recipe + temp + (1 | recipe:replicate)", cake())
    for call in (
        lambda: result.anova(bad), lambda: result.drop1(test=bad), lambda: result.with_ddf(bad),
        lambda: result.ranova(boundary=bad), lambda: result.ranova(bad),
        lambda: result.robust_cov(kind=bad), lambda: result.model.fit(ddf=bad),
        lambda: result.model.fit(cov_type=bad),
    ):  # fmt: skip
        with pytest.raises(FitError, match=r"is not known|is neither|neither True"):
            call()
