"""Influence: closed forms against refits, refits against fits of fewer rows and against lme4."""

from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from simulation import example, fit, quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.diagnostics import deletion_at_theta
from mixedlm_ext.errors import DesignError, FitError

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
FRAMES = ["params", "bse", "sigma", "objective", "displacement"]
MODELS = {
    "one factor": ("crossed", ["1x|g"], {"weights": True, "offset": True}),
    "nested": ("nested", ["1|g", "1x|h"], {"weights": True}),
    "crossed": ("partial", ["1x|g", "1|h"], {"weights": True, "offset": True}),
}


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@pytest.fixture(scope="module")
def sleepstudy() -> Any:
    return fit(SLEEPSTUDY, load("sleepstudy"))


@pytest.mark.parametrize("refit", [True, False])
def test_lme4s_numbers(sleepstudy: Any, refit: bool) -> None:
    """lme4 refits; in balanced data the fixed effects without a subject do not depend on theta."""
    influence = sleepstudy.influence("Subject", refit=refit)
    assert_allclose(influence.cooks_distance[["308", "309"]], [0.08214848, 0.13202203], rtol=1e-6)
    assert_allclose(influence.change.loc["308"], [0.424260927, -0.664553910], rtol=1e-6)
    assert_allclose(influence.change.loc["309"], [2.726479964, 0.482676500], rtol=1e-6)
    if refit:  # lme4's sign is the other one
        expected = [[-0.0587248529, 0.448927458], [-0.4108763922, -0.309889754]]
        assert_allclose(influence.dfbetas.loc[["308", "309"]], expected, rtol=1e-5)


