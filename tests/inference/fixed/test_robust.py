"""Cluster-robust covariance against clubSandwich, dense matrices and the jackknife."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from lme4_reference import REFERENCE, fit, unbalanced
from numpy.testing import assert_allclose
from scipy import stats

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import FitError

KINDS = ("CR0", "CR1", "CR2", "CR3")
SLOPES = "Reaction ~ Days + (Days | Subject)"


@pytest.mark.parametrize("case", REFERENCE["robust"], ids=lambda c: c["formula"])
def test_against_clubsandwich(case: dict[str, Any]) -> None:
    result = fit(case["formula"], unbalanced(case["data"]))
    for cluster in (None, case["cluster"]):
        for kind in KINDS:
            cov = result.robust_cov(kind, cluster)
            assert_allclose(cov, np.array(case[kind]), rtol=1e-5, atol=1e-6)
    robust = result.get_robustcov_results(groups=case["cluster"])
    df = case["df"] if isinstance(case["df"], list) else [case["df"]]
    assert_allclose(robust.df_resid_inference, df, rtol=1e-6)
    test = robust.f_test(np.eye(len(df)))
    assert_allclose(test.fvalue, case["F"], rtol=1e-6)
    assert_allclose(test.df_denom, case["den_df"], rtol=1e-6)


def weighted() -> tuple[Any, pd.DataFrame]:
    """A fit with weights, an offset and two nested factors, and its data."""
    data = unbalanced("pastes").assign(w=lambda d: 1.0 + np.arange(len(d)) % 3, z=0.0)
    data["z"] = np.linspace(0, 2, len(data))
    data["x"] = np.cos(np.arange(len(data)))
    formula = "strength ~ x + (1 | batch/cask)"
    return MixedLM.from_formula(formula, data, weights="w", offset="z").fit(), data


@pytest.mark.parametrize("kind", KINDS)
def test_against_dense_matrices(kind: str) -> None:
    """The definitions, with V of the whole data."""
    result, data = weighted()
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    Sigma = result.scale * oracle.covariance(terms, result.theta, design.weights)
    X, W = design.X, np.linalg.inv(Sigma)
    C = np.linalg.inv(X.T @ W @ X)
    e = (data["strength"] - data["z"]).to_numpy() - X @ result.params.to_numpy()
    meat = np.zeros((2, 2))
    codes = design.terms[0].codes
    for c in range(codes.max() + 1):
        i = codes == c
        S, H = Sigma[np.ix_(i, i)], X[i] @ C @ X[i].T @ W[np.ix_(i, i)]
        A = np.eye(i.sum())
        if kind == "CR3":
            A = np.linalg.inv(A - H)
        elif kind == "CR2":
            D = np.linalg.cholesky(S).T
            values, vectors = np.linalg.eigh(D @ (S - X[i] @ C @ X[i].T) @ D.T)
            A = D.T @ vectors @ np.diag(values**-0.5) @ vectors.T @ D
        score = X[i].T @ W[np.ix_(i, i)] @ A @ e[i]
        meat += np.outer(score, score)
    m = codes.max() + 1
    expected = C @ meat @ C * (m / (m - 1) if kind == "CR1" else 1.0)
    assert_allclose(result.robust_cov(kind), expected, rtol=1e-8)


def test_cr3_is_the_jackknife_at_fixed_variances() -> None:
    """Leaving out one cluster at a time: Σ (β_c - β)(β_c - β)' is CR3 exactly."""
    result, data = weighted()
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    V = oracle.covariance(terms, result.theta, design.weights)
    y = (data["strength"] - data["z"]).to_numpy()
    codes = design.terms[0].codes
    changes = []
    for c in range(codes.max() + 1):
        i = codes != c
        W, X = np.linalg.inv(V[np.ix_(i, i)]), design.X[i]
        beta = np.linalg.solve(X.T @ W @ X, X.T @ W @ y[i])
        changes.append(beta - result.params.to_numpy())
    assert_allclose(result.robust_cov("CR3"), np.array(changes).T @ changes, rtol=1e-8)


def test_tests_and_intervals_follow() -> None:
    data = unbalanced("sleepstudy")
    result = fit(SLOPES, data)
    for kind in KINDS:
        robust = result.get_robustcov_results("cluster", groups="Subject", kind=kind)
        assert robust.cov_type == "cluster"
        assert robust.cov_kwds == {"groups": "Subject", "kind": kind}
        assert_allclose(robust.bse**2, np.diag(result.robust_cov(kind)))
        df = robust.df_resid_inference
        if kind != "CR2":
            assert_allclose(df, 17)
        half = stats.t.isf(0.025, df) * robust.bse
        assert_allclose(robust.conf_int()[1] - robust.params, half)
        assert_allclose(robust.t_test("Days = 0").pvalue, robust.pvalues["Days"])
        assert_allclose(robust.anova().loc["Days", "F"], robust.tvalues["Days"] ** 2)
        assert kind in str(robust.summary())
    assert result.cov_type == "nonrobust"
    back = robust.get_robustcov_results("nonrobust")
    assert_allclose(back.bse, result.bse)


