"""Contrasts of marginal means: their coefficients, and adjustment for their number."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lme4_reference import SPLIT_PLOT, fit, unbalanced
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mixedlm_ext.errors import FitError
from mixedlm_ext.inference.means.multiplicity import Family, adjusted_pvalues
from mixedlm_ext.inference.means.multivariate_t import _Angles, max_t_isf, max_t_sf
from mixedlm_ext.inference.means.product_correlation import product_loadings
from mixedlm_ext.inference.means.studentized_range import (
    studentized_range_isf,
    studentized_range_sf,
)

RECIPES = "angle ~ recipe + temp + (1 | recipe:replicate)"


@pytest.fixture(scope="module")
def temperatures() -> Any:
    return fit(SPLIT_PLOT, unbalanced("cake")).emmeans("temperature")


@pytest.fixture(scope="module")
def recipes() -> Any:
    return fit(RECIPES, unbalanced("cake")).emmeans("recipe")


# ---------------------------------------------------------------- adjustment

# emmeans 1.8: p-values of the first six pairs, lower limits of the first three
ADJUSTED = {
    "tukey": (
        [9.01625292e-02, 9.36909904e-04, 1.78299953e-04, 3e-13, 5.98301408e-11, 7.58256111e-01],
        [-5.42354345, -6.68131024, -7.03176261],
    ),
    "scheffe": (
        [
            2.23715285e-01,
            6.67701384e-03,
            1.68902201e-03,
            1.52725753e-11,
            2.64885031e-09,
            0.873420658,
        ],
        [-5.89789630, -7.14594272, -7.49343371],
    ),
    "sidak": (
        [1.22625399e-01, 1.00477710e-03, 1.85837730e-04, 2.466e-13, 5.98321392e-11, 9.48630595e-01],
        [-5.50793427, -6.76398062, -7.11389710],
    ),
    "bonferroni": (
        [1.30252420e-01, 1.00524854e-03, 1.85853849e-04, 2.46621509e-13, 5.98319159e-11, 1.0],
        [-5.51545190, -6.77134441, -7.12121374],
    ),
    "holm": (
        [
            4.34174733e-02,
            6.03149127e-04,
            1.36292823e-04,
            2.46621509e-13,
            5.58431215e-11,
            0.53867919,
        ],
        [-5.51545190, -6.77134441, -7.12121374],
    ),
}


@pytest.mark.parametrize("adjust", ADJUSTED)
def test_adjusted_pvalues_and_intervals(temperatures: Any, adjust: str) -> None:
    frame = temperatures.contrasts(adjust=adjust)
    p, lower = ADJUSTED[adjust]
    # R's ptukey and its Sidak lose digits below 1e-9
    kept = np.array(p) > (1e-9 if adjust in ("tukey", "sidak") else 0)
    assert_allclose(frame["pvalue"].iloc[:6][kept], np.array(p)[kept], rtol=1e-5)
    assert_allclose(frame["ci_lower"].iloc[:3], lower, rtol=1e-6)
    assert_allclose(frame["ci_lower"] + frame["ci_upper"], 2 * frame["estimate"])


@pytest.mark.parametrize(
    "adjust",
    [
        "tukey",
        "bonferroni",
        "sidak",
        "scheffe",
        pytest.param("mvt", marks=pytest.mark.slow),
        "none",
    ],
)
@pytest.mark.parametrize("contrast", [0, 13])
def test_pvalue_and_interval_agree(temperatures: Any, adjust: str, contrast: int) -> None:
    """At a level just above its p-value a contrast's interval excludes zero, just below not."""
    p = temperatures.contrasts(adjust=adjust)["pvalue"].iloc[contrast]
    for alpha, excludes in ((p * 1.001, True), (p * 0.999, False)):
        one = temperatures.contrasts(adjust=adjust, alpha=alpha).iloc[contrast]
        assert (one["ci_lower"] * one["ci_upper"] > 0) == excludes


