"""Rows of several members whose covariance is known, against dense algebra: mm(s1, s2, cov=A)."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from oracle_residual import Dense, relationships
from scipy import sparse
from simulation import quietly

from mixedlm_ext import MixedGLM, MixedLM, RandomTerm, pedigree
from mixedlm_ext.errors import DesignError, FitError, FormulaError

Array = np.ndarray
KNOWN = {"matrix": "cov=A", "precision": "prec=P", "pedigree": "cov=family"}
TERMS = {
    "plain": "(1 | mm(s1, s2, {}))",
    "slopes, weighted": "(1 + x | mm(s1, s2, weights=[w1, w2], {}))",
    "apart, and herds": "(1 + x || mm(s1, s2, {})) + (1 | herd)",
    "twice": "(1 | mm(s1, s2, {})) + (1 | mm(s1, s2))",
    "with own": "(1 | gr(s1, {})) + (1 | mm(s1, s2, normalize=False, {}))",
}
MEMBERS: dict[str, list[tuple[str, bool]]] = {
    "plain": [("", True)],
    "slopes, weighted": [("weighted", True)],
    "apart, and herds": [("", True), ("herd", False)],
    "twice": [("", True), ("", False)],
    "with own": [("first", True), ("sum", True)],
}
"""Of each term, how members count, and whether they are kin."""
every = pytest.mark.parametrize("known", KNOWN)


@cache
def parents() -> dict[str, tuple[str | None, str | None]]:
    rng = np.random.default_rng(2)
    out: dict[str, tuple[str | None, str | None]] = {f"a{i:02}": (None, None) for i in range(10)}
    for i in range(10, 40):
        elders = list(out)[10 * (i // 10 - 1) : 10 * (i // 10)]
        out[f"a{i:02}"] = elders[rng.integers(0, 5)], elders[5 + rng.integers(0, 5)]
    return out


@cache
def scope() -> dict[str, Any]:
    """A in another order than that of the data, its sparse inverse, and the pedigree."""
    A = relationships(parents())
    inverse = np.linalg.inv(A.to_numpy())
    inverse[np.abs(inverse) < 1e-10] = 0.0
    rows = [(name, *own) for name, own in parents().items()]
    family = pedigree(pd.DataFrame(rows, columns=["id", "sire", "dam"]), "id", "sire", "dam")
    mixed = list(np.random.default_rng(0).permutation(A.index))
    return {"A": A.loc[mixed, mixed], "P": (sparse.csr_array(inverse), A.index), "family": family}


def weights(data: pd.DataFrame, how: str = "") -> Array:
    """Return W (n, 40) from the columns of the data; `how` may say weighted, sum or first."""
    names = list(parents())
    there = data[["s1", "s2"]].notna().to_numpy()
    there[:, 1] &= how != "first"
    w = data[["w1", "w2"]].to_numpy() if how == "weighted" else there.astype(float)
    if how != "sum":
        w = w / w.sum(axis=1, keepdims=True)
    W = np.zeros((len(data), len(names)))
    for j, column in enumerate(["s1", "s2"]):
        own = np.flatnonzero(there[:, j])
        W[own, [names.index(name) for name in data[column].iloc[own]]] += w[own, j]
    return W


@cache
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    names, n = list(parents()), 160
    data = pd.DataFrame({"s1": rng.choice(names[5:], n), "s2": rng.choice(names[5:], n)})
    alone = rng.random(n) < 0.2
    data["x"], data["herd"] = rng.normal(size=n), rng.integers(0, 8, n)
    data["w1"], data["w2"] = rng.uniform(0.2, 1, n), np.where(alone, 0, rng.uniform(0.2, 1, n))
    data["s2"] = data["s2"].where(~alone)
    data["visit"] = data.groupby("herd").cumcount()
    root = np.linalg.cholesky(relationships(parents()).to_numpy())
    a, c = (dict(zip(names, root @ rng.normal(size=40))) for _ in range(2))
    both = [data[s].map(own).fillna(0.0) for own in (a, c) for s in ("s1", "s2")]
    data["y"] = 1.5 * (both[0] + both[1]) + data["x"] * (both[2] + both[3])
    data["y"] += rng.normal(size=8)[data["herd"]] + rng.normal(size=n)
    data["count"] = rng.poisson(np.exp(np.clip(0.4 * data["y"], -2, 2)))
    return data


def model(terms: str, known: str, **more: Any) -> MixedLM:
    formula = "y ~ x + " + TERMS[terms].replace("{}", KNOWN[known])
    return MixedLM.from_formula(formula, frame(), eval_env=scope(), **more)


@cache
def fitted(terms: str, known: str, reml: bool = True) -> Any:
    return quietly(model(terms, known), reml=reml)


def between(terms: str, data: pd.DataFrame | None = None) -> list[Array | None]:
    """Return what the effects of rows have in common, of each term."""
    data = frame() if data is None else data
    A, out = relationships(parents()).to_numpy(), []
    for how, kin in MEMBERS[terms]:
        W = weights(data, how)
        out.append(None if how == "herd" else W @ (A if kin else np.eye(40)) @ W.T)
    return out


@every
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("reml", [True, False])
def test_an_optimum_of_the_dense_criterion(terms: str, known: str, reml: bool) -> None:
    result = fitted(terms, known, reml)
    own = Dense(result.model.design, between(terms))
    value = _criterion(own, result.theta, reml)
    assert_allclose(result.objective, value, atol=1e-8)
    for step in 1e-4 * np.eye(len(result.theta)):
        for moved in (result.theta + step, result.theta - step):
            assert _criterion(own, moved, reml) > value - 1e-7
    assert result.converged


def _criterion(own: Dense, theta: Array, reml: bool) -> float:
    V = _relative(own, theta)
    n, p = own.X.shape
    df = n - p if reml else n
    r2 = float(own.y @ own.P(V) @ own.y)
    out = np.linalg.slogdet(V)[1] + df * np.log(2 * np.pi * r2 / df) + df
    if reml:
        out += np.linalg.slogdet(own.X.T @ np.linalg.solve(V, own.X))[1]
    return float(out)


def _relative(own: Dense, theta: Array) -> Array:
    """Return V over σ², of triangles that are read row by row."""
    V, at = np.eye(len(own.y)), 0
    for term, among in zip(own.design.terms, own.between):
        k = len(term.columns)
        T = np.zeros((k, k))
        if term.structure == "diag":
            T[np.diag_indices(k)] = theta[at : at + k]
            at += k
        else:
            lower = [(i, j) for j in range(k) for i in range(j, k)]
            T[tuple(np.transpose(lower))] = theta[at : at + len(lower)]
            at += len(lower)
        same = term.codes[:, None] == term.codes[None, :] if among is None else among
        V = V + same * (term.X @ T @ T.T @ term.X.T)
    return V


@every
def test_effects_predictions_and_their_errors(known: str) -> None:
    result, data = fitted("slopes, weighted", known), frame()
    own = Dense(result.model.design, between("slopes, weighted"))
    V = _relative(own, result.theta)
    P, n = own.P(V), len(data)
    G, inverse = V - np.eye(n), np.linalg.inv(V)
    assert_allclose(result.fittedvalues, data["y"] - P @ data["y"], atol=1e-6)
    assert_allclose(result.predict(data), result.fittedvalues, atol=1e-10)
    C = np.linalg.inv(own.X.T @ inverse @ own.X)
    left = own.X - G @ inverse @ own.X
    errors = np.diag(G - G @ inverse @ G + left @ C @ left.T)
    assert_allclose(result.get_prediction(data).se_mean, result.sigma * np.sqrt(errors), rtol=1e-6)
    assert_allclose(result.to_predictor().predict(data), result.fittedvalues, atol=1e-10)
    again = pickle.loads(pickle.dumps(result))
    assert_allclose(again.predict(data), result.fittedvalues, atol=1e-10)


@every
def test_breeding_values_and_shares(known: str) -> None:
    result, data = fitted("plain", known), frame()
    (theta,) = result.theta
    A, W = relationships(parents()), weights(data)
    own = Dense(result.model.design, between("plain"))
    P = own.P(_relative(own, result.theta))
    C = theta**2 * A.to_numpy() @ W.T
    found = result.breeding_values().loc[A.index]
    assert_allclose(found["estimate"], C @ P @ data["y"], atol=1e-7)
    pev = np.diag(theta**2 * A.to_numpy() - C @ P @ C.T)
    assert_allclose(found["se"], result.sigma * np.sqrt(pev), rtol=1e-7)
    prior = theta**2 * np.diag(A.to_numpy())
    assert_allclose(found["reliability"], 1.0 - pev / prior, atol=1e-8)
    mean = theta**2 * np.diag(W @ A.to_numpy() @ W.T).mean()
    assert_allclose(result.icc()["estimate"], mean / (mean + 1.0), rtol=1e-8)
    with pytest.raises(FitError, match="no random term has levels of a known covariance"):
        result.heritability()


@every
def test_beside_correlated_residuals(known: str) -> None:
    more = {"correlation": "ar1(visit | herd)", "variance": "sex"}
    data = frame().assign(sex=np.where(frame()["x"] > 0, "f", "m"))
    formula = "y ~ x + " + TERMS["plain"].replace("{}", KNOWN[known])
    result = quietly(MixedLM.from_formula(formula, data, eval_env=scope(), **more))
    own = Dense(result.model.design, between("plain"))
    values = result.fit_record.design.residual.values
    assert_allclose(result.objective, own.criterion(result.theta, values, True, None), atol=1e-8)


def test_generalized_models_do_not_ask_how_it_is_known() -> None:
    fits = []
    for given in KNOWN.values():
        formula = f"count ~ x + (1 + x | mm(s1, s2, {given})) + (1 | herd)"
        made = MixedGLM.from_formula(
            formula, frame(), family=sm.families.Poisson(), eval_env=scope()
        )
        fits.append(quietly(made))
    new = frame().iloc[:20]
    for other in fits[1:]:
        assert_allclose(other.llf, fits[0].llf, atol=1e-7)
        assert_allclose(other.params, fits[0].params, atol=1e-5)
        assert_allclose(other.get_prediction(new).summary_frame(),
                        fits[0].get_prediction(new).summary_frame(), rtol=1e-4)  # fmt: skip
        assert_allclose(other.icc(), fits[0].icc(), rtol=1e-4)


@every
def test_simulated_rows_have_that_covariance(known: str) -> None:
    result = fitted("plain", known)
    new = frame().iloc[:5]
    draws = np.asarray(result.simulate(8000, rng=3, exog=new))
    draws = draws if draws.shape[1] == 5 else draws.T
    W = weights(new)
    V = np.eye(5) + result.theta[0] ** 2 * W @ relationships(parents()).to_numpy() @ W.T
    error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / 8000)
    assert (np.abs(np.cov(draws.T) / result.scale - V) < 4.5 * error).all()


@every
def test_one_member_is_a_level(known: str) -> None:
    given = KNOWN[known]
    one, other = (
        quietly(MixedLM.from_formula(f"y ~ x + (1 | {group})", frame(), eval_env=scope()))
        for group in (f"mm(s1, {given})", f"gr(s1, {given})")
    )
    assert_allclose(one.objective, other.objective, atol=1e-8)
    assert_allclose(one.breeding_values(), other.breeding_values(), rtol=1e-5, atol=1e-7)


def test_from_arrays_and_beside_the_formula() -> None:
    result, data = fitted("plain", "matrix"), frame()
    W = weights(data)
    seen = W.any(axis=0)
    names = np.array(list(parents()))
    X = np.column_stack([np.ones(len(data)), data["x"]])
    for Z, own in ((W, names), (W[:, seen], names[seen])):
        term = RandomTerm(Z=Z, names=own, cov=scope()["A"], name="kin")
        arrays = quietly(MixedLM(data["y"], X, [term]))
        assert_allclose(arrays.objective, result.objective, atol=1e-8)
        again = quietly(MixedLM(data["y"], X, arrays.model.random))
        assert_allclose(again.objective, result.objective, atol=1e-8)
        fresh = [RandomTerm(Z=pd.DataFrame(Z[:9], columns=own), cov=scope()["A"], name="kin")]
        assert_allclose(arrays.predict(X[:9], random=fresh), result.fittedvalues[:9], atol=1e-6)
    given = {"mm(s1, s2)": scope()["A"]}
    beside = MixedLM.from_formula("y ~ x + (1 | mm(s1, s2))", data, cov=given)
    assert_allclose(quietly(beside).objective, result.objective, atol=1e-8)
    assert_allclose(result.update("~ . - x").nobs, result.nobs)


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        ("mm(s1, s2, cov=A, prec=P)", FormulaError, "both given"),
        ("mm(s1, s2, cov=B)", FormulaError, "there is no variable 'B' for cov="),
        ("mm(s1, s2, kov=A)", FormulaError, "no option 'kov'.*\n.*\n.*\n.*Did you mean 'cov'"),
        ("mm(s1, s2, cov=few)", DesignError, r"levels of 'mm\(s1, s2\)' have no row in the matrix"),
    ],
)
def test_what_is_wrong_is_said(group: str, error: type[Exception], message: str) -> None:
    few = scope()["A"].iloc[:20, :20]
    with pytest.raises(error, match=message):
        MixedLM.from_formula(f"y ~ x + (1 | {group})", frame(), eval_env={**scope(), "few": few})


@pytest.mark.parametrize("written", ["[0.7, 0.3]", "(0.7, 0.3)", "c(0.7, 0.3)", "[7, 3 * 1]"])
def test_weights_that_are_numbers(written: str) -> None:
    """They are those of all rows whose member is there."""
    data = frame()
    there = data["s2"].notna()
    columns = data.assign(p=np.where(there, 0.7, 1.0), r=np.where(there, 0.3, 0.0))
    expected = quietly(MixedLM.from_formula("y ~ x + (1 | mm(s1, s2, weights=[p, r]))", columns))
    result = quietly(MixedLM.from_formula(f"y ~ x + (1 | mm(s1, s2, weights={written}))", data))
    assert_allclose(result.objective, expected.objective, atol=1e-8)
    assert_allclose(result.predict(data), expected.fittedvalues, atol=1e-6)
    assert_allclose(result.to_predictor().predict(data), expected.fittedvalues, atol=1e-6)
