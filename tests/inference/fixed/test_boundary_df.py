"""Degrees of freedom where variances are zero or the random part says one thing twice."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import Example
from test_inference import DenseKenwardRoger

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.fixed import satterthwaite
from mixedlm_ext.inference.fixed.boundary import zero_variances
from mixedlm_ext.inference.fixed.kenward_roger import KenwardRoger


def fit(formula: str, data: Any, ddf: str = "kenward-roger", **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular fits, redundant terms
        return MixedLM.from_formula(formula, data, **arguments).fit(ddf=ddf)


def machines(unbalanced: bool = True) -> pd.DataFrame:
    data = datasets.machines.load_pandas().data
    data["w"] = 1.0 + np.arange(len(data)) % 3
    return data.drop(index=data.index[[0, 4, 8, 13, 21, 22, 30, 39, 46]]) if unbalanced else data


def crossed() -> pd.DataFrame:
    """Groups g with a variance, h without one."""
    g, i = np.repeat(np.arange(8), 6), np.arange(1, 49)
    y = np.sin(3 * i) + 1.5 * np.cos(5 * np.repeat(np.arange(1, 9), 6))
    x = np.tile(np.arange(6), 8) + i % 7 / 3
    data = pd.DataFrame({"y": y, "x": x, "g": g, "h": np.tile(list("abc"), 16), "w": 1 + i % 3})
    data["z"] = data["x"] - 2.5
    data["gh"] = data["g"].astype(str) + data["h"]
    return data.drop(index=[2, 16, 29, 30])


def oats() -> pd.DataFrame:
    return datasets.oats.load_pandas().data.rename(columns={"yield": "crop"})


EQUAL = [
    ("score ~ Machine + ", machines, None,
     ["(Machine | Worker)", "(0 + Machine | Worker)", "(1 | Worker) + (0 + Machine | Worker)",
      "(0 + Machine | Worker) + (1 | Worker)", "(Machine | Worker) + (1 | Worker:Machine)"]),
    ("score ~ Machine + ", machines, "w",
     ["(Machine | Worker)", "(1 | Worker) + (0 + Machine | Worker)"]),
    ("crop ~ nitro + Variety + ", oats, None,
     ["(Variety | Block)", "(0 + Variety | Block)", "(Variety | Block) + (1 | Block:Variety)",
      "(0 + Variety | Block) + (1 | Block:Variety)"]),
    ("y ~ x + ", crossed, None, ["(x | g)", "(z | g)", "(1 + I(10*x) | g)"]),
    ("y ~ x + ", crossed, "w", ["(h | g)", "(0 + h | g)", "(1 | g) + (0 + h | g)"]),
    ("y ~ x + ", crossed, None, ["(1 | g/h)", "(1 | gh) + (1 | g)"]),
    ("y ~ x + ", crossed, None, ["(1 | g) + (1 | h)", "(1 | h) + (1 | g)", "(1 | g)"]),
]  # fmt: skip


def proportional() -> pd.DataFrame:
    """Effects of two columns that go together: y has them with a correlation of 1, z of -1."""
    rng = np.random.default_rng(1)
    g, b = np.repeat(np.arange(10), 6), rng.normal(size=10)
    x = np.tile(np.arange(6.0), 10) + 0.3 * rng.normal(size=60)
    e = 1.2 * rng.normal(size=(3, 60))
    f = np.where(x > 2.5, "a", "b")
    data = pd.DataFrame({"g": g, "x": x, "f": f, "y": 1 + 0.3 * x + b[g] * (1 + 0.5 * x) + e[0]})
    data["z"] = 1 + b[g] * np.where(f == "a", 2.0, -1.5) + e[1]
    data["same"] = 1 + 1.5 * b[g] + e[2] - pd.Series(e[2]).groupby([g, f]).transform("mean")
    return data.drop(index=[1, 2, 17, 33, 34, 35, 50])


AT_AN_END = [
    # the last of each: pbkrtest 0.5 for the first model
    ("y ~ x + ", ["(x | g)", "cs(x | g)"], [8.840419572, 8.411181470]),
    (
        "z ~ f + ",
        ["(0 + f | g)", "cs(0 + f | g)", "ar1(0 + f | g, hom=False)", "toep(0 + f | g)"],
        [8.484255476, 8.882574843],
    ),
    (
        "same ~ f + ",
        ["(1 | g/f)", "cs(0 + f | g, hom=True)", "ar1(0 + f | g)"],
        [12.619378415, 7.857988582],
    ),
]


@pytest.mark.parametrize(("fixed", "random", "reference"), AT_AN_END)
@pytest.mark.parametrize("ddf", ["kenward-roger", "kenward-roger-full"])
def test_correlations_at_an_end(
    fixed: str, random: list[str], reference: list[float], ddf: str
) -> None:
    """Counted where columns have variances of their own, as in a singular us."""
    first, *others = [fit(fixed + part, proportional(), ddf) for part in random]
    assert first.singular
    if ddf == "kenward-roger-full" or random[0] != "(1 | g/f)":
        assert_allclose(first.df_resid_inference, reference, rtol=1e-5)
    for other in others:
        assert abs(other.theta[-1]) == 1.0
        assert_allclose(other.objective, first.objective, atol=1e-6)
        assert_allclose(other.bse, first.bse, rtol=1e-6)
        assert_allclose(other.df_resid_inference, first.df_resid_inference, rtol=1e-5)


@pytest.mark.parametrize(("fixed", "data", "weights", "random"), EQUAL)
def test_equal_models_have_equal_tests(
    fixed: str, data: Any, weights: str | None, random: list[str]
) -> None:
    results = [fit(fixed + part, data(), weights=weights) for part in random]
    first = results[0]
    for other in results[1:]:
        assert_allclose(other.objective, first.objective, atol=1e-6)
        assert_allclose(other.bse, first.bse, rtol=2e-5)
        assert_allclose(other.df_resid_inference, first.df_resid_inference, rtol=1e-4)
        assert_allclose(other.anova()["den_df"], first.anova()["den_df"], rtol=1e-4)


def test_a_redundant_part_against_pbkrtest() -> None:
    """pbkrtest 0.5 for (Machine | Worker)."""
    result = fit("score ~ Machine + (1 | Worker) + (0 + Machine | Worker)", machines())
    assert_allclose(result.bse, [1.76318820, 2.45482469, 1.57583332], rtol=5e-5)
    row = result.anova().iloc[0]
    assert_allclose([row["F"], row["den_df"]], [30.5658189, 3.99947524], rtol=2e-4)


def test_a_variance_of_zero_is_left_out_or_kept() -> None:
    data = datasets.dyestuff2.load_pandas().data
    result = fit("Yield ~ 1 + (1 | Batch)", data)
    assert_allclose(result.df_resid_inference, 29)
    assert_allclose(result.with_ddf("kenward-roger-full").df_resid_inference, 5, rtol=1e-6)
    kept = fit("y ~ x + (1 | g) + (1 | h)", crossed(), "kenward-roger-full")
    assert kept.ddf == "kenward-roger-full"
    assert_allclose(kept.bse, [0.4569011740, 0.0702874065], rtol=1e-5)  # pbkrtest 0.5
    assert_allclose(kept.df_resid_inference, [10.8070515, 25.3245557], rtol=1e-5)
    assert not np.allclose(kept.bse, kept.with_ddf("kenward-roger").bse, rtol=1e-3)
    positive = fit("y ~ x + (1 | g)", crossed())
    full = positive.with_ddf("kenward-roger-full")
    assert_allclose(full.df_resid_inference, positive.df_resid_inference, rtol=1e-10)


def test_the_footer_says_so() -> None:
    result = fit("y ~ x + (1 | g) + (1 | h)", crossed())
    text = " ".join(str(result.summary()).split())
    assert "without variances estimated as zero (h); ddf='kenward-roger-full' keeps" in text
    text = " ".join(str(result.with_ddf("kenward-roger-full").summary()).split())
    assert "which counts variances estimated as zero (h)." in text
    text = " ".join(str(result.with_ddf("satterthwaite").summary()).split())
    assert "Satterthwaite's method; variances estimated as zero are held fixed (h)." in text
    for ddf in ("kenward-roger", "satterthwaite"):
        assert "estimated as zero" not in str(fit("y ~ x + (1 | g)", crossed(), ddf).summary())


def test_the_option_goes_with_the_results() -> None:
    result = fit("y ~ x + (1 | g) + (1 | h)", crossed(), "kenward-roger-full")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert result.refit(result.model.endog).ddf == "kenward-roger-full"
        with pytest.raises(FitError, match="Kenward-Roger needs a REML fit"):
            result.model.fit(reml=False, ddf="kenward-roger-full")


def test_a_slope_without_variance_takes_its_covariance_with_it() -> None:
    """At theta (a, 0, 0) the model (x | g) is (1 | g), which has no covariance, either."""
    slope, none = (fit(f"y ~ x + ({left} | g)", crossed()) for left in ("x", "1"))
    at_zero = replace(
        slope.fit_record,
        theta=np.array([none.theta[0], 0.0, 0.0]),
        sigma=none.sigma,
        unscaled_cov=none.fit_record.unscaled_cov,
    )
    method = KenwardRoger(at_zero)
    assert_allclose(method.t(np.eye(2)), none.df_resid_inference, rtol=1e-8)
    assert_allclose(method.cov(), none.cov_params(), rtol=1e-8)
    assert "(g: x)" in method.note()


def mirrored_groups() -> pd.DataFrame:
    """Groups without a slope, each with a mirror image: no variance of slopes, no covariance."""
    rng = np.random.default_rng(1)
    groups = []
    for j in range(6):
        x, noise = rng.uniform(-1.0, 3.0, 6), rng.standard_normal(6)
        X = np.column_stack([np.ones(6), x])
        y = 3.0 * rng.standard_normal() + noise - X @ np.linalg.lstsq(X, noise, rcond=None)[0]
        groups += [pd.DataFrame({"g": s * (j + 1), "x": s * x, "y": y}) for s in (1, -1)]
    return pd.concat(groups, ignore_index=True)


def test_a_covariance_goes_although_one_of_its_two_variances_stays() -> None:
    """Unlike in balanced data, the covariance would count here: with it, x has fewer df."""
    slope, none = (fit(f"y ~ x + ({left} | g)", mirrored_groups()) for left in ("x", "1"))
    assert "(g: x)" in slope.ddf_method.note()
    assert_allclose(slope.df_resid_inference, none.df_resid_inference, rtol=1e-6)
    assert_allclose(slope.bse, none.bse, rtol=1e-6)


def chol(Gamma: np.ndarray) -> list[float]:
    """The part of theta of a term whose effects have this covariance, relative to sigma = 1."""
    values, vectors = np.linalg.eigh(Gamma)
    R = np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T, mode="r")
    T = R.T * np.sign(np.diag(R) + 1e-300)
    return list(T.T[np.triu_indices(len(T))])


def at(result: Any, theta: list[float]) -> Any:
    """The record of a fit at another theta, sigma = 1."""
    design, V = result.model.design, np.eye(len(result.model.endog))
    at_theta = replace(result.fit_record, theta=np.array(theta), sigma=1.0)
    for term, T in zip(design.terms, at_theta.templates):
        V += (term.codes[:, None] == term.codes) * (term.X @ T @ T.T @ term.X.T)
    unscaled = np.linalg.inv(design.X.T @ np.linalg.solve(V, design.X))
    return replace(at_theta, unscaled_cov=unscaled)


def assert_same_tests(one: Any, two: Any) -> None:
    methods, L = (KenwardRoger(one), KenwardRoger(two)), np.eye(len(one.beta))
    assert_allclose(*(method.cov() for method in methods), rtol=1e-7, atol=1e-10)
    assert_allclose(*(method.t(L) for method in methods), rtol=1e-6)
    assert_allclose(*(method.f(L[1:]) for method in methods), rtol=1e-6)


def test_a_column_has_the_variance_that_another_term_gives_it() -> None:
    """One machine varies by the workers' intercept only: the same model in one term or in two."""
    one, two = (
        fit(f"score ~ Machine + {random}", machines())
        for random in ("(0 + Machine | Worker)", "(1 | Worker) + (0 + Machine | Worker)")
    )
    own = np.diag([0.0, 0.8**2, 0.5**2])
    alone, apart = at(one, chol(2.25 + own)), at(two, [1.5, *chol(own)])
    assert zero_variances(alone) == zero_variances(apart) == []
    assert_same_tests(alone, apart)
    nothing = at(two, [0.0, *chol(own)])
    assert zero_variances(nothing) == ["Worker", "Worker.1: Machine[A]"]