def test_defaults_are_those_of_emmeans(temperatures: Any, recipes: Any) -> None:
    assert_allclose(temperatures.contrasts(), temperatures.contrasts(adjust="tukey"))
    assert_allclose(
        recipes.contrasts("reference"), recipes.contrasts("reference", adjust="dunnett")
    )
    assert_allclose(recipes.contrasts("eff"), recipes.contrasts("eff", adjust="BH"))
    assert_allclose(recipes.contrasts("poly"), recipes.contrasts("poly", adjust=None))
    assert_allclose(recipes.contrasts([1, -1, 0]), recipes.contrasts([1, -1, 0], adjust="none"))


@pytest.mark.parametrize("adjust", ["holm-sidak", "simes-hochberg", "hommel", "fdr_by"])
def test_adjustments_by_rank(temperatures: Any, adjust: str) -> None:
    plain = temperatures.contrasts(adjust="none")["pvalue"]
    expected = multipletests(plain, method=adjust)[1]
    assert_allclose(temperatures.contrasts(adjust=adjust)["pvalue"], expected, rtol=1e-7)


def test_a_smaller_pvalue_is_never_adjusted_to_a_larger_one() -> None:
    t = stats.t.isf(np.array([0.02, 0.01, 0.0101]) / 2, 10.0)
    family = Family(t, np.full(3, 10.0), np.eye(3), 3)
    p = adjusted_pvalues(family, "holm-sidak")
    assert_allclose(p, [1 - 0.99**3, 1 - 0.99**3, 1 - 0.99**3])


def test_known_variances(temperatures: Any) -> None:
    """By the normal distribution Scheffe's method is chi-squared."""
    means = temperatures.results.with_ddf("normal").emmeans("temperature")
    frame = means.contrasts(adjust="scheffe")
    assert_allclose(frame["pvalue"], stats.chi2.sf(frame["t"] ** 2, 5))
    half = (frame["ci_upper"] - frame["ci_lower"]) / 2
    assert_allclose(half / frame["se"], np.sqrt(stats.chi2.isf(0.05, 5)))
    plain = means.contrasts(adjust="none")
    assert_allclose(plain["pvalue"], 2 * stats.norm.sf(plain["t"].abs()))
    q = stats.studentized_range.ppf(0.95, 6, 1e8) / np.sqrt(2)
    tukey = means.contrasts()
    assert_allclose(tukey["ci_upper"] - tukey["estimate"], q * tukey["se"], rtol=1e-5)


def test_the_note_says_how(recipes: Any) -> None:
    assert recipes.contrasts().attrs["note"] == "p-values and intervals adjusted by tukey"
    note = recipes.contrasts(adjust="holm").attrs["note"]
    assert note == "p-values adjusted by holm, intervals by bonferroni (holm has none)"


def test_the_family_of_tukey_is_one_level_of_by() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    by = result.emmeans("recipe", by="temperature").contrasts()
    alone = result.emmeans("recipe", at={"temperature": "195"}).contrasts()
    assert_allclose(by.loc["195"], alone, rtol=1e-8)
    one = by.loc["195"].iloc[0]
    q = np.sqrt(2.0) * abs(one["t"])
    assert_allclose(one["pvalue"], stats.studentized_range.sf(q, 3, one["df"]), rtol=1e-6)


def test_offsets_of_cells_count_in_every_column() -> None:
    """The same model with its offset subtracted has the same fit; only A lies higher by 3."""
    data = unbalanced("cake").assign(
        up=lambda d: np.where(d["recipe"].astype(str) == "A", 3.0, 0.0)
    )
    formula = "angle ~ temp + offset(np.where(recipe == 'A', 3.0, 0.0)) + recipe + (1 | replicate)"
    frame = fit(formula, data).emmeans("recipe").contrasts()
    plain = fit("angle ~ temp + recipe + (1 | replicate)", data).emmeans("recipe").contrasts()
    assert_allclose(frame, plain, rtol=1e-6)  # the coefficients take the offset up again
    fixed = fit(formula.replace(" + recipe", ""), data).emmeans("recipe").contrasts()
    assert_allclose(fixed["estimate"], [3.0, 3.0, 0.0])
    assert_allclose(fixed["t"].iloc[:2], np.inf)
    assert_allclose(fixed["pvalue"].iloc[:2], 0.0)
    mixed = fit(formula.replace("+ recipe ", "+ recipe:temp "), data).emmeans("recipe").contrasts()
    assert_allclose(mixed["t"], mixed["estimate"] / mixed["se"])
    p = studentized_range_sf(np.sqrt(2.0) * mixed["t"].abs(), 3, mixed["df"])
    assert_allclose(mixed["pvalue"], p)