def test_fit_with_cov_type() -> None:
    data = unbalanced("sleepstudy")
    model = MixedLM.from_formula(SLOPES, data)
    robust = model.fit(cov_type="cluster", cov_kwds={"groups": data["Subject"], "kind": "CR1"})
    assert_allclose(robust.cov_params(), model.fit().robust_cov("CR1"))
    assert_allclose(model.fit(cov_type="cluster").bse ** 2, np.diag(model.fit().robust_cov("CR2")))
    with pytest.raises(FitError, match=r"cov_type='HC1' is not known"):
        model.fit(cov_type="HC1")


def test_pickles_and_outlives_its_data() -> None:
    robust = fit(SLOPES, unbalanced("sleepstudy")).get_robustcov_results()
    copy = pickle.loads(pickle.dumps(robust))
    assert list(copy.params.index) == ["Intercept", "Days"]
    copy.remove_data()
    assert_allclose(copy.bse, robust.bse)
    assert_allclose(copy.f_test(np.eye(2)).pvalue, robust.f_test(np.eye(2)).pvalue)
    with pytest.raises(FitError, match="remove_data"):
        copy.robust_cov()


def test_coarser_clusters_and_ways_to_name_them() -> None:
    data = unbalanced("pastes")
    data["day"] = data["batch"].astype(str).map(ord) // 3
    result = fit("strength ~ 1 + (1 | batch/cask)", data)
    by_array = result.robust_cov(cluster=data["day"].to_numpy())
    assert_allclose(result.robust_cov(cluster=data["day"]), by_array)
    longer = pd.concat([data["day"], pd.Series([1, 2], index=[1000, 1001])])
    assert_allclose(result.robust_cov(cluster=longer), by_array)
    assert not np.allclose(result.robust_cov(), by_array)
    assert_allclose(result.robust_cov(cluster="batch"), result.robust_cov())


def test_refusals() -> None:
    result = fit("strength ~ 1 + (1 | batch/cask)", unbalanced("pastes"))
    with pytest.raises(FitError, match=r"kind='CR4' is not known"):
        result.robust_cov("CR4")
    with pytest.raises(FitError, match=r"cluster 'cask' splits levels of 'batch'"):
        result.robust_cov(cluster="cask")
    with pytest.raises(FitError, match=r"cluster='btch' is neither.*Did you mean 'batch'"):
        result.robust_cov(cluster="btch")
    with pytest.raises(FitError, match=r"has 3 rows; the fit used 55 rows"):
        result.robust_cov(cluster=[1, 2, 3])
    with pytest.raises(FitError, match=r"has one level"):
        result.robust_cov(cluster=np.ones(55))
    with pytest.raises(FitError, match=r"missing values"):
        result.robust_cov(cluster=[None] * 55)
    crossed = fit(
        "diameter ~ 1 + (1 | plate) + (1 | sample)", datasets.penicillin.load_pandas().data
    )
    with pytest.raises(FitError, match=r"'plate', 'sample' are crossed.*Pass cluster="):
        crossed.robust_cov()
    empty = fit("strength ~ 0 + (1 | batch)", unbalanced("pastes"))
    with pytest.raises(FitError, match="no fixed effects"):
        empty.robust_cov()


# ---------------------------------------------------------------- coefficients of one cluster


