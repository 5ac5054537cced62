"""Residual structures beside known relationships and members, against dense algebra."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense, dense_covariance, relationships
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import chi2
from simulation import quietly

from mixedlm_ext import MixedLM, pedigree
from mixedlm_ext.errors import FitError

Array = np.ndarray
MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "pedigree": (
        "y ~ sex + (1 | gr(animal, cov=family)) + (1 | pen)",
        {"correlation": "ar1(visit | animal)"},
    ),
    "matrix": (
        "y ~ sex + (1 | gr(animal, cov=A)) + (1 | animal)",
        {"correlation": "cs(1 | pen)", "variance": "sex"},
    ),
    "members": (
        "pair ~ sex + (1 | mm(animal, mate)) + (1 | pen)",
        {"correlation": "ar1(visit | animal)", "variance": "sex"},
    ),
}
pytestmark = pytest.mark.filterwarnings("ignore::mixedlm_ext.errors.SingularFitWarning")
every = pytest.mark.parametrize("name", MODELS)


@cache
def parents() -> dict[str, tuple[str | None, str | None]]:
    """Four generations of eight animals, the last two inbred here and there."""
    rng = np.random.default_rng(5)
    out: dict[str, tuple[str | None, str | None]] = {f"a{i}": (None, None) for i in range(8)}
    for generation in range(1, 4):
        elders = list(out)[-8:]
        for i in range(8):
            sire, dam = rng.choice(4, 1)[0], 4 + rng.choice(4, 1)[0]
            out[f"{'abcd'[generation]}{i}"] = (elders[sire], elders[dam])
    return out


@cache
def kin() -> pd.DataFrame:
    return relationships(parents())


@cache
def frame() -> pd.DataFrame:
    """Five visits of 16 animals of the last two generations, some missed, in shuffled rows."""
    rng = np.random.default_rng(8)
    names = list(parents())[16:]
    data = pd.DataFrame({"animal": np.repeat(names, 5), "visit": np.tile(np.arange(5), 16)})
    data = data[rng.random(80) < 0.9]
    n, A = len(data), kin().to_numpy()
    data["sex"] = np.where(data["animal"].str[1].astype(int) < 4, "m", "f")
    data["pen"] = rng.integers(0, 6, n)
    data["mate"] = rng.choice(names, n)
    a = dict(zip(parents(), np.linalg.cholesky(A) @ rng.normal(size=len(A))))
    e = np.zeros(n)
    for name in names:
        own = np.flatnonzero(data["animal"] == name)
        t = data["visit"].to_numpy()[own]
        e[own] = np.linalg.cholesky(0.6 ** np.abs(t[:, None] - t)) @ rng.normal(size=len(own))
    e *= np.where(data["sex"] == "m", 1.4, 0.9)
    data["y"] = 10 + 2.0 * data["animal"].map(a) + 0.9 * rng.normal(size=6)[data["pen"]] + e
    b = dict(zip(names, 2.5 * rng.normal(size=16)))
    data["pair"] = 0.5 * (data["animal"].map(b) + data["mate"].map(b)) + e
    data["pair"] += 0.7 * rng.normal(size=6)[data["pen"]]
    return data.sample(frac=1, random_state=2).reset_index(drop=True)


@cache
def family() -> Any:
    rows = [(name, *own) for name, own in parents().items()]
    return pedigree(pd.DataFrame(rows, columns=["id", "sire", "dam"]), "id", "sire", "dam")


def model(name: str, data: pd.DataFrame | None = None) -> MixedLM:
    formula, structure = MODELS[name]
    scope = {"A": kin(), "family": family()}
    data = frame() if data is None else data
    return MixedLM.from_formula(formula, data, eval_env=scope, **structure)


@cache
def fitted(name: str, reml: bool = True) -> Any:
    return quietly(model(name), reml=reml)


def rows_and_covariance(name: str, data: pd.DataFrame | None = None) -> tuple[Array, Array]:
    """Z of the first term's levels, as its random effects have them, and K among these."""
    data = frame() if data is None else data
    term = model(name).design.terms[0]
    Z = np.zeros((len(data), len(term.levels)))
    columns = ("animal", "mate") if name == "members" else ("animal",)
    for column in columns:
        Z[np.arange(len(data)), term.levels.get_indexer(data[column])] += 1 / len(columns)
    K = np.eye(Z.shape[1]) if name == "members" else kin().loc[term.levels, term.levels].to_numpy()
    return Z, K