def test_a_contrast_that_is_zero_has_no_test(recipes: Any) -> None:
    """Rounding errors of zero over their own standard error look like t tests."""
    result = recipes.results
    means = result.emmeans("temp", at={"temp": [180, 200, 220]})
    frame = means.contrasts("poly")
    assert frame.loc["quadratic", "estimate"] == frame.loc["quadratic", "se"] == 0.0
    assert np.isnan(frame.loc["quadratic", "pvalue"])
    assert frame.loc["linear", "t"] > 5


# ---------------------------------------------------------------- tails


@pytest.mark.parametrize("df", [1.0, 2.0, 3.3, 10.0, 77.3, 1e4, 1e7, np.inf])
@pytest.mark.parametrize("q", [0.1, 1.0, 3.0, 10.0, 30.0, 1e3])
def test_two_means_are_a_t_test(q: float, df: float) -> None:
    expected = 2.0 * stats.t.sf(q / np.sqrt(2.0), df)
    assert_allclose(studentized_range_sf(q, 2, df), expected, rtol=1e-9, atol=1e-300)


def test_the_studentized_range() -> None:
    # R 4.2, ptukey(q, k, df, lower.tail = FALSE), where it has digits; SciPy's integration
    for q, k, df, expected in (
        (3.0, 3, 10.0, stats.studentized_range.sf(3.0, 3, 10.0)),
        (5.0, 5, 10.0, stats.studentized_range.sf(5.0, 5, 10.0)),
        (0.1, 3, 77.3, 0.997247279403316),
        (3.0, 20, 1000.0, 0.845346552696296),
        (5.0, 5, 77.3, 0.00605299838760309),
        (5.0, 100, np.inf, 0.478547966622005),
    ):
        assert_allclose(studentized_range_sf(q, k, df), expected, rtol=1e-6)
    # far out the pairs exclude each other: Bonferroni's bound is reached
    for df in (30.0, np.inf):
        far = studentized_range_sf(60.0, 4, df)
        assert_allclose(far, 6 * 2 * stats.t.sf(60.0 / np.sqrt(2), df), rtol=0.2)
    assert_allclose(studentized_range_sf(36.0, 4, np.inf), 6 * 2 * stats.norm.sf(36 / np.sqrt(2)))
    assert studentized_range_sf(0.0, 3, 5.0) == 1.0
    assert np.isnan(studentized_range_sf([np.nan, 1.0], 3, [5.0, np.nan])).all()


@pytest.mark.parametrize("k", [2, 3, 10])
def test_quantiles_of_the_studentized_range(k: int) -> None:
    df = np.array([2.0, 5.5, 40.0, np.inf, np.nan])
    q = studentized_range_isf(0.05, k, df)
    assert_allclose(studentized_range_sf(q[:4], k, df[:4]), 0.05, rtol=1e-7)
    assert np.isnan(q[4])
    many = np.concatenate([np.linspace(5, 60, 30), [np.inf]])  # interpolated between a few
    assert_allclose(
        studentized_range_isf(0.05, k, many)[[3, 17, 30]],
        [float(studentized_range_isf(0.05, k, d)) for d in many[[3, 17, 30]]],
        rtol=1e-7,
    )