def test_variance_of_an_intercept_may_be_written_in_either_of_two_terms() -> None:
    """(x | g) and (0 + h | g) share the intercept, and slopes of x are in one of them."""
    result = fit("y ~ x + (x | g) + (0 + h | g)", crossed())
    intercept_and_slope = np.array([[2.25, 0.3], [0.3, 0.5]])
    shift = np.array([[1.0, 0.0], [0.0, 0.0]])
    own = np.diag([0.0, 0.8**2, 0.5**2])
    first = at(result, [*chol(intercept_and_slope), *chol(own)])
    second = at(result, [*chol(intercept_and_slope - shift), *chol(1.0 + own)])
    assert zero_variances(first) == zero_variances(second) == []
    assert_same_tests(first, second)
    # an intercept that is a multiple of the slope belongs to the slope
    tied = at(result, [*chol(np.array([[2.0, 1.0], [1.0, 0.5]])), *chol(own)])
    assert zero_variances(tied) == ["g.1: h[a]"]


def test_scale_of_f_beside_two_degrees_of_freedom() -> None:
    """Only at two itself is the scale one: the textbook's formulas at 2.7."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(6), [1, 9, 2, 1, 9, 12])
    rng.standard_normal(34)
    X = np.column_stack([np.ones(34), g % 3 == 1, g % 3 == 2]).astype(float)
    y = rng.standard_normal(6)[g] + rng.standard_normal(34)
    data = Example(y, X, (oracle.Term(np.ones((34, 1)), g, 6, "us"),), ("g",))
    result, L = data.model().fit(ddf="kenward-roger"), np.eye(3)[1:]
    scale, df = DenseKenwardRoger(data, result.theta, result.sigma).scale_and_df(L)
    assert 2.5 < df < 3.0 and scale < 0.9
    assert_allclose(result.ddf_method.f(L), [scale, df], rtol=1e-6)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(69, (1.0, 2.004852734)), (79, None)],  # pbkrtest 0.5's KRmodcomp has the same guard
)
def test_the_scale_is_one_within_a_hundredth_of_two_only(seed: int, expected: Any) -> None:
    rng = np.random.default_rng(seed)
    k = int(rng.integers(5, 7))
    g = np.repeat(np.arange(k), rng.integers(1, 12, k))
    X = np.column_stack([np.ones(len(g)), g % 3 == 1, g % 3 == 2]).astype(float)
    y = 3.0 * rng.standard_normal(k)[g] + rng.standard_normal(len(g))
    data = Example(y, X, (oracle.Term(np.ones((len(g), 1)), g, k, "us"),), ("g",))
    result, L = data.model().fit(ddf="kenward-roger"), np.eye(3)[1:]
    textbook = DenseKenwardRoger(data, result.theta, result.sigma).scale_and_df(L)
    if expected is None:
        assert 2.2 < textbook[1] < 2.4
    assert abs(textbook[0] - 1.0) > 0.02
    assert_allclose(result.ddf_method.f(L), textbook if expected is None else expected, rtol=1e-5)


def test_a_small_variance_is_none_of_zero() -> None:
    """Ten-thousandths of the residual's standard deviation count; a millionth does not."""
    result = fit("y ~ x + (1 | g)", crossed())
    for theta, zeros in ((1e-4, []), (2e-5, []), (1e-6, ["g"])):
        assert zero_variances(replace(result.fit_record, theta=np.array([theta]))) == zeros