def dense(name: str, data: pd.DataFrame | None = None) -> Dense:
    Z, K = rows_and_covariance(name, data)
    return Dense(model(name, data).design, [Z @ K @ Z.T, None])


def matrices(name: str, reml: bool = True) -> tuple[Array, Array, Array]:
    """R, V and P at the estimates, relative to σ²."""
    result, own = fitted(name, reml), dense(name)
    values = result.fit_record.design.residual.values
    V = own.V(result.theta, values)
    return dense_covariance(own.design, values), V, own.P(V)


@every
@pytest.mark.parametrize("reml", [True, False])
def test_an_optimum_of_the_dense_criterion(name: str, reml: bool) -> None:
    result, own = fitted(name, reml), dense(name)
    values = result.fit_record.design.residual.values
    assert result.converged

    def at(point: Array) -> float:
        return own.criterion(np.abs(point[:2]), point[2:], reml, None)

    point = np.concatenate([result.theta, values])
    assert_allclose(at(point), result.objective, rtol=1e-10)
    for j in range(len(point)):
        for change in (-0.02, 0.02):
            moved = point.copy()
            moved[j] += change
            assert at(moved) > result.objective
    assert_allclose(result.model.score(point, reml=reml), 0.0, atol=5e-3)


@every
def test_effects_and_their_errors(name: str) -> None:
    """Γ ⊗ K Z'Py, of levels without a record too, and what is left of their variance."""
    result = fitted(name)
    Z, K = rows_and_covariance(name)
    _, V, P = matrices(name)
    G = float(result.theta[0]) ** 2 * K
    term = next(iter(result.random_effects))
    y = result.fit_record.design.y
    assert_allclose(result.random_effects[term].iloc[:, 0], G @ Z.T @ P @ y, atol=1e-8)
    left = result.scale * np.diag(G - G @ Z.T @ np.linalg.solve(V, Z @ G))
    assert_allclose(result.random_effects_sd[term].iloc[:, 0] ** 2, left, rtol=1e-6)
    if name != "members":
        table = result.breeding_values()
        error = result.scale * np.diag(G - G @ Z.T @ P @ Z @ G)
        found = table.loc[result.random_effects[term].index]
        assert_allclose(found["se"] ** 2, error, rtol=1e-6)
        assert_allclose(found["reliability"], 1 - error / (result.scale * np.diag(G)), atol=1e-6)


@every
def test_residuals_and_leverages(name: str) -> None:
    result = fitted(name)
    R, V, P = matrices(name)
    y, X = result.fit_record.design.y, result.fit_record.design.X
    e = R @ P @ y
    assert_allclose(result.resid, e, atol=1e-8)
    white = result.residuals("whitened").to_numpy()
    assert_allclose(white @ white, e @ np.linalg.solve(R, e) / result.scale, rtol=1e-8)
    normal, r = result.residuals("normalized").to_numpy(), y - X @ result.params.to_numpy()
    assert_allclose(normal @ normal, r @ np.linalg.solve(V, r) / result.scale, rtol=1e-8)
    assert_allclose(result.leverage(), 1.0 - np.diag(R @ P), atol=1e-8)
    C = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    assert_allclose(result.cov_params(), result.scale * C, rtol=1e-7)