def test_small_pvalues_are_not_zero() -> None:
    result = fit("score ~ Machine + (1 | Worker)", unbalanced_machines())
    for adjust in ("tukey", "mvt", "sidak", "holm-sidak", "scheffe", "bonferroni", "holm", "none"):
        p = result.emmeans("Machine").contrasts(adjust=adjust)["pvalue"]
        assert (p > 0).all() and p.min() < 1e-12


def unbalanced_machines() -> pd.DataFrame:
    from mixedlm_ext import datasets

    return datasets.machines.load_pandas().data


@pytest.mark.parametrize("df", [5.0, 30.0, np.inf])
@pytest.mark.parametrize("t", [1.5, 3.0, 8.0])
def test_the_largest_t_of_all_pairs_is_the_studentized_range(t: float, df: float) -> None:
    k = 4
    pairs = np.array([np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i)]) / np.sqrt(2)
    expected = studentized_range_sf(np.sqrt(2.0) * t, k, df)
    assert_allclose(max_t_sf(t, pairs @ pairs.T, df), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("k", "rtol"),
    [
        (3, 1e-6),
        (5, 3e-4),
        (6, 3e-4),
        (8, 2e-3),
        (11, 2e-3),
        pytest.param(16, 1e-2, marks=pytest.mark.slow),
    ],
)
def test_the_largest_t_in_any_dimension(k: int, rtol: float) -> None:
    rng = np.random.default_rng(k)
    pairs = np.array([np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i)]) / np.sqrt(2)
    turned = rng.permutation(pairs * rng.choice([-1.0, 1.0], (len(pairs), 1)))
    t = np.array([1.0, 2.0, 3.0, 5.0])
    for df in (4.0, 25.0, np.inf):
        expected = studentized_range_sf(np.sqrt(2.0) * t, k, df)
        for one in (pairs, turned):
            assert_allclose(max_t_sf(t, one @ one.T, df), expected, rtol=rtol)


def test_the_largest_t_against_mvtnorm() -> None:
    """mvtnorm 1.1-3, GenzBretz(maxpts=5e6, abseps=1e-7), whose own error is about 2e-6."""
    lags = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    autoregressive = 0.8**lags
    expected = [0.697492571, 0.167605546, 0.0293562231]
    assert_allclose(max_t_sf([1.0, 2.2, 3.5], autoregressive, 7.0), expected, rtol=3e-4)
    variances = np.diag([1.0, 0.5, 0.2, 2.0])
    L = np.array([np.eye(4)[i] - np.eye(4)[j] for i in range(4) for j in range(i)])
    cov = L @ variances @ L.T
    corr = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    expected = [0.737573151, 0.115165471, 0.00242279387]
    assert_allclose(max_t_sf([1.0, 2.2, 3.5], corr, np.inf), expected, atol=3e-6)


def equal_apart(b: Any) -> Any:
    """Return correlations b_i b_j."""
    corr = np.outer(b, b)
    np.fill_diagonal(corr, 1.0)
    return corr


def panels(edges: list[float], nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of Gauss and Legendre's rule on each panel."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    half = 0.5 * np.diff(edges)[:, None]
    return (np.array(edges[:-1])[:, None] + half * (x + 1.0)).ravel(), (half * w).ravel()


@pytest.mark.parametrize("b", [[0.7, 0.5, 0.2], [0.98, 0.3, -0.6, 0.0], [0.5] * 3, [0.9, 0.4]])
@pytest.mark.parametrize(("t", "df"), [(0.2, 3.0), (2.2, 3.0), (3.0, np.inf), (9.0, 8.0)])
def test_comparisons_with_a_control_are_exact(b: list[float], t: float, df: float) -> None:
    """Against Gauss and Legendre's rule on panels of both integrals."""
    loadings = np.array(b)
    width = np.sqrt(1.0 - loadings**2)
    z, dz = panels([0.0, 1.0, 2.0, 4.0, 8.0, 30.0], 200)
    s, ds = (np.ones(1), np.ones(1)) if np.isinf(df) else panels([0.0, 5.0], 60)
    density = 1.0 if np.isinf(df) else stats.chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)
    limit = t * s[:, None, None]
    mean = loadings * z[:, None]
    p = stats.norm.sf((limit - mean) / width) + stats.norm.sf((limit + mean) / width)
    missed = -np.expm1(np.log1p(-np.minimum(p, 1.0 - 1e-16)).sum(axis=2))  # (s, z)
    expected = float(2.0 * (ds * density) @ missed @ (dz * stats.norm.pdf(z)))
    assert_allclose(max_t_sf(t, equal_apart(loadings), df), expected, rtol=1e-6)


