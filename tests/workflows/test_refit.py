"""Refits: to other responses, by ML, with other formulas and data; against models made anew."""

from __future__ import annotations

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example, example, quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.criteria.pls import problem_with
from mixedlm_ext.errors import DesignError, FormulaError
from mixedlm_ext.language.parser import parse_formula
from mixedlm_ext.language.update import update_formula
from mixedlm_ext.products.responses import Reduction

CASES = {
    "nested": example("nested", ["1x|g", "1|h"], n=90, weights=True, offset=True, seed=1),
    "crossed": example("crossed", ["1|g", "1|h"], seed=2),
    "partial": example("partial", ["1x|g", "1z||h"], n=80, offset=True, seed=3),
    "dependent columns": example("nested", ["1|g"], X="1xd", weights=True, seed=4),
    "no fixed effects": example("crossed", ["1|g", "1|i"], X="", seed=5),
}


@pytest.fixture(scope="module")
def data(sleepstudy: pd.DataFrame) -> pd.DataFrame:
    return sleepstudy


def other(case: Example) -> np.ndarray:
    return 3.0 * np.random.default_rng(9).standard_normal(len(case.y)) + 1e3


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_cross_products_are_those_of_a_new_model(case: Example) -> None:
    y = other(case)
    model = case.model()
    cp = problem_with(
        model.problem, Reduction(model.design, model.problem.cp.layout)(y[:, None])
    ).cp
    fresh = Example(y, case.X, case.terms, case.names, case.w, case.offset).model().problem.cp
    assert_allclose(cp.Zy, fresh.Zy, atol=1e-10)
    assert_allclose(cp.yy, fresh.yy, rtol=1e-11)
    assert_allclose(cp.layout.beta0, fresh.layout.beta0, rtol=1e-9)
    assert cp.ZX is model.problem.cp.ZX


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_refit_is_a_fit_of_the_new_response(case: Example, reml: bool) -> None:
    y = other(case)
    first = quietly(case.model(), reml=reml)
    before = first.theta.copy()
    refitted = _quiet(lambda: first.refit(y))
    _, expected = oracle.minimise(**{**case.dense, "y": y}, reml=reml)
    assert refitted.reml is reml
    assert refitted.objective <= expected + 1e-6
    assert_allclose(refitted.objective, expected, rtol=1e-6)
    assert_allclose(first.theta, before)
    assert_allclose(first.model.endog, case.y)


def _quiet(run):
    import warnings

    from mixedlm_ext.errors import SingularFitWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return run()


def test_refit_to_its_own_response(result) -> None:
    again = result.refit(result.model.endog)
    assert_allclose(again.objective, result.objective, rtol=1e-13)
    assert_allclose(again.params, result.params, rtol=1e-8)
    assert list(again.params.index) == ["Intercept", "Days"]
    assert again.optimization.evaluations <= result.optimization.evaluations


def test_refit_leaves_a_variance_of_zero() -> None:
    """Zero is a stationary point of the criterion; the start keeps off it."""
    flat = datasets.dyestuff2.load_pandas().data
    rich = datasets.dyestuff.load_pandas().data
    first = quietly(MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", flat))
    assert first.theta[0] < 1e-8
    assert_allclose(first.refit(rich["Yield"].to_numpy()).objective, 319.6542768422576)


def test_refit_keeps_options(data: pd.DataFrame) -> None:
    model = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data)
    first = model.fit(reml=False, ddf="normal", sigma=30.0)
    again = first.refit(data["Reaction"] + data["Days"])
    assert (again.reml, again.ddf, again.sigma) == (False, "normal", 30.0)
    assert_allclose(again.params["Days"], first.params["Days"] + 1)


def test_refit_and_the_rest_of_the_result(result, data: pd.DataFrame) -> None:
    doubled = result.refit(2 * data["Reaction"])
    assert_allclose(doubled.fittedvalues, 2 * result.fittedvalues, rtol=1e-6)
    new = {"Days": [1.0], "Subject": ["308"]}
    assert_allclose(doubled.predict(new), 2 * result.predict(new), rtol=1e-6)
    assert_allclose(doubled.model.endog, 2 * result.model.endog)
    assert "Reaction" in doubled.summary().as_text()