def test_scale_of_f_near_two_degrees_of_freedom() -> None:
    """A covariate of four groups has two degrees of freedom, where F's mean is infinite."""
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(4), 5)
    y = rng.standard_normal(20) + 4 * rng.standard_normal(4)[g]
    result = fit("y ~ z + (1 | g)", pd.DataFrame({"y": y, "g": g, "z": (g**2) / 3.0}))
    assert_allclose(result.df_resid_inference[1], 2, rtol=1e-8)
    row = result.anova().iloc[0]
    assert_allclose([row["F"], row["den_df"]], [result.tvalues.iloc[1] ** 2, 2], rtol=1e-6)
    assert_allclose(row["pvalue"], result.pvalues.iloc[1], rtol=1e-6)
    assert result.ddf_method.f(np.eye(2)[1:])[0] == 1.0


def test_satterthwaite_of_large_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is affordable the average information takes the Hessian's place."""
    data = crossed()
    exact = fit("y ~ x + (1 | g)", data, "satterthwaite")
    assert exact.ddf_method.exact
    exact_df = exact.df_resid_inference
    monkeypatch.setattr(satterthwaite, "_AFFORDABLE", -1.0)
    large = exact.with_ddf("satterthwaite")
    assert not large.ddf_method.exact
    assert "from the average information (a large model)" in large.ddf_method.note()
    assert_allclose(large.df_resid_inference, _by_average_information(large), rtol=1e-6)
    assert not np.allclose(large.df_resid_inference, exact_df, rtol=1e-4)


def _by_average_information(result: Any) -> np.ndarray:
    """2 (l'Cl)²/(g'Ag), A the inverse of the average information y'PG_iPG_jPy/2 of variances."""
    design = result.model.design
    X, y, Z = design.X, design.y, np.eye(8)[design.terms[0].codes]
    G = [Z @ Z.T, np.eye(len(y))]
    variances = [float(result.theta[0] ** 2 * result.scale), result.scale]
    W = np.linalg.inv(sum(v * g for v, g in zip(variances, G)))
    C = np.linalg.inv(X.T @ W @ X)
    P = W - W @ X @ C @ X.T @ W
    GPy = [g @ P @ y for g in G]
    A = np.linalg.inv([[0.5 * a @ P @ b for b in GPy] for a in GPy])
    gradients = np.array([np.diag(C @ X.T @ W @ g @ W @ X @ C) for g in G]).T
    return 2.0 * np.diag(C) ** 2 / np.einsum("ri,ij,rj->r", gradients, A, gradients)