@every
def test_an_animal_without_a_record_and_the_next_visit(name: str) -> None:
    """Means, their errors, and what correlated residuals say of a visit to come."""
    result = fitted(name)
    _, V, P = matrices(name)
    design = result.fit_record.design
    new = frame().iloc[:3].assign(visit=[7, 5, 6], pen=[1, 2, 99])
    if name != "members":
        new.loc[1, "animal"] = "b3"
    Z, K = rows_and_covariance(name)
    own, _ = rows_and_covariance(name, new)
    gamma = np.asarray(result.theta) ** 2
    pens = new["pen"].to_numpy()
    group = "animal" if name == "matrix" else "pen"
    c = gamma[0] * own @ K @ Z.T
    c = c + gamma[1] * (new[group].to_numpy()[:, None] == frame()[group].to_numpy())
    x = np.column_stack([np.ones(3), (new["sex"] == "m").to_numpy()])
    mean = x @ result.params + c @ P @ design.y
    assert_allclose(result.predict(new), mean, atol=1e-8)
    Vi = np.linalg.inv(V)
    C = np.linalg.inv(design.X.T @ Vi @ design.X)
    a = x - c @ Vi @ design.X
    k = gamma[0] * np.diag(own @ K @ own.T) + gamma[1]
    error = k - np.einsum("ij,jk,ik->i", c, Vi, c) + np.einsum("ij,jk,ik->i", a, C, a)
    assert_allclose(result.get_prediction(new).se_mean ** 2, result.scale * error, rtol=1e-6)
    values, sd = design.residual.values, np.ones(len(V))
    males = np.ones(3)
    if name != "pedigree":
        sd[(frame()["sex"] == "m").to_numpy()] = values[-1]
        males = np.where(new["sex"] == "m", values[-1], 1.0)
    if name == "matrix":
        r = values[0] * (pens[:, None] == frame()["pen"].to_numpy())
    else:
        apart = np.abs(new["visit"].to_numpy()[:, None] - frame()["visit"].to_numpy())
        same = new["animal"].to_numpy()[:, None] == frame()["animal"].to_numpy()
        r = same * values[0] ** apart
    known = males * ((r * sd) @ P @ design.y)
    assert_allclose(result.predict(new, errors=True) - result.predict(new), known, atol=1e-8)


def test_independent_levels_are_the_plain_model() -> None:
    names = list(parents())
    identity = pd.DataFrame(np.eye(32), names, names)
    structure = MODELS["matrix"][1]
    known = MixedLM.from_formula(
        "y ~ sex + (1 | gr(animal, cov=I))", frame(), cov={"animal": identity},
        **structure,
    ).fit()  # fmt: skip
    plain = MixedLM.from_formula("y ~ sex + (1 | animal)", frame(), **structure).fit()
    assert_allclose(known.objective, plain.objective, atol=1e-7)
    one, two = (r.fit_record.design.residual.values for r in (known, plain))
    assert_allclose(one, two, atol=1e-4)


def test_relatives_are_told_from_equal_correlations() -> None:
    """As many levels as groups of the correlation, but relatives are alike beyond these."""
    names = sorted(set(frame()["animal"]))
    own = MixedLM.from_formula(
        "y ~ sex + (1 | gr(animal, cov=B))", frame(), correlation="cs(1 | animal)",
        eval_env={"B": kin().loc[names, names]},
    )  # fmt: skip
    assert quietly(own).converged


def test_a_matrix_its_inverse_and_a_pedigree_are_one_model() -> None:
    formula, structure = MODELS["pedigree"]
    inverse = pd.DataFrame(np.linalg.inv(kin()), kin().index, kin().index)
    first = fitted("pedigree")
    for scope, word in (({"family": kin()}, "cov"), ({"family": inverse}, "prec")):
        formula_of = formula.replace("cov=", f"{word}=")
        other = quietly(MixedLM.from_formula(formula_of, frame(), eval_env=scope, **structure))
        assert_allclose(other.objective, first.objective, atol=1e-7)
        assert_allclose(other.t_test("sex[T.m] = 0").df_denom,
                        first.t_test("sex[T.m] = 0").df_denom, rtol=1e-3)  # fmt: skip
        assert_allclose(other.leverage(), first.leverage(), atol=1e-4)


@every
def test_other_responses_and_other_rows(name: str) -> None:
    result = fitted(name)
    own = frame()[result.model.endog_names]
    y = 3.0 + 2.0 * own
    again = result.refit(y)
    assert_allclose(again.sigma, 2.0 * result.sigma, rtol=1e-3)
    assert_allclose(result.refit_ml().objective, fitted(name, False).objective, atol=1e-6)
    many = result.model.fit_many(pd.DataFrame({"a": own, "b": y}))
    assert_allclose(many.objective["a"], result.objective, atol=1e-6)
    replicates = result.bootstrap(2, rng=3).replicates
    assert_allclose(
        replicates["cor(Residual, rho)"].iloc[0],
        result.bootstrap(1, rng=3).replicates["cor(Residual, rho)"].iloc[0],
    )
    rest = frame()[frame()["animal"] != "d2"]
    held = result.influence("animal", refit=False).params.loc["d2"]
    without = dense(name, rest)
    V, X = without.V(result.theta, result.fit_record.design.residual.values), without.X
    expected = np.linalg.solve(X.T @ np.linalg.solve(V, X), X.T @ np.linalg.solve(V, without.y))
    assert_allclose(held, expected, rtol=1e-6)
    if name == "matrix":
        refitted = result.influence("animal", refit=True).objective.loc["d2"]
        assert_allclose(refitted, quietly(model(name, rest)).objective, atol=2e-5)