def test_rows_with_missing_values(data: pd.DataFrame) -> None:
    holes = data.copy()
    holes.loc[[0, 9], "Days"] = np.nan
    result = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", holes).fit()
    assert_allclose(result.refit(data["Reaction"]).objective, result.objective)
    assert_allclose(result.refit(data["Reaction"].drop([0, 9])).objective, result.objective)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.ones(180), "constant"),
        (np.arange(10.0), "has 10 rows; the fit used 180"),
        (np.full(180, np.nan), "finite|missing"),
        (["a"] * 180, "not numeric"),
        (np.ones((180, 2)), "fit_many"),
        (pd.Series(np.arange(180.0), index=range(1, 181)), "index of the new response"),
    ],
)
def test_bad_responses(result, y, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        result.refit(y)


def test_removed_data(data: pd.DataFrame) -> None:
    result = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    result.remove_data()
    with pytest.raises(DesignError, match="removed"):
        result.refit(np.arange(180.0))
    with pytest.raises(DesignError, match="removed"):
        result.simulate(rng=1)


def test_refit_ml(result) -> None:
    ml = result.refit_ml()
    assert ml.method == "ML" and result.method == "REML"
    assert_allclose(ml.objective, 1751.9393444636682, atol=1e-7)
    assert ml.refit_ml().ddf == "satterthwaite"
    assert result.with_ddf("kenward-roger").refit_ml().ddf == "satterthwaite"


# ---------------------------------------------------------------- update


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("~ .", "y - 3 ~ 0 + x + f + z + f:z + (v | a) + (v | a:b) + (0 + x || g) + offset(u)"),
        ("~ . - x - f:z", "y - 3 ~ 0 + f + z + (v | a) + (v | a:b) + (0 + x || g) + offset(u)"),
        ("log(y) ~ x + (1 | g)", "log(y) ~ x + (1 | g)"),
        (". ~ w + . - (v | a/b)", "y - 3 ~ 0 + x + f + z + f:z + w + (0 + x || g) + offset(u)"),
        (
            "~ . - (1 + v | b:a) - offset(u)",
            "y - 3 ~ 0 + x + f + z + f:z + (v | a) + (0 + x || g)",
        ),
        ("~ . - (0+x||g) + (1|g)",
         "y - 3 ~ 0 + x + f + z + f:z + (v | a) + (v | a:b) + (1 | g) + offset(u)"),
        ("~ . + np.log(q) + I(q**2.)", "y - 3 ~ 0 + x + f + z + f:z + np.log(q) + I(q ** 2.)"
         " + (v | a) + (v | a:b) + (0 + x || g) + offset(u)"),
    ],
)  # fmt: skip
def test_formulas(change: str, expected: str) -> None:
    old = parse_formula("y - 3 ~ 0 + x + f*z + offset(u) + (v | a/b) + (0 + x || g)")
    assert update_formula(old, change).text == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("x", "with ~"),
        ("~ . - (1 | a)", r"\(1 \| a\) cannot be taken away: the formula has \(v \| a\)"),
        ("~ . - offset(w)", "cannot be taken away"),
        ("~ (. + q)", "the dot stands within"),
        ("~ . + x +", "."),
        ("~", "."),
    ],
)
def test_bad_formulas(change: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        update_formula(parse_formula("y ~ x + (v | a)"), change)


def test_update_fits_the_changed_model(result, data: pd.DataFrame) -> None:
    updated = result.with_ddf("residual").update("~ . - (Days | Subject) + (1 | Subject)")
    direct = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    assert_allclose(updated.objective, direct.objective)
    assert updated.ddf == "residual"
    assert updated.model.formula_full == "Reaction ~ Days + (1 | Subject)"


def test_update_data_and_variables_of_the_caller(result, data: pd.DataFrame) -> None:
    assert result.update(data=data.iloc[:100]).nobs == 100
    with pytest.raises(DesignError, match="Week"):
        result.update("~ . + Week")
    late = data["Days"].to_numpy() > 4  # noqa: F841 (the formula uses it)
    assert "late[T.True]" in result.update("~ . + late").params.index


def test_update_keeps_weights_and_offset(data: pd.DataFrame) -> None:
    w = np.random.default_rng(1).uniform(0.5, 2.0, 180)
    known = np.linspace(0.0, 9.0, 180)
    framed = data.assign(w=w, known=known)
    formula = "Reaction ~ Days + offset(Days) + (1 | Subject)"
    named = MixedLM.from_formula(formula, framed, weights="w", offset="known").fit()
    arrays = MixedLM.from_formula(formula, framed, weights=w, offset=known).fit()
    direct = MixedLM.from_formula(
        "Reaction ~ 1 + offset(Days) + (1 | Subject)", framed, weights=w, offset=known
    ).fit()
    for before in (named, arrays):
        assert_allclose(before.update("~ . - Days").objective, direct.objective)
    assert_allclose(named.update(data=framed).objective, named.objective)
    with pytest.raises(DesignError, match="weights of the model were an array"):
        arrays.update(data=framed)
    assert_allclose(arrays.update(data=framed, weights="w", offset="known").objective,
                    arrays.objective)  # fmt: skip


def test_update_after_refit_keeps_the_response(result, data: pd.DataFrame) -> None:
    doubled = result.refit(2 * data["Reaction"]).update("~ . - Days")
    assert_allclose(doubled.params, 2 * result.update("~ . - Days").params, rtol=1e-6)


def test_update_of_arrays(data: pd.DataFrame) -> None:
    case = CASES["nested"]
    with pytest.raises(DesignError, match="arrays"):
        quietly(case.model()).update("~ . - x")


# ---------------------------------------------------------------- robust covariances


def test_refits_keep_a_robust_covariance(result, data: pd.DataFrame) -> None:
    robust = result.get_robustcov_results("cluster", kind="CR1")
    again = robust.refit(2 * data["Reaction"])
    assert again.ddf == robust.ddf
    assert_allclose(again.bse, 2 * robust.bse, rtol=1e-6)
    boot = robust.bootstrap(3, rng=1, statistic=lambda r: r.bse)
    assert_allclose(boot.estimates, robust.bse)
    assert robust.refit_ml().cov_type == "cluster"
    assert boot.conf_int(kind="percentile").shape == (2, 2)