def test_lme4s_numbers_for_crossed_factors() -> None:
    """lme4 stops its refits at a looser tolerance: 1e-3 in variances."""
    result = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load("penicillin"))
    influence = result.influence("sample", refit=True)
    means = [22.53333333, 23.17500000, 22.58333333, 22.99166667, 22.97500000, 23.57500000]
    assert_allclose(influence.params["Intercept"], means, rtol=1e-8)
    sigma2 = [0.3072495607, 0.3128623254, 0.3137681875, 0.2983694622, 0.2780797030, 0.3041666837]
    assert_allclose(influence.sigma**2, sigma2, rtol=1e-3)
    cooks = [0.2455211481, 0.05241075942, 0.1927661634, 0.0004819154, 9.835e-06, 0.4631207075]
    assert_allclose(influence.cooks_distance, cooks, rtol=1e-4)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_closed_forms_against_dense_matrices(name: str, reml: bool) -> None:
    """By a grouping factor, by rows, and by labels that cut through everything."""
    kind, terms, options = MODELS[name]
    model = example(kind, terms, seed=4, **options)
    result = quietly(model.model(), reml=reml)
    for groups in (model.names[-1], np.arange(len(model.y)) % 7, None):
        closed = result.influence(groups)
        codes = model.terms[-1].codes if isinstance(groups, str) else groups
        codes = np.arange(len(model.y)) if codes is None else codes
        for g in (0, 3):
            keep = codes != g
            part = {
                "y": model.y[keep],
                "X": model.X[keep],
                "terms": tuple(
                    oracle.Term(t.X[keep], t.codes[keep], t.levels, t.structure)
                    for t in model.terms
                ),
                "w": None if model.w is None else model.w[keep],
                "offset": None if model.offset is None else model.offset[keep],
            }
            expected = oracle.estimates(**part, theta=result.theta, reml=reml)
            assert_allclose(closed.params.iloc[g], expected.beta, rtol=1e-7, atol=1e-9)
            assert_allclose(closed.bse.iloc[g], np.sqrt(np.diag(expected.cov_beta)), rtol=1e-7)
            assert_allclose(closed.sigma.iloc[g], np.sqrt(expected.sigma2), rtol=1e-8)
            value = oracle.objective(**part, theta=result.theta, reml=reml)
            assert_allclose(closed.objective.iloc[g], value, rtol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_the_two_closed_forms_agree(name: str, monkeypatch: Any) -> None:
    """V⁻¹_II, or the factor of A - A_I."""
    kind, terms, options = MODELS[name]
    result = quietly(example(kind, terms, seed=4, **options).model())
    groups = np.arange(60) % 7
    one = result.influence(groups)
    monkeypatch.setattr(deletion_at_theta, "_MOST_ROWS", 0)
    two = result.influence(groups)
    for frame in FRAMES:
        assert_allclose(getattr(one, frame), getattr(two, frame), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize(
    ("name", "formula", "groups"),
    [
        ("sleepstudy", SLEEPSTUDY, "Subject"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)", "batch"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)", "cask"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "sample"),
        ("oats", "Q('yield') ~ nitro + Variety + (1 | Block/Variety)", "Block"),
    ],
)
def test_refits_are_fits_of_the_other_rows(
    name: str, formula: str, groups: str, reml: bool
) -> None:
    data = load(name)
    result = fit(formula, data, reml=reml)
    influence = result.influence(groups, refit=True)
    assert influence.converged.all() and influence.failures.empty
    for level in influence.params.index[:3]:
        other = fit(formula, data[data[groups] != level], reml=reml)
        assert_allclose(influence.params.loc[level], other.params, rtol=1e-6, atol=1e-9)
        assert_allclose(influence.bse.loc[level], other.bse, rtol=1e-5)
        assert_allclose(influence.theta.loc[level], other.theta, atol=1e-5)
        assert_allclose(influence.sigma[level], other.sigma, rtol=1e-6)
        assert_allclose(influence.objective[level], other.objective, rtol=1e-9)


def test_displacement_is_the_rise_of_the_criterion() -> None:
    """Under ML, minus twice the log density of all rows at the other estimates."""
    data = load("sleepstudy")
    result = fit(SLEEPSTUDY, data, reml=False)
    influence = result.influence("Subject", refit=True)
    X = np.column_stack([np.ones(180), data["Days"]])
    codes = pd.factorize(data["Subject"])[0]
    term = oracle.Term(X, codes, 18)
    for level in ("308", "335"):
        V = oracle.covariance([term], influence.theta.loc[level].to_numpy(), None)
        V = V * influence.sigma[level] ** 2
        r = data["Reaction"] - X @ influence.params.loc[level].to_numpy()
        minus2 = np.linalg.slogdet(2 * np.pi * V)[1] + r @ np.linalg.solve(V, r)
        assert_allclose(influence.displacement[level], minus2 - result.objective, rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("refit", [True, False])
def test_displacement_is_never_negative(reml: bool, refit: bool) -> None:
    result = fit("strength ~ 1 + (1 | batch/cask)", load("pastes"), reml=reml)
    assert (result.influence("batch", refit=refit).displacement > -1e-8).all()


def test_observations_against_least_squares() -> None:
    """With a variance of zero everything is that of statsmodels' OLS."""
    data = load("dyestuff2")
    expected = smf.ols("Yield ~ 1", data).fit().get_influence()
    influence = fit("Yield ~ 1 + (1 | Batch)", data).get_influence()
    assert_allclose(influence.hat_matrix_diag, expected.hat_matrix_diag, rtol=1e-6)
    assert_allclose(influence.cooks_distance, expected.cooks_distance, rtol=1e-6)
    assert_allclose(influence.dfbeta, expected.dfbeta, rtol=1e-6)
    assert_allclose(influence.dfbetas, expected.dfbetas, rtol=1e-6)
    assert_allclose(influence.resid_studentized, expected.resid_studentized_internal, rtol=1e-6)
    assert_allclose(influence.dffits_internal, expected.dffits_internal[0], rtol=1e-6)
    ours, theirs = influence.summary_frame(), expected.summary_frame()
    assert list(ours) == ["dfb_Intercept", "cooks_d", "standard_resid", "hat_diag",
                          "dffits_internal"]  # fmt: skip
    assert_allclose(ours, theirs[list(ours)], rtol=1e-6)


def test_observations_are_left_out(sleepstudy: Any) -> None:
    """`dfbeta` is the closed form of `influence()`, with the other sign."""
    influence = sleepstudy.get_influence()
    assert_allclose(influence.dfbeta, -sleepstudy.influence().change, atol=1e-10)
    assert influence.summary_frame().index.equals(load("sleepstudy").index)


def test_groups_by_name_by_values_and_by_label() -> None:
    data = load("sleepstudy")
    result = fit(SLEEPSTUDY, data)
    by_name = result.influence("Subject")
    by_values = result.influence(data["Subject"])
    assert_allclose(by_values.params, by_name.params, rtol=1e-12)
    by_day = result.influence("Days")
    assert list(by_day.params.index) == list(range(10))
    assert by_day.n_rows.eq(18).all()
    casks = fit("strength ~ 1 + (1 | batch/cask)", load("pastes")).influence("batch:cask")
    assert casks.params.index[0] == ("A", "a")


def test_rows_that_were_dropped_need_no_care() -> None:
    data = load("sleepstudy")
    data.loc[[3, 50], "Reaction"] = np.nan
    result = fit(SLEEPSTUDY, data)
    other = fit(SLEEPSTUDY, data.dropna())
    one, two = result.influence(data["Subject"]), other.influence("Subject")
    assert_allclose(one.params, two.params, rtol=1e-10)


@pytest.mark.parametrize("refit", [True, False])
def test_a_group_that_the_fixed_effects_need(refit: bool) -> None:
    """It has no row of numbers, and a reason."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(list("abcdefgh"), 6), "y": rng.standard_normal(48)})
    data["x"] = (data["g"] == "c").astype(float)
    data["y"] += 2 * rng.standard_normal(8)[pd.factorize(data["g"])[0]]
    influence = fit("y ~ x + (1 | g)", data).influence("g", refit=refit)
    assert list(influence.failures.index) == ["c"]
    assert "cannot all be estimated" in influence.failures["c"]
    assert influence.params.loc["c"].isna().all()
    assert influence.params.drop("c").notna().all(axis=None)
    assert influence.summary_frame().index[-1] == "c"


def test_bad_groups(sleepstudy: Any) -> None:
    with pytest.raises(DesignError, match="Did you mean 'Subject'"):
        sleepstudy.influence("subject")
    with pytest.raises(DesignError, match=r"groups=data\['age'\]"):
        sleepstudy.influence("age")
    with pytest.raises(DesignError, match="180 rows"):
        sleepstudy.influence(np.arange(7))
    with pytest.raises(DesignError, match="one group"):
        sleepstudy.influence(np.zeros(180))
    with pytest.raises(DesignError, match="missing"):
        sleepstudy.influence(np.where(np.arange(180) < 3, np.nan, np.arange(180) % 5))
    with pytest.raises(FitError, match="n_jobs"):
        sleepstudy.influence("Subject", refit=True, n_jobs=0)


def test_nothing_changes(sleepstudy: Any) -> None:
    before = sleepstudy.params.copy(), sleepstudy.theta.copy(), sleepstudy.objective
    sleepstudy.influence("Subject", refit=True)
    sleepstudy.get_influence().summary_frame()
    assert (sleepstudy.params == before[0]).all() and (sleepstudy.theta == before[1]).all()
    assert sleepstudy.objective == before[2]


def test_a_large_mean_and_other_units() -> None:
    """Influence on coefficients does not depend on where y and x are measured from."""
    data = load("sleepstudy")
    moved = data.assign(Reaction=data["Reaction"] + 1e7, Days=1000 * data["Days"])
    for refit in (True, False):
        one = fit(SLEEPSTUDY, data).influence("Subject", refit=refit)
        two = fit(SLEEPSTUDY, moved).influence("Subject", refit=refit)
        assert_allclose(two.cooks_distance, one.cooks_distance, rtol=1e-5)
        assert_allclose(two.dfbetas, one.dfbetas, rtol=1e-4, atol=1e-6)


def test_parallel(sleepstudy: Any) -> None:
    pytest.importorskip("joblib")
    one = sleepstudy.influence(np.arange(180) % 9, refit=True)
    two = sleepstudy.influence(np.arange(180) % 9, refit=True, n_jobs=2)
    assert_allclose(one.params, two.params, rtol=0, atol=0)


def test_array_models() -> None:
    model = example("crossed", ["1x|g"], seed=1).model()
    result = quietly(model)
    assert isinstance(result.leverage(), np.ndarray)
    assert len(result.influence("g").params) == 12
    assert isinstance(model, MixedLM)