def hessian(f: Any, point: Array, h: float = 2e-4) -> Array:
    m = len(point)
    out, steps = np.zeros((m, m)), h * np.eye(m)
    for i in range(m):
        for j in range(i + 1):
            out[i, j] = out[j, i] = sum(
                a * b * f(point + a * steps[i] + b * steps[j]) for a in (1, -1) for b in (1, -1)
            ) / (4.0 * h * h)
    return out


@pytest.mark.parametrize(
    ("name", "stratum"), [("pedigree", None), ("matrix", "f"), ("matrix", "m")]
)
def test_heritability(name: str, stratum: str | None) -> None:
    """σ_a²/(Σσ_t² + σ_s²) by hand, its error from the Hessian of the dense criterion."""
    result, own = fitted(name), dense(name)
    values = result.fit_record.design.residual.values

    def share(point: Array) -> float:
        ratio = point[3] if stratum == "m" else 1.0
        return float(point[0] ** 2 / (point[0] ** 2 + point[1] ** 2 + ratio**2))

    def at(point: Array) -> float:
        return own.criterion(point[:2], point[2:], True, None)

    point = np.concatenate([result.theta, values])
    frame = result.varcorr()
    assert_allclose(frame["variance"].iloc[:2], result.scale * point[:2] ** 2, rtol=1e-9)
    h2 = share(point)
    g = np.array([(share(point + s) - share(point - s)) / 2e-6 for s in 1e-6 * np.eye(len(point))])
    se = np.sqrt(g @ np.linalg.solve(hessian(at, point), g) * 2.0)
    row = result.heritability(stratum=stratum).iloc[0]
    assert_allclose(row["estimate"], h2, rtol=1e-8)
    assert_allclose(row["se"], se, rtol=2e-4)
    half = 1.959963984540054 * se / (h2 * (1 - h2))
    limits = expit(logit(h2) + np.array([-half, half]))
    assert_allclose(row[["ci_lower", "ci_upper"]], limits, rtol=5e-4)


@pytest.mark.parametrize(("name", "stratum"), [("pedigree", None), ("matrix", "f")])
def test_profile_of_heritability(name: str, stratum: str | None) -> None:
    """At its ends the likelihood is 3.84 below the largest, by a search of SciPy."""
    result, own = fitted(name, False), dense(name)
    values = result.fit_record.design.residual.values
    row = result.heritability(method="profile", stratum=stratum).iloc[0]
    a, other = result.theta**2
    assert_allclose(row["estimate"], a / (a + other + 1.0), rtol=1e-5)
    for end in (row["ci_lower"], row["ci_upper"]):

        def at(x: Array, end: float = end) -> float:
            theta = np.array([np.sqrt(end / (1 - end) * (1 + x[0] ** 2)), abs(x[0])])
            rest = np.array([np.tanh(x[1]), *np.exp(x[2:])])
            positive = np.linalg.eigvalsh(dense_covariance(own.design, rest))[0] > 0
            return own.criterion(theta, rest, False, None) if positive else 1e6

        start = [max(result.theta[1], 0.3), np.arctanh(values[0]), *np.log(values[1:])]
        options = {"xatol": 1e-5, "fatol": 1e-7, "maxiter": 2000}
        best = minimize(at, start, method="Nelder-Mead", options=options)
        assert_allclose(best.fun - result.objective, chi2.ppf(0.95, 1), atol=2e-4)


def test_profile_of_heritability_with_weights() -> None:
    """The estimate by hand, σ² standing for its mean over the data, and the limits' criterion."""
    data = frame().assign(w=1.0 + frame()["pen"])
    formula, structure = MODELS["pedigree"]
    weighted = MixedLM.from_formula(
        formula, data, weights="w", eval_env={"family": family()}, **structure
    )
    result = quietly(weighted, reml=False)
    own = Dense(result.fit_record.design, dense("pedigree").between)
    c, sizes = float(np.mean(1.0 / data["w"])), result.theta**2
    row = result.heritability(method="profile").iloc[0]
    assert_allclose(row["estimate"], sizes[0] / (sizes.sum() + c), rtol=1e-5)
    for end in (row["ci_lower"], row["ci_upper"]):

        def at(x: Array, end: float = end) -> float:
            theta = np.array([np.sqrt(end / (1 - end) * (c + x[0] ** 2)), abs(x[0])])
            return own.criterion(theta, np.tanh(x[1:]), False, None)

        best = minimize(at, [result.theta[1], 0.3], method="Nelder-Mead")
        assert_allclose(best.fun - result.objective, chi2.ppf(0.95, 1), atol=5e-4)


