"""Residuals, leverages, principal components and variance inflation."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from lme4_reference import CASES, Case, case_id
from numpy.testing import assert_allclose
from simulation import Example, example, fit, quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError, FitError
from mixedlm_ext.geometry import leverage as leverage_module
from mixedlm_ext.geometry import marginal

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
KINDS = ["response", "pearson", "scaled", "studentized", "marginal", "normalized"]

MODELS = {
    "one factor": ("crossed", ["1x|g"], {"weights": True, "offset": True}),
    "two terms on one factor": ("crossed", ["1|g", "x|g"], {}),
    "nested": ("nested", ["1|g", "1x|h"], {"weights": True}),
    "crossed": ("partial", ["1x|g", "1|h"], {"weights": True, "offset": True}),
    "three factors": ("mixed", ["1|g", "1x||h", "1|i"], {}),
    "no fixed effects": ("crossed", ["1|g"], {"X": ""}),
}


class Fitted:
    """One simulated fit and its dense quantities."""

    def __init__(self, model: Example, reml: bool = True) -> None:
        self.model = model
        self.result = quietly(model.model(), reml=reml)
        n = len(model.y)
        self.w = np.ones(n) if model.w is None else model.w
        self.estimates = oracle.estimates(**model.dense, theta=self.result.theta, reml=reml)
        self.V = oracle.covariance(model.terms, self.result.theta, model.w)
        X = model.X
        known = 0.0 if model.offset is None else model.offset
        self.marginal = model.y - known - X @ self.estimates.beta


@pytest.fixture(params=MODELS, scope="module")
def fitted(request: pytest.FixtureRequest) -> Fitted:
    kind, terms, options = MODELS[request.param]
    return Fitted(example(kind, terms, seed=3, **options))


@pytest.fixture(scope="module")
def sleepstudy() -> Any:
    return fit(SLEEPSTUDY, datasets.sleepstudy.load_pandas().data)


def test_row_residuals_against_dense_matrices(fitted: Fitted) -> None:
    """Each from its definition, V dense."""
    response = fitted.model.y - fitted.estimates.fitted
    sigma = np.sqrt(fitted.estimates.sigma2)
    scaled = response * np.sqrt(fitted.w) / sigma
    expected = {
        "response": response,
        "pearson": response * np.sqrt(fitted.w),
        "scaled": scaled,
        "studentized": scaled / np.sqrt(1 - fitted.estimates.leverage),
        "marginal": fitted.marginal,
    }
    for kind, values in expected.items():
        assert_allclose(fitted.result.residuals(kind), values, atol=1e-8, err_msg=kind)


def test_normalized_residuals_whiten(fitted: Fitted) -> None:
    """Their squares sum to r'V⁻¹r/σ², and V's own root gives the same up to the order of rows."""
    z = fitted.result.residuals("normalized")
    r, sigma2 = fitted.marginal, fitted.estimates.sigma2
    assert_allclose(z @ z, r @ np.linalg.solve(fitted.V, r) / sigma2, rtol=1e-8)
    codes = marginal.independent_sets(fitted.result.fit_record.design)
    for one in range(codes.max() + 1):
        own = codes == one
        assert not fitted.V[np.ix_(own, ~own)].any()
        L = np.linalg.cholesky(fitted.V[np.ix_(own, own)])
        assert_allclose(z[own], np.linalg.solve(L, r[own]) / np.sqrt(sigma2), atol=1e-8)


def test_random_residuals_against_dense_matrices(fitted: Fitted) -> None:
    """b = ΓZ'Py is linear in y: its covariance is σ²ΓZ'PZΓ."""
    model, X = fitted.model, fitted.model.X
    Vi = np.linalg.inv(fitted.V)
    P = Vi - Vi @ X @ np.linalg.solve(X.T @ Vi @ X, X.T @ Vi)
    Z, Lambda = oracle.Z(model.terms), oracle.Lambda(model.terms, fitted.result.theta)
    G = Lambda @ Lambda.T
    b = G @ Z.T @ P @ (model.y - (0.0 if model.offset is None else model.offset))
    variance = fitted.estimates.sigma2 * np.einsum("ij,jk,ik->i", G @ Z.T, P, G @ Z.T)
    ours = [frame.to_numpy().ravel() for frame in fitted.result.residuals("random").values()]
    there = np.isfinite(np.concatenate(ours))
    expected = b[there] / np.sqrt(variance[there])
    assert_allclose(np.concatenate(ours)[there], expected, rtol=1e-4, atol=1e-6)


def test_leverage_against_dense_matrices(fitted: Fitted, monkeypatch: Any) -> None:
    assert_allclose(fitted.result.leverage(), fitted.estimates.leverage, atol=1e-9)
    monkeypatch.setattr(leverage_module, "_CELLS", 100)  # a few rows a chunk
    assert_allclose(fitted.result.leverage(), fitted.estimates.leverage, atol=1e-9)


@pytest.fixture(scope="module", params=CASES, ids=case_id)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    yield Case(request.param)


def test_leverage_and_cooks_distance_of_lme4(case: Case) -> None:
    """They are functions of theta, which lme4 knows to four digits."""
    h = np.asarray(case.result.leverage())
    assert_allclose(h[:6], case["leverage_head"], rtol=2e-4, atol=1e-6)
    assert_allclose(h.sum(), case["leverage_sum"], rtol=1e-4)
    if case["fixef"]:  # it divides by p
        cooks = case.result.get_influence().cooks_distance[0]
        assert_allclose(cooks[:6], case["cooks_head"], rtol=5e-4, atol=1e-6)


def test_sum_of_leverages_of_sleepstudy() -> None:
    result = fit(SLEEPSTUDY, datasets.sleepstudy.load_pandas().data, reml=False)
    assert_allclose(result.leverage().sum(), 28.61165331, rtol=1e-5)


def test_labels(sleepstudy: Any) -> None:
    data = datasets.sleepstudy.load_pandas().data
    data.index = [f"row {i}" for i in range(len(data))]
    result = fit(SLEEPSTUDY, data)
    for kind in KINDS:
        assert result.residuals(kind).index.equals(data.index)
    assert result.leverage().index.equals(data.index)
    modes = result.residuals("random")["Subject"]
    assert list(modes.columns) == ["Intercept", "Days"]
    assert modes.index.equals(sleepstudy.random_effects["Subject"].index)


def test_theta_zero_gives_the_residuals_of_least_squares() -> None:
    import statsmodels.formula.api as smf

    data = datasets.dyestuff2.load_pandas().data
    influence = smf.ols("Yield ~ 1", data).fit().get_influence()
    result = fit("Yield ~ 1 + (1 | Batch)", data)
    assert_allclose(
        result.residuals("studentized"), influence.resid_studentized_internal, rtol=1e-6
    )
    assert_allclose(result.leverage(), influence.hat_matrix_diag, rtol=1e-6)
    assert result.residuals("random")["Batch"].isna().all(axis=None)


def test_bad_kinds(sleepstudy: Any) -> None:
    with pytest.raises(DesignError, match="Did you mean 'pearson'"):
        sleepstudy.residuals("Pearsons")


def test_normalized_residuals_refuse_large_crossed_designs(monkeypatch: Any) -> None:
    data = datasets.penicillin.load_pandas().data
    result = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    assert np.isfinite(result.residuals("normalized")).all()
    monkeypatch.setattr(marginal, "LARGEST_BLOCK", 100)
    with pytest.raises(FitError, match="144 rows that hang together"):
        result.residuals("normalized")


def test_without_rows() -> None:
    result = fit(SLEEPSTUDY, datasets.sleepstudy.load_pandas().data)
    result.remove_data()
    for method in (result.residuals, result.leverage, result.get_influence, result.influence):
        with pytest.raises(FitError, match="removed"):
            method()
    with pytest.raises(FitError, match="removed"):
        result.check()
    assert list(result.re_pca()) == ["Subject"]
    assert np.isfinite(result.residuals("random")["Subject"]).all(axis=None)


def test_principal_components_of_sleepstudy(sleepstudy: Any) -> None:
    """lme4's rePCA; loadings up to sign."""
    pca = sleepstudy.re_pca()["Subject"]
    assert_allclose(pca.std_dev, [0.9668591, 0.2308795], rtol=1e-5)
    assert_allclose(pca.proportion, [0.946050, 0.053950], atol=1e-5)
    assert_allclose(
        pca.loadings.abs(), [[0.99986158, 0.01663786], [0.01663786, 0.99986158]], atol=1e-5
    )
    cov = sleepstudy.cov_re / sleepstudy.scale
    loadings = pca.loadings.to_numpy()
    rebuilt = loadings @ np.diag(pca.std_dev**2) @ loadings.T
    assert_allclose(rebuilt, cov, atol=1e-12)
    assert "Loadings" in repr(pca)