def dense_hotelling(result: Any, codes: np.ndarray, L: np.ndarray) -> tuple[float, float]:
    """F and df of the approximate Hotelling test by CR2, from n × n matrices.

    Pustejovsky & Tipton (2018), sec. 3.2: the sandwich of L is Σ_c t_c ee't_c', t_c (r, n),
    standardized by its expectation.
    """
    design = result.model.design
    terms = [oracle.Term(t.X, t.codes, len(t.levels), t.structure) for t in design.terms]
    Sigma = result.scale * oracle.covariance(terms, result.theta, design.weights)
    X, W = design.X, np.linalg.inv(Sigma)
    C = np.linalg.inv(X.T @ W @ X)
    maker = np.eye(len(X)) - X @ C @ X.T @ W
    pieces = []
    for c in range(codes.max() + 1):
        i = np.flatnonzero(codes == c)
        S = Sigma[np.ix_(i, i)]
        D = np.linalg.cholesky(S).T
        values, vectors = np.linalg.eigh(D @ (S - X[i] @ C @ X[i].T) @ D.T)
        kept = values > 1e-10 * values.max()
        A = D.T @ (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T @ D
        pieces.append(L @ C @ X[i].T @ W[np.ix_(i, i)] @ A @ maker[i])
    T = np.array(pieces)
    e = maker @ design.y
    sandwich = sum(np.outer(t @ e, t @ e) for t in T)
    values, vectors = np.linalg.eigh(sum(t @ Sigma @ t.T for t in T))
    N = (vectors / np.sqrt(values)) @ vectors.T
    r, total = len(L), 0.0
    P = np.einsum("ar,crn,nm,dsm,bs->abcd", N, T, Sigma, T, N, optimize=True)
    for a in range(r):
        for b in range(r):
            total += np.trace(P[a, a] @ P[b, b].T) + np.trace(P[a, b] @ P[a, b])
    eta = r * (r + 1) / total
    away = L @ result.params.to_numpy()
    return (eta - r + 1) / eta * (away @ np.linalg.solve(sandwich, away)) / r, eta - r + 1


def one_cluster(formula: str = "y ~ t + first + (1 | g)", weights: str | None = None) -> Any:
    """`first` is known from one cluster alone."""
    rng = np.random.default_rng(3)
    g, t = np.repeat(np.arange(12), 6), rng.standard_normal(72)
    y = rng.standard_normal(12)[g] + rng.standard_normal(72) + 0.3 * t
    data = pd.DataFrame({"g": g, "t": t, "y": y, "first": (g == 0) * 1.0})
    data["w"] = 1.0 + np.arange(72) % 3
    return MixedLM.from_formula(formula, data, weights=weights).fit()


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", ["y ~ t + first + (1 | g)", "y ~ t * first + (1 | g)"])
def test_cr2_where_one_cluster_determines_a_coefficient(formula: str, weights: str | None) -> None:
    result = one_cluster(formula, weights)
    robust = result.get_robustcov_results(groups="g")
    codes, identity = result.model.design.terms[0].codes, np.eye(len(result.params))
    for rows in ([0], [1], [2], [0, 1], [1, 2]):
        F, df = dense_hotelling(result, codes, identity[rows])
        test = robust.f_test(identity[rows])
        assert_allclose(test.fvalue, F, rtol=1e-8)
        assert_allclose(test.df_denom, df, rtol=1e-8)
    assert_allclose(robust.df_resid_inference[0], 10, atol=0.01)


def test_cr2_of_several_rows_that_are_correlated() -> None:
    """The traces are of products, not of squares: cov(d_rs, d_sr) is not symmetric in clusters."""
    result = fit("Reaction ~ Days + I(Days**2) + (Days | Subject)", unbalanced("sleepstudy"))
    robust = result.get_robustcov_results()
    codes = result.model.design.terms[0].codes
    for L in (np.eye(3), np.eye(3)[1:], np.array([[1, 2, 0.5], [0, 1, 9.0]])):
        F, df = dense_hotelling(result, codes, L)
        assert_allclose(robust.f_test(L).fvalue, F, rtol=1e-8)
        assert_allclose(robust.f_test(L).df_denom, df, rtol=1e-7)


def test_cr2_without_any_estimate_of_a_variance() -> None:
    """All of y ~ 0 + first comes from one cluster, which then has no residual left."""
    result = one_cluster("y ~ 0 + first + I(1 - first) + (1 | g)")
    robust = result.get_robustcov_results(groups="g")
    assert np.isnan(robust.df_resid_inference[0]) and np.isnan(robust.pvalues.iloc[0])
    assert_allclose(robust.df_resid_inference[1], 10, atol=0.01)
    with pytest.warns(match=r"its covariance is singular\) has 2 rows but rank 1"):
        robust.f_test(np.eye(2))


def test_cr3_is_refused_where_one_cluster_determines_a_coefficient() -> None:
    with pytest.raises(FitError, match=r"without 0 of 'g' 'first' cannot be estimated\. Use kind"):
        one_cluster().robust_cov("CR3")
    several = "y ~ t * first + I(1e6 * (g == 4)) + (1 | g)"
    with pytest.raises(FitError, match=r"'first', 't:first' cannot .*\(2 clusters are such\)"):
        one_cluster(several).robust_cov("CR3")
    assert one_cluster().robust_cov("CR1").shape == (3, 3)