def test_equal_statistics_count_once() -> None:
    corr = equal_apart([0.6, 0.5, 0.4])
    sign = np.array([1.0, 1.0, 1.0, -1.0])
    twice = corr[np.ix_([0, 1, 2, 0], [0, 1, 2, 0])] * np.outer(sign, sign)
    assert_allclose(max_t_sf(2.0, twice, 9.0), max_t_sf(2.0, corr, 9.0), rtol=1e-12)
    assert_allclose(max_t_sf(2.0, np.ones((2, 2)), 9.0), 2 * stats.t.sf(2.0, 9.0), rtol=1e-12)


def test_loadings_too_steep_or_negative_are_left_to_the_general_rule() -> None:
    steep = equal_apart([0.999, 0.998, 0.3])
    assert product_loadings(steep) is None
    assert product_loadings(-0.4 * np.ones((3, 3)) + 1.4 * np.eye(3)) is None
    found = max_t_sf(2.5, equal_apart([0.994, 0.9, 0.99]), 10.0)
    angles = _Angles(equal_apart([0.994, 0.9, 0.99])).tail(2.5, 10.0)
    assert_allclose(found, angles, rtol=1e-6)
    one_pair = product_loadings(equal_apart([0.0, 0.5, -0.4]))
    assert_allclose(equal_apart(one_pair), equal_apart([0.0, 0.5, -0.4]), atol=1e-12)


def test_adjusting_fifteen_contrasts_is_fast() -> None:
    k = 6
    pairs = np.array([np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i)])
    cov = pairs @ np.diag([1.0, 0.5, 2.0, 1.0, 0.7, 0.2]) @ pairs.T
    corr = cov / np.sqrt(np.outer(np.diag(cov), np.diag(cov)))
    start = time.process_time()
    max_t_sf(np.linspace(0.5, 6.0, 15), corr, np.linspace(20.0, 30.0, 15))
    assert time.process_time() - start < 1.5


def test_the_largest_t_against_scipy() -> None:
    corr = np.array([[1.0, 0.5, -0.2], [0.5, 1.0, 0.3], [-0.2, 0.3, 1.0]])
    for t in (1.0, 2.5):
        inside = stats.multivariate_t(np.zeros(3), corr, df=12, seed=1).cdf(
            np.full(3, t), lower_limit=np.full(3, -t), maxpts=200_000
        )
        assert_allclose(max_t_sf(t, corr, 12.0), 1.0 - inside, rtol=1e-4)
    assert_allclose(max_t_sf(max_t_isf(0.05, corr, 12.0), corr, 12.0), 0.05, rtol=1e-7)
    # Dunnett's table: two treatments against a control, 20 df, 5 %
    assert_allclose(max_t_isf(0.05, np.array([[1.0, 0.5], [0.5, 1.0]]), 20.0), 2.379, atol=0.003)


def test_dunnett(recipes: Any) -> None:
    """emmeans 1.8 with adjust="mvt" gives 0.7581 and 0.7886 for the split plot."""
    means = fit(SPLIT_PLOT, unbalanced("cake")).emmeans("recipe")
    frame = means.contrasts("trt.vs.ctrl")
    assert list(frame.index) == ["B - A", "C - A"]
    assert_allclose(frame["pvalue"], [0.7581, 0.7886], atol=1e-3)
    assert_allclose(frame["ci_lower"], [-7.2372, -7.1104], atol=5e-3)
    other = means.contrasts("reference", reference="B", adjust="none")
    assert list(other.index) == ["A - B", "C - B"]