def test_principal_components_without_variance() -> None:
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff2.load_pandas().data)
    pca = result.re_pca()["Batch"]
    assert_allclose(pca.std_dev, 0, atol=1e-6)


def test_variance_inflation_of_car() -> None:
    """Numbers of car 3.1-1's vif on lme4's fits."""
    data = datasets.cake.load_pandas().data
    result = fit("angle ~ recipe + temp + I(temp**2) + (1 | recipe:replicate)", data)
    assert_allclose(result.vif()["gvif"], [1, 751.0000002, 751.0000002], rtol=1e-6)
    result = fit("angle ~ recipe * C(temp, Poly) + (1 | recipe:replicate)", data)
    table = result.vif()
    assert list(table.index) == ["recipe", "C(temp, Poly)", "recipe:C(temp, Poly)"]
    assert_allclose(table["gvif"], [1, 243, 243], rtol=1e-6)
    assert list(table["df"]) == [2, 5, 10]


def test_variance_inflation_of_statsmodels() -> None:
    """With no random effects at the estimate they are those of least squares."""
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    rng = np.random.default_rng(5)
    data = pd.DataFrame({"x": rng.standard_normal(60), "g": np.arange(60) % 6})
    data["z"] = data["x"] + rng.standard_normal(60)
    data["y"] = data["x"] + rng.standard_normal(60)
    for column in "xzy":  # no group differs from another
        data[column] -= data.groupby("g")[column].transform("mean")
    model = MixedLM.from_formula("y ~ x + z + (1 | g)", data)
    result = quietly(model)
    assert_allclose(result.theta, 0, atol=1e-6)
    expected = [variance_inflation_factor(model.exog, j) for j in (1, 2)]
    assert_allclose(result.vif()["gvif"], expected, rtol=1e-8)


def test_variance_inflation_needs_covariates() -> None:
    result = fit("Yield ~ 1 + (1 | Batch)", datasets.dyestuff.load_pandas().data)
    with pytest.raises(FitError, match="no fixed effects besides the intercept"):
        result.vif()
