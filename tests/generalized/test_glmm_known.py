"""Known covariances, members and a user's Z in generalized models: dense Laplace, equivalences."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import optimize, sparse, stats

from mixedlm_ext import MixedGLM, RandomTerm, pedigree
from mixedlm_ext.criteria.laplace import LaplaceCriterion
from mixedlm_ext.errors import DesignError, FitError

Array = NDArray[np.float64]
F, L = sm.families, sm.families.links
Q, N = 14, 150
IDS = [f"a{i:02d}" for i in range(Q)]


def relationship() -> Array:
    B = np.random.default_rng(5).normal(size=(Q, Q))
    return np.asarray(B @ B.T / Q + 0.3 * np.eye(Q))


def of_rank(r: int) -> Array:
    B = np.random.default_rng(6).normal(size=(Q, r))
    return np.asarray(B @ B.T)


def families_of_two() -> Array:
    return np.kron(np.eye(Q // 2), np.array([[1.0, 0.5], [0.5, 1.0]]))


def walk() -> sparse.csc_array:
    off = np.full(Q - 1, -0.4)
    return sparse.csc_array(sparse.diags_array([off, np.full(Q, 1.2), off], offsets=[-1, 0, 1]))


def ancestry() -> Any:
    rng, rows = np.random.default_rng(8), []
    for i in range(Q):
        parents = rng.choice(i, 2, replace=False) if i >= 4 else (None, None)
        rows.append((IDS[i], *(None if p is None else IDS[int(p)] for p in parents)))
    return pedigree(pd.DataFrame(rows, columns=["id", "sire", "dam"]), "id", "sire", "dam")


MATRICES: dict[str, tuple[Any, Array]] = {
    "A": (pd.DataFrame(relationship(), IDS, IDS), relationship()),
    "S": (pd.DataFrame(of_rank(5), IDS, IDS), of_rank(5)),
    "B": ((sparse.csc_array(families_of_two()), IDS), families_of_two()),
    "W": ((walk(), IDS), np.linalg.inv(walk().toarray())),
    "P": (ancestry(), ancestry().between(np.arange(Q))),
}


def frame(family: Any) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g = rng.integers(0, Q, N)
    out = pd.DataFrame(
        {
            "g": np.array(IDS)[g],
            "h": [f"h{i}" for i in rng.integers(0, 5, N)],
            "s1": [f"s{i}" for i in rng.integers(0, 8, N)],
            "s2": [f"s{i}" for i in rng.integers(0, 8, N)],
            "x": rng.normal(size=N),
            "t": rng.integers(0, 3, N),
            "w1": rng.uniform(0.2, 1.0, N),
        }
    )
    out["w2"] = 1.0 - out["w1"]
    effect = np.linalg.cholesky(relationship()) @ rng.normal(size=Q)
    other = np.array([1.0, -0.8, 0.6, -0.5, 0.2])[[int(h[1:]) for h in out["h"]]]
    eta = 0.3 + 0.5 * out["x"].to_numpy() + 0.7 * effect[g] + other
    if isinstance(family, F.Binomial):
        out["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    elif isinstance(family, F.Gamma):
        out["y"] = rng.gamma(2.0, np.exp(eta) / 2.0)
    else:
        out["y"] = rng.poisson(rng.gamma(1.5, np.exp(eta) / 1.5))
    return out


def model(random: str, family: Any) -> MixedGLM:
    scope = {name: given for name, (given, _) in MATRICES.items()}
    return MixedGLM.from_formula(f"y ~ x + {random}", frame(family), family=family, eval_env=scope)


# --------------------------------------------------------------- Laplace from its definition


def member_columns(data: pd.DataFrame, weights: tuple[Any, Any]) -> Array:
    levels = sorted(set(data["s1"]) | set(data["s2"]))
    out = np.zeros((len(data), len(levels)))
    for one, weight in zip(("s1", "s2"), weights):
        for i, level in enumerate(data[one]):
            out[i, levels.index(level)] += weight[i]
    return out


def indicator(values: Any, levels: list[Any]) -> Array:
    return np.array([[float(v == level) for level in levels] for v in values])


def pieces(random: str, data: pd.DataFrame, templates: list[Array]) -> Array:
    """ZL of a formula with b = Lu, u of unit variance: by hand for each spelling of this page."""
    x, ones, out = data["x"].to_numpy(), np.ones(len(data)), []
    for part, T in zip(random.split(" + "), templates):
        if "mm(" in part:
            w = (data["w1"], data["w2"]) if "weights" in part else (ones, ones)
            Z, C = member_columns(data, w), None
        elif "gr(" in part:
            Z, name = indicator(data["g"], IDS), part.split("=")[1].strip(") ")
            values, vectors = np.linalg.eigh(MATRICES[name][1])
            C = vectors * np.sqrt(np.maximum(values, 0.0))
        else:
            group = part.split("|")[1].strip(") ")
            Z, C = indicator(data[group], sorted(data[group].unique())), None
        Z = Z if C is None else Z @ C
        if "ar1" in part:
            columns = list(indicator(data["t"], [0, 1, 2]).T)
        else:
            columns = [ones, x] if part.startswith("(x") else [ones]
        stacked = np.hstack([c[:, None] * Z for c in columns])
        out.append(stacked @ np.kron(T, np.eye(Z.shape[1])))
    return np.hstack(out)


def log_density(family: Any, y: Array, eta: Array, omega: Array) -> Array:
    mu = family.link.inverse(eta)
    if isinstance(family, F.Binomial):
        return np.asarray(stats.bernoulli(mu).logpmf(y))
    if isinstance(family, F.Gamma):
        phi = float(np.exp(omega[0]))
        return np.asarray(stats.gamma(1.0 / phi, scale=mu * phi).logpdf(y))
    if isinstance(family, F.NegativeBinomial):
        size = float(np.exp(omega[0]))
        return np.asarray(stats.nbinom(size, size / (size + mu)).logpmf(y))
    return np.asarray(stats.poisson(mu).logpmf(y))


def dense(
    random: str, family: Any, beta: Array, templates: list[Array], omega: Array
) -> tuple[float, Array]:
    """-2 log-likelihood by Laplace, observed information by differences, and ZLũ of each row."""
    data = frame(family)
    y, X = data["y"].to_numpy(float), np.column_stack([np.ones(N), data["x"]])
    ZL = pieces(random, data, templates)
    h = 1e-5

    def joint(u: Array) -> float:
        return float(0.5 * u @ u - log_density(family, y, X @ beta + ZL @ u, omega).sum())

    def slope(u: Array) -> Array:
        eta = X @ beta + ZL @ u
        up, down = (log_density(family, y, eta + s, omega) for s in (h, -h))
        return np.asarray(u - ZL.T @ ((up - down) / (2.0 * h)))

    found = optimize.minimize(joint, np.zeros(ZL.shape[1]), jac=slope, method="BFGS", tol=1e-8)
    eta, step = X @ beta + ZL @ found.x, 1e-3
    value = [log_density(family, y, eta + s * step, omega) for s in (-2, -1, 0, 1, 2)]
    curved = -value[0] + 16.0 * value[1] - 30.0 * value[2] + 16.0 * value[3] - value[4]
    w = -curved / (12.0 * step**2)
    M = np.eye(ZL.shape[1]) + ZL.T @ (w[:, None] * ZL)
    return 2.0 * joint(found.x) + float(np.linalg.slogdet(M)[1]), ZL @ found.x


CASES = [
    ("(1 | gr(g, cov=A)) + (1 | h)", F.Poisson()),
    ("(x | gr(g, cov=A))", F.Binomial()),
    ("(1 | gr(g, cov=S)) + (1 | h)", F.NegativeBinomial(alpha=1.0)),
    ("(x | gr(g, cov=B)) + (1 | h)", F.Gamma(L.Log())),
    ("(x | gr(g, prec=W)) + (1 | h)", F.Poisson()),
    ("(1 | gr(g, cov=P)) + (1 | h)", F.Binomial()),
    ("(1 | gr(g, cov=P)) + (1 | mm(s1, s2, weights=[w1, w2], normalize=False))", F.Poisson()),
    ("(x | mm(s1, s2, normalize=False)) + (1 | gr(g, cov=A)) + (1 | h)", F.Poisson()),
    ("(1 | gr(g, cov=A)) + (1 | gr(g, cov=B))", F.NegativeBinomial(alpha=1.0)),
    ("(1 | mm(s1, s2, normalize=False)) + ar1(C(t) - 1 | h)", F.Poisson()),
]


def at_random(built: MixedGLM, seed: int) -> tuple[Array, Array, Array]:
    """theta of the user, fixed effects and ω that are no optimum."""
    rng, problem = np.random.default_rng(seed), built.assembled.problem()
    covariance = problem.covariance
    theta = covariance.unstandardize(covariance.start()) * rng.uniform(0.3, 0.9)
    return theta, rng.normal(size=2) * 0.4, 0.4 * np.ones(problem.n_extra)


@pytest.mark.parametrize(("random", "family"), CASES)
def test_laplace_from_its_definition(random: str, family: Any) -> None:
    built = model(random, family)
    problem = built.assembled.problem()
    theta, beta, omega = at_random(built, 3)
    templates = problem.covariance.term_templates(theta)
    point = np.concatenate([problem.covariance.standardize(theta), problem.zeta(beta), omega])
    e = LaplaceCriterion(problem).at(point)
    wanted, effects = dense(random, family, beta, templates, omega)
    assert e.value == pytest.approx(wanted, abs=2e-5)
    np.testing.assert_allclose(problem.rows.times(e.modes.b), effects, atol=2e-5)


def numeric(function: Callable[[Array], float], x: Array, h: float = 1e-3) -> Array:
    out = np.empty(len(x))
    for j in range(len(x)):
        step = h * np.eye(len(x))[j]
        near = function(x + step) - function(x - step)
        out[j] = (8.0 * near - function(x + 2 * step) + function(x - 2 * step)) / (12.0 * h)
    return out


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize(("random", "family"), CASES)
def test_the_gradient(random: str, family: Any, fast: bool) -> None:
    built = model(random, family)
    problem = built.assembled.problem()
    theta, beta, omega = at_random(built, 5)
    fixed = np.zeros(0) if fast else problem.zeta(beta)
    point = np.concatenate([problem.covariance.standardize(theta), fixed, omega])
    criterion = LaplaceCriterion(problem, fast)
    wanted = numeric(lambda x: criterion.at(x).value, point)
    np.testing.assert_allclose(criterion.at(point).gradient, wanted, rtol=1e-6, atol=1e-6)


def test_the_gradient_where_weights_are_negative() -> None:
    family, data = F.Gamma(L.Identity()), frame(F.Gamma())
    given = MATRICES["A"][0]
    built = MixedGLM.from_formula(
        "y ~ x + (1 | gr(g, cov=A))", data, family=family, eval_env={"A": given}
    )
    problem = built.assembled.problem(True)
    point = np.concatenate([[0.3 / problem.unit], problem.zeta(np.array([4.0, 0.05])), [0.1]])
    criterion = LaplaceCriterion(problem)
    e = criterion.at(point)
    assert (e.w < 0.0).any()
    wanted = numeric(lambda x: criterion.at(x).value, point)
    np.testing.assert_allclose(e.gradient, wanted, rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------- equivalences


def close(one: Any, two: Any, atol: float = 1e-6) -> None:
    assert one.llf == pytest.approx(two.llf, abs=1e-8)
    for name in ("theta", "params", "bse", "fittedvalues"):
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(two, name))
        np.testing.assert_allclose(a, b, atol=atol)


def test_a_matrix_three_ways() -> None:
    A, data = MATRICES["A"][1], frame(F.Poisson())
    by_root = model("(1 | gr(g, cov=A)) + (1 | h)", F.Poisson()).fit()
    inverse = {"P": pd.DataFrame(np.linalg.inv(A), IDS, IDS)}
    by_precision = MixedGLM.from_formula(
        "y ~ x + (1 | gr(g, prec=P)) + (1 | h)", data, family=F.Poisson(), eval_env=inverse
    ).fit()
    Z = indicator(data["g"], IDS) @ np.linalg.cholesky(A)
    X = np.column_stack([np.ones(N), data["x"]])
    terms = [RandomTerm(Z=sparse.csr_array(Z)), RandomTerm(data["h"].to_numpy())]
    by_hand = MixedGLM(data["y"].to_numpy(), X, terms, family=F.Poisson()).fit()
    close(by_root, by_precision)
    close(by_root, by_hand)
    as_term = [RandomTerm(data["g"].to_numpy(), cov=MATRICES["A"][0]), RandomTerm(data["h"])]
    close(by_root, MixedGLM(data["y"].to_numpy(), X, as_term, family=F.Poisson()).fit())


def test_a_precision_and_its_covariance() -> None:
    one = model("(x | gr(g, prec=W)) + (1 | h)", F.Poisson()).fit()
    formula = "y ~ x + (x | gr(g, cov=K)) + (1 | h)"
    scope = {"K": pd.DataFrame(MATRICES["W"][1], IDS, IDS)}
    data = frame(F.Poisson())
    two = MixedGLM.from_formula(formula, data, family=F.Poisson(), eval_env=scope).fit()
    close(one, two)
    for name in ("random_effects", "random_effects_sd"):
        for group, table in getattr(one, name).items():
            np.testing.assert_allclose(table, getattr(two, name)[group], atol=1e-6)


@pytest.mark.parametrize("unit", ["cov", "prec"])
def test_the_identity_is_no_matrix(unit: str) -> None:
    E = (sparse.eye_array(Q, format="csc"), IDS)
    data = frame(F.Binomial())
    plain = MixedGLM.from_formula("y ~ x + (1 | g) + (1 | h)", data, family=F.Binomial()).fit()
    formula = f"y ~ x + (1 | gr(g, {unit}=E)) + (1 | h)"
    known = MixedGLM.from_formula(formula, data, family=F.Binomial(), eval_env={"E": E}).fit()
    close(plain, known)
    np.testing.assert_allclose(
        known.random_effects_sd["g"], plain.random_effects_sd["g"], atol=1e-7
    )


def test_many_responses_of_known_variances() -> None:
    """A diagonal matrix joins no levels, and has variances all the same."""
    values = np.linspace(0.5, 3.0, Q)
    scope = {"D": (sparse.csc_array(sparse.diags_array(values)), IDS)}
    data = frame(F.Poisson())
    model = MixedGLM.from_formula(
        "y ~ x + (1 | gr(g, cov=D))", data, family=F.Poisson(), eval_env=scope
    )
    one, many = model.fit(), model.fit_many(data[["y"]])
    assert many.llf["y"] == pytest.approx(one.llf, abs=1e-6)
    plain = MixedGLM.from_formula("y ~ x + (1 | g)", data, family=F.Poisson()).fit()
    assert abs(one.llf - plain.llf) > 1e-3


def test_one_member_a_row_is_a_factor() -> None:
    data = frame(F.Poisson())
    plain = MixedGLM.from_formula("y ~ x + (x | s1)", data, family=F.Poisson()).fit()
    data["none"] = None
    both = MixedGLM.from_formula("y ~ x + (x | mm(s1, none))", data, family=F.Poisson()).fit()
    close(plain, both)


@pytest.mark.parametrize("random", [CASES[3][0], CASES[4][0], CASES[6][0], CASES[7][0]])
def test_modes_and_their_standard_deviations(random: str) -> None:
    """Against dense matrices with the weights at the modes."""
    result = model(random, F.Poisson()).fit()
    data, mu = frame(F.Poisson()), np.asarray(result.fittedvalues)
    templates = result.model.assembled.problem().covariance.term_templates(result.theta)
    ZL = pieces(random, data, templates)
    M = np.eye(ZL.shape[1]) + ZL.T @ (mu[:, None] * ZL)
    score = ZL.T @ (data["y"].to_numpy() - mu)  # u = score at the modes
    X = np.column_stack([np.ones(N), data["x"]])
    np.testing.assert_allclose(np.exp(X @ np.asarray(result.params) + ZL @ score), mu, rtol=1e-6)
    if "cov=B" in random or "prec=W" in random:
        name = "B" if "cov=B" in random else "W"
        values, vectors = np.linalg.eigh(MATRICES[name][1])
        C, T = vectors * np.sqrt(values), templates[0]
        one = np.kron(T, C)
        own = one @ np.linalg.inv(M)[: len(one.T), : len(one.T)] @ one.T
        sd = np.sqrt(np.diag(own)).reshape(2, Q).T
        np.testing.assert_allclose(result.random_effects_sd["g"], sd, rtol=1e-6)
        modes = (one @ score[: len(one.T)]).reshape(2, Q).T
        np.testing.assert_allclose(result.random_effects["g"], modes, atol=1e-7)


@pytest.mark.parametrize(("random", "family"), [CASES[0], CASES[5], CASES[7]])
def test_other_starts_end_there_too(random: str, family: Any) -> None:
    built = model(random, family)
    best = built.fit()
    for seed in range(3):
        theta = np.abs(np.random.default_rng(seed).normal(size=len(best.theta))) + 0.05
        again = built.fit(start_params=theta)
        assert again.llf == pytest.approx(best.llf, abs=1e-6)


# --------------------------------------------------------------- what follows a fit


def test_known_covariances_in_what_follows() -> None:
    built = model("(1 | gr(g, cov=P)) + (1 | mm(s1, s2))", F.Poisson())
    result = built.fit()
    data = frame(F.Poisson())
    same = result.predict(data)
    np.testing.assert_allclose(same, result.fittedvalues, rtol=1e-10)
    new = data.head(3).assign(g=["a00", "a01", "new"], s1="s1", s2=["s1", "s2", "s3"])
    average = result.predict(new, which="average", conditional=False, new_levels="population")
    variances = [float(table["variance"].iloc[0]) for table in _by_group(result)]
    K = MATRICES["P"][1]
    share = [K[0, 0], K[1, 1], 1.0]
    members = [1.0, 0.5, 0.5]
    linear = result.predict(new, which="linear", conditional=False)
    wanted = linear + 0.5 * (
        variances[0] * np.array(share) + variances[1] * np.array(members)
    )  # the mean of a lognormal variable
    np.testing.assert_allclose(np.log(average), wanted, rtol=1e-10)
    again = pickle.loads(pickle.dumps(result))
    np.testing.assert_allclose(again.predict(new), result.predict(new))
    Y = result.simulate(2, rng=4)
    many = built.fit_many(Y)
    one = result.refit(Y[0])
    assert many.llf.iloc[0] == pytest.approx(one.llf, abs=1e-6)
    less = result.update("~ . - x")
    assert [term.related is None for term in less.model.random_terms] == [False, False]
    assert less.llf < result.llf


def _by_group(result: Any) -> list[pd.DataFrame]:
    table = result.varcorr()
    return [own for _, own in table.groupby("group", sort=False)]


def test_drawn_responses_have_the_known_covariance() -> None:
    result = model("(1 | gr(g, cov=A))", F.Poisson()).fit()
    draws = np.log1p(result.simulate(4000, rng=2).to_numpy())
    data = frame(F.Poisson())
    by_level = np.array([draws[(data["g"] == level).to_numpy()].mean(axis=0) for level in IDS])
    found, K = np.corrcoef(by_level), MATRICES["A"][1]
    known = K / np.sqrt(np.outer(np.diag(K), np.diag(K)))
    lower = np.tril_indices(Q, -1)
    assert np.corrcoef(found[lower], known[lower])[0, 1] > 0.97


def test_levels_that_are_left_out_stay_in_the_matrix() -> None:
    """Without a level its relatives still hang together: the fit of fewer rows is the same."""
    result = model("(1 | gr(g, cov=A))", F.Poisson()).fit()
    data, table = frame(F.Poisson()), result.influence()
    kept = data[data["g"] != IDS[3]]
    own = MixedGLM.from_formula(
        "y ~ x + (1 | g)", kept, family=F.Poisson(), cov={"g": MATRICES["A"][0]}
    ).fit()
    change = (np.asarray(own.params) - np.asarray(result.params)) / np.asarray(result.bse)
    columns = [name for name in table.columns if name.startswith("dfbetas")]
    np.testing.assert_allclose(table.loc[IDS[3], columns].astype(float), change, atol=1e-4)


def test_what_is_refused() -> None:
    with pytest.raises(FitError, match="levels that have nothing to do with one another"):
        model("(1 | gr(g, cov=P))", F.Poisson()).fit(nagq=5)
    with pytest.raises(FitError, match="levels that have nothing to do with one another"):
        model("(1 | mm(s1, s2))", F.Poisson()).fit(nagq=5)
    lacking = pd.DataFrame(np.eye(2), IDS[:2], IDS[:2])
    with pytest.raises(DesignError, match="have no row in the matrix"):
        MixedGLM.from_formula(
            "y ~ x + (1 | gr(g, cov=A))",
            frame(F.Poisson()),
            family=F.Poisson(),
            eval_env={"A": lacking},
        )


def test_a_matrix_by_the_name_of_the_factor() -> None:
    data = frame(F.Poisson())
    cov = {"g": MATRICES["A"][0]}
    one = MixedGLM.from_formula("y ~ x + (1 | g)", data, family=F.Poisson(), cov=cov).fit()
    close(one, model("(1 | gr(g, cov=A))", F.Poisson()).fit())


def test_one_record_a_relative_is_enough() -> None:
    """A 0 or 1 for each animal tells of the variance by its relatives."""
    rng, n = np.random.default_rng(3), 120
    ids = [f"i{i}" for i in range(n)]
    rows: list[Any] = [
        (one, None, None) if i < 20 else (one, ids[int(rng.integers(10))], ids[10 + i % 10])
        for i, one in enumerate(ids)
    ]
    P = pedigree(pd.DataFrame(rows, columns=["id", "sire", "dam"]), "id", "sire", "dam")
    effect = 2.0 * P.from_independent(rng.normal(size=(n, 1)))[:, 0]
    place = {label: i for i, label in enumerate(P.labels)}
    eta = effect[[place[one] for one in ids]]
    data = pd.DataFrame({"id": ids, "y": rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))})
    result = MixedGLM.from_formula(
        "y ~ 1 + (1 | gr(id, cov=P))", data, family=F.Binomial(), eval_env={"P": P}
    ).fit()
    assert result.converged