# ---------------------------------------------------------------- coefficients


def test_polynomials(temperatures: Any) -> None:
    frame = temperatures.contrasts("poly")
    assert list(frame.index) == ["linear", "quadratic", "cubic", "quartic", "degree 5"]
    # emmeans 1.8
    expected = [52.40288257, -7.37716360, -2.96551875, -8.06517872, -15.88807121]
    assert_allclose(frame["estimate"], expected, rtol=1e-6)
    assert_allclose(
        frame["se"], [5.80453385, 6.2393451, 9.2126935, 3.6094669, 10.731235], rtol=1e-6
    )
    assert_allclose(
        frame["pvalue"],
        [1.85714590e-16, 0.238537386, 0.747885081, 0.0266184918, 0.140383649],
        rtol=1e-5,
    )


def test_effects(temperatures: Any) -> None:
    frame = temperatures.contrasts("eff")
    assert frame.index[0] == "175 effect"
    # emmeans 1.8
    p = [3.10516868e-10, 1.19710516e-02, 0.614990846, 0.947096358, 4.77903922e-08, 1.87678629e-05]
    assert_allclose(frame["pvalue"], p, rtol=1e-5)
    assert_allclose(frame["estimate"].iloc[[0, 5]], [-4.3247985964, 2.8704806396], rtol=1e-6)
    assert_allclose(frame["ci_lower"].iloc[:2], [-5.98012403, -3.43922295], rtol=1e-6)
    others = temperatures.contrasts("del.eff")
    assert_allclose(others["estimate"].iloc[[0, 5]], [-5.1897583157, 3.4445767676], rtol=1e-6)
    assert_allclose(others["pvalue"], p, rtol=1e-5)


def test_consecutive_and_reversed(temperatures: Any) -> None:
    frame = temperatures.contrasts("consec", adjust="none")
    assert list(frame.index[:2]) == ["185 - 175", "195 - 185"]
    # emmeans 1.8
    expected = [2.600345202, 1.315628696, 0.368068017, 3.669109411, -0.757872090]
    assert_allclose(frame["estimate"], expected, rtol=1e-6)
    back = temperatures.contrasts("revpairwise")
    assert list(back.index[:3]) == ["185 - 175", "195 - 175", "195 - 185"]
    assert_allclose(back.loc["195 - 175", "pvalue"], 9.36909904e-04, rtol=1e-5)


def test_interaction_contrasts() -> None:
    means = fit(SPLIT_PLOT, unbalanced("cake")).emmeans(["recipe", "temperature"])
    frame = means.contrasts(interaction=["pairwise", "consec"])
    assert frame.index.names == ["recipe_pairwise", "temperature_consecutive"]
    # emmeans 1.8
    expected = [0.961781818, -3.584744118, 1.138583992, 2.839614958, -4.417285316]
    assert_allclose(frame.loc["A - B", "estimate"], expected, rtol=1e-6)
    assert_allclose(frame["pvalue"].iloc[-2:], [0.5937954338, 0.6839241912], rtol=1e-6)
    named = means.contrasts(interaction={"temperature": "consec", "recipe": "pairwise"})
    assert_allclose(named, frame)
    assert len(means.contrasts(interaction=True)) == 3 * 15
    every = means.contrasts(interaction="pairwise", adjust="bonferroni")
    assert_allclose(
        every["pvalue"],
        np.minimum(45 * means.contrasts(interaction="pairwise")["pvalue"], 1.0),
    )


@pytest.mark.parametrize(
    "kind",
    [
        {"B vs A": [-1, 1, 0]},
        {"B vs A": np.array([-1.0, 1.0, 0.0])},
        {"B vs A": {"B": 1, "A": -1}},
        {"B vs A": pd.Series({"B": 1, "A": -1})},
        pd.DataFrame([[-1, 1, 0]], index=["B vs A"]),
        pd.DataFrame([[1, 0, -1]], index=["B vs A"], columns=["B", "C", "A"]),
    ],
    ids=lambda kind: (
        type(next(iter(kind.values()))).__name__ if isinstance(kind, dict) else "frame"
    ),
)
def test_contrasts_that_are_given(recipes: Any, kind: Any) -> None:
    expected = recipes.contrasts("reference", adjust="none").iloc[:1]
    frame = recipes.contrasts(kind)
    assert list(frame.index) == ["B vs A"]
    assert_allclose(frame, expected)