def test_no_heritability_where_there_are_several() -> None:
    two = fitted("matrix")
    with pytest.raises(FitError, match=r"Name one: stratum='f' \(there are f, m\)"):
        two.heritability()
    with pytest.raises(FitError, match="'x' is no stratum of variance='sex'"):
        two.heritability(stratum="x")
    with pytest.raises(FitError, match="names a stratum of variance="):
        fitted("pedigree").heritability(stratum="f")
    with pytest.raises(FitError, match="variance is not that of the first"):
        two.heritability(method="profile", stratum="m")
    formula, scope = MODELS["pedigree"][0], {"family": family()}
    data = frame().assign(w=1.0 + frame()["visit"])
    grown = MixedLM.from_formula(formula, data, variance="power(w)", eval_env=scope)
    with pytest.raises(FitError, match=r"goes with power\(w\)"):
        quietly(grown).heritability()


def test_heritability_in_strata_of_two_factors() -> None:
    formula, scope = MODELS["pedigree"][0], {"family": family()}
    data = frame().assign(late=np.where(frame()["visit"] > 2, "yes", "no"), w=1.0 + frame()["pen"])
    result = quietly(
        MixedLM.from_formula(formula, data, variance="sex * late", weights="w", eval_env=scope)
    )
    ratios = dict(result.fit_record.design.residual.strata_ratios())
    sizes = result.theta**2
    for stratum, ratio in ratios.items():
        c = ratio**2 * np.mean(1.0 / data["w"])
        found = result.heritability(stratum=stratum)["estimate"].iloc[0]
        assert_allclose(found, sizes[0] / (sizes.sum() + c), rtol=1e-8)


@every
def test_it_is_kept_and_sent(name: str) -> None:
    result = fitted(name)
    again = pickle.loads(pickle.dumps(result))
    assert_allclose(again.predict(frame().head(4)), result.fittedvalues[:4], atol=1e-9)
    assert_allclose(again.t_test("sex[T.m] = 0").df_denom, result.t_test("sex[T.m] = 0").df_denom)
    assert result.fit_record.design.residual.text in str(result.summary())
    assert str(result.check())
    if name != "members":
        small = result.to_predictor()
        assert_allclose(small.predict(frame().head(4)), result.fittedvalues[:4], atol=1e-9)


@pytest.mark.slow
@every
def test_simulated_responses_have_the_covariance(name: str) -> None:
    result = fitted(name)
    _, V, _ = matrices(name)
    found, expected = np.cov(result.simulate(4000, rng=1).to_numpy()), result.scale * V
    spread = np.sqrt((expected**2 + np.outer(np.diag(expected), np.diag(expected))) / 4000)
    assert (np.abs(found - expected) < 5.5 * spread).all()


@pytest.mark.slow
@every
def test_satterthwaite(name: str) -> None:
    """2v²/(g'Ag) with derivatives of the dense model by differences."""
    result, own = fitted(name), dense(name)
    structure = result.fit_record.design.residual
    center = np.concatenate([result.theta, structure.z_of(structure.values), [0.0]])

    def criterion(point: Array) -> float:
        values = structure.values_of(point[2:-1])
        return own.criterion(point[:2], values, True, result.sigma * np.exp(point[-1]))

    def variance(point: Array) -> float:
        V = own.V(point[:2], structure.values_of(point[2:-1]))
        C = np.linalg.inv(own.X.T @ np.linalg.solve(V, own.X))
        return float(C[1, 1] * result.scale * np.exp(2 * point[-1]))

    h, d = 1e-4, len(center)
    steps = h * np.eye(d)
    signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    H = np.array([
        [sum(s * t * criterion(center + s * a + t * b) for s, t in signs) / (4 * h * h)
         for b in steps] for a in steps
    ])  # fmt: skip
    g = np.array([(variance(center + s) - variance(center - s)) / (2 * h) for s in steps])
    df = 2 * variance(center) ** 2 / (g @ (2 * np.linalg.inv(H)) @ g)
    assert_allclose(result.t_test(np.eye(2)[[1]]).df_denom, df, rtol=2e-2)