def test_contrasts_by_a_matrix(recipes: Any) -> None:
    expected = recipes.contrasts("pairwise", adjust="none")
    rows = [[1, -1, 0], [1, 0, -1], [0, 1, -1]]
    for kind in (rows, np.array(rows), pd.DataFrame(rows), dict(enumerate(rows))):
        assert_allclose(recipes.contrasts(kind), expected)
    assert list(recipes.contrasts(rows).index) == ["A - B", "A - C", "B - C"]
    one = recipes.contrasts([1, -0.5, -0.5])
    assert list(one.index) == ["A - 0.5 B - 0.5 C"]
    assert_allclose(recipes.contrasts({"A": 1, "B": -1}), expected.iloc[:1])
    sidak = recipes.contrasts(rows, adjust="sidak")
    assert_allclose(sidak["pvalue"], 1 - (1 - expected["pvalue"]) ** 3)


def test_given_contrasts_within_by() -> None:
    means = fit(SPLIT_PLOT, unbalanced("cake")).emmeans("recipe", by="temperature")
    frame = means.contrasts({"A vs B": [1, -1, 0]})
    pairs = means.contrasts(adjust="none").xs("A - B", level="contrast")
    assert frame.index[0] == ("175", "A vs B")
    assert_allclose(frame, pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "pairs"}, r"kind='pairs' is not known. Did you mean 'pairwise'"),
        ({"kind": 5}, r"kind=5 is no matrix of contrasts"),
        ({"kind": [1, -1]}, r"2 coefficients, and there are 3 means: 'A', 'B', 'C'"),
        ({"kind": {"a": [1, -1]}}, r"2 coefficients"),
        ({"kind": [[1, -1], [1, 2, 3]]}, r"2 coefficients"),
        ({"kind": {"a": {"Z": 1}}}, r"names the level 'Z'; there are 'A', 'B', 'C'"),
        ({"kind": {"a": [1, "x", 0]}}, r"the coefficient 'x'. Give finite numbers"),
        ({"kind": [1, np.nan, 0]}, r"the coefficient nan"),
        ({"kind": {"a": "A - B"}}, r"a contrast is the text 'A - B'. Give coefficients"),
        ({"kind": {}}, r"there are no contrasts"),
        ({"adjust": "hol"}, r"adjust='hol' is not known. Did you mean 'holm'"),
        ({"kind": "reference", "adjust": "tukey"}, r"'tukey' is for all pairs"),
        ({"kind": "reference", "reference": "Z"}, r"'Z' is no level; there are 'A', 'B', 'C'"),
        ({"reference": "B"}, r"reference= belongs to kind='reference'"),
        ({"alpha": 1.5}, r"alpha=1.5 is no probability"),
        ({"interaction": True}, r"means of two factors or more"),
    ],
)
def test_bad_contrasts(recipes: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        recipes.contrasts(**arguments)


def test_bad_interactions_and_names(recipes: Any) -> None:
    means = fit(SPLIT_PLOT, unbalanced("cake")).emmeans(["recipe", "temperature"])
    with pytest.raises(FitError, match="has 1 kinds for 2 factors"):
        means.contrasts(interaction=["poly"])
    with pytest.raises(FitError, match="Give a kind for each"):
        means.contrasts(interaction={"recipe": "poly"})
    with pytest.raises(TypeError, match=r"'adjst'. Did you mean 'adjust'"):
        recipes.contrasts(adjst="holm")
    with pytest.raises(FitError, match="only one mean"):
        recipes.results.emmeans("temp").contrasts()
