"""Bootstrap: replicates, intervals and tests against R, SciPy and theory."""

from __future__ import annotations

import inspect
import pickle
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from simulation import example, quietly
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError, FitError, SingularFitWarning
from mixedlm_ext.inference.bootstrap.intervals import interval
from mixedlm_ext.inference.bootstrap.resampling import _reflated, outer_terms, resampler
from mixedlm_ext.many import Refitter
from mixedlm_ext.simulation.simulate import draw, spawn_seeds

NAMES = [
    "sd(Subject, Intercept)",
    "sd(Subject, Days)",
    "cor(Subject, Intercept, Days)",
    "sigma",
    "Intercept",
    "Days",
]


@pytest.fixture(scope="module")
def boot(result):
    return result.bootstrap(1000, rng=1)


# ---------------------------------------------------------------- replicates


def test_standard_errors_are_those_of_bootmer(boot, penicillin) -> None:
    """lme4 1.1-31, bootMer(m, ., 1000) after set.seed(1); both sides have 2 to 3 % of noise."""
    assert boot.replicates.columns.tolist() == NAMES
    bse = boot.bse.drop(NAMES[2])
    assert_allclose(bse, [5.7002, 1.26252, 1.51277, 7.1615, 1.53534], rtol=0.12)
    bias = boot.bias[["sd(Subject, Intercept)", "sd(Subject, Days)"]]
    assert_allclose(bias, [-0.687, -0.158], atol=0.6)
    other = penicillin.bootstrap(300, rng=1)
    assert_allclose(other.bse, [0.13253, 0.59143, 0.03506, 0.77835], rtol=0.2)


def test_fixed_effects_of_balanced_data_are_normal(result, boot) -> None:
    """There the estimates do not depend on theta, so their covariance is exact."""
    for name in ("Intercept", "Days"):
        z = (boot.replicates[name] - result.params[name]) / result.bse[name]
        assert stats.kstest(z, "norm").pvalue > 0.01
    # σ̂² too, whenever the estimate is inside
    ratio = 144 * (boot.replicates["sigma"] / result.sigma) ** 2
    assert stats.kstest(ratio, stats.chi2(144).cdf).pvalue > 0.001


@pytest.mark.parametrize("kind", ["parametric", "residual", "wild"])
def test_replicates_are_refits(result, kind: str) -> None:
    boot = result.bootstrap(3, kind, rng=5)
    Y = draw(resampler(result.fit_record, kind), spawn_seeds(5, 3))
    for r in range(3):
        single = result.model.with_response(Y[:, r]).fit()
        assert_allclose(boot.replicates.loc[r, ["Intercept", "Days"]], single.params, rtol=1e-6)
        assert_allclose(boot.replicates.loc[r, "sigma"], single.sigma, rtol=1e-6)
        sds = single.varcorr()["std_dev"][:2]
        assert_allclose(boot.replicates.loc[r, NAMES[:2]], sds, rtol=1e-4)


def test_parametric_replicates_are_of_simulate(result, boot) -> None:
    Y = result.simulate(2, rng=1)
    assert_allclose(boot.replicates.loc[1, ["Intercept", "Days"]], result.refit(Y[1]).params)


@pytest.mark.parametrize("weighted", [False, True])
def test_residual_resamples_have_the_moments(sleepstudy: pd.DataFrame, weighted: bool) -> None:
    w = np.where(np.arange(180) % 2, 4.0, 1.0) if weighted else None
    result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy, weights=w).fit()
    Y = draw(resampler(result.fit_record, "residual"), spawn_seeds(1, 4000))
    A = np.column_stack([np.ones(10), np.arange(10.0)])
    noise = result.scale / (np.ones(10) if w is None else w[:10])
    V = A @ result.fit_record.random_cov[0] @ A.T + np.diag(noise)
    assert_allclose(np.cov(Y[:10]), V, rtol=0.2, atol=90)
    assert_allclose(Y.mean(axis=1), result.predict(which="population"), atol=4)


@pytest.mark.parametrize("rank", [2, 1])
def test_stretched_modes_have_mean_zero_and_the_covariance(rank: int) -> None:
    """Whatever their own mean, as that of a random column without a fixed partner."""
    rng = np.random.default_rng(rank)
    b = 3.0 + rng.standard_normal((12, rank)) @ rng.standard_normal((rank, 2))
    cov = np.array([[4.0, 1.0], [1.0, 2.0]])
    if rank == 1:
        direction = np.linalg.svd(b - b.mean(axis=0))[2][0]
        cov = 5.0 * np.outer(direction, direction)
    stretched = _reflated(b, cov)
    assert_allclose(stretched.mean(axis=0), 0.0, atol=1e-12)
    assert_allclose(stretched.T @ stretched / 12, cov, atol=1e-10)


def test_wild_resamples_keep_the_groups_covariance(result) -> None:
    """Three moments of the multiplier are 0, 1, 1; it is the same for a whole group."""
    Y = draw(resampler(result.fit_record, "wild"), spawn_seeds(1, 20_000))
    mean = np.asarray(result.predict(which="population"))
    residual = result.model.endog - mean
    ratio = (Y - mean[:, None])[::10] / residual[::10, None]
    assert np.ptp((Y - mean[:, None])[:10] / residual[:10, None], axis=0).max() < 0.3  # leverage
    assert np.abs(ratio.mean(axis=1)).max() < 0.05
    scale = (ratio**2).mean(axis=1)
    assert_allclose((ratio**3).mean(axis=1), scale**1.5, rtol=0.1)
    Q, _ = np.linalg.qr(result.model.exog)
    assert_allclose(scale, 1 / (1 - (Q**2).sum(axis=1)[::10]), rtol=0.05)


@pytest.mark.parametrize("weighted", [False, True])
def test_wild_residuals_are_divided_by_the_root_of_one_less_leverage(
    sleepstudy: pd.DataFrame, weighted: bool
) -> None:
    """What is left is one of Mammen's two numbers, the same in a whole group (HC2)."""
    data = sleepstudy[::7].assign(w=np.linspace(0.5, 5, 26), x=np.arange(26.0) ** 2, known=7.0)
    result = quietly(
        MixedLM.from_formula(
            "Reaction ~ x + (1 | Subject)", data, weights="w" if weighted else None, offset="known"
        )
    )
    X = result.model.exog * (np.sqrt(data["w"].to_numpy())[:, None] if weighted else 1.0)
    leverage = np.diag(X @ np.linalg.inv(X.T @ X) @ X.T)
    assert leverage.max() > 0.2
    mean = result.model.exog @ result.params.to_numpy() + 7.0
    y = draw(resampler(result.fit_record, "wild"), spawn_seeds(1, 1))[:, 0]
    multiplier = (y - mean) / (result.model.endog - mean) * np.sqrt(1 - leverage)
    low, high = (1 - np.sqrt(5)) / 2, (1 + np.sqrt(5)) / 2
    assert_allclose(multiplier, np.where(multiplier < 0, low, high), rtol=1e-8)
    assert (
        data.assign(m=multiplier).groupby("Subject", observed=True)["m"].std().fillna(0.0) < 1e-8
    ).all()


def test_wild_standard_errors_are_those_of_the_sandwich(sleepstudy: pd.DataFrame, result) -> None:
    """Balanced: the estimates are least squares, whose clustered covariance statsmodels has."""
    import statsmodels.formula.api as smf

    codes = sleepstudy["Subject"].astype("category").cat.codes
    ols = smf.ols("Reaction ~ Days", sleepstudy).fit()
    robust = ols.get_robustcov_results(
        "cluster", groups=codes, use_correction=False, df_correction=False
    )
    boot = result.bootstrap(2000, "wild", rng=3)
    assert_allclose(boot.bse[["Intercept", "Days"]], robust.bse, rtol=0.08)


# ---------------------------------------------------------------- given the random effects


def test_given_random_effects_as_bootmer(result) -> None:
    """lme4 1.1-31, bootMer(m, ., 1000, use.u=TRUE) after set.seed(1)."""
    boot = result.bootstrap(1000, rng=1, use_u=True)
    own = [0, 1, 3, 4, 5]
    assert_allclose(boot.bse.iloc[own], [4.1272, 0.74067, 1.47344, 3.4931, 0.64818], rtol=0.12)
    assert_allclose(boot.bias.iloc[:2], [-3.473, -0.476], rtol=0.15)
    assert (
        repr(boot) == "<Bootstrap: 1000 parametric replicates given the random effects, 0 failed>"
    )


@pytest.mark.parametrize("kind", ["parametric", "residual"])
def test_given_random_effects_only_residuals_vary(result, kind: str) -> None:
    """Balanced: the fixed effects are least squares, with the covariance σ²(X'X)⁻¹."""
    boot = result.bootstrap(800, kind, rng=2, use_u=True)
    X = result.model.exog
    expected = result.sigma * np.sqrt(np.diag(np.linalg.inv(X.T @ X)))
    assert_allclose(boot.bse[["Intercept", "Days"]], expected, rtol=0.08)
    assert_allclose(boot.replicates[["Intercept", "Days"]].mean(), result.params, rtol=0.02)
    # σ̂ is near that of the fit, as the residuals are stretched to it
    assert_allclose(boot.replicates["sigma"].mean(), result.sigma, rtol=0.02)


def test_responses_given_random_effects(sleepstudy: pd.DataFrame) -> None:
    w = np.where(np.arange(180) % 2, 4.0, 1.0)
    known = np.linspace(0, 50, 180)
    model = MixedLM.from_formula(
        "Reaction ~ Days + (Days | Subject)", sleepstudy, weights=w, offset=known
    )
    result = model.fit()
    for kind in ("parametric", "residual"):
        Y = draw(resampler(result.fit_record, kind, use_u=True), spawn_seeds(3, 3000))
        noise = (Y - np.asarray(result.fittedvalues)[:, None]) * np.sqrt(w)[:, None]
        assert_allclose(noise.mean(), 0.0, atol=0.3)
        assert_allclose(noise[::2].std(), result.sigma, rtol=0.02)
        assert_allclose(noise[1::2].std(), result.sigma, rtol=0.02)
    conditional = result.simulate(3, rng=3, conditional=True)
    drawn = draw(resampler(result.fit_record, "parametric", use_u=True), spawn_seeds(3, 3))
    assert_allclose(conditional, drawn)


def test_given_random_effects_of_a_statistic(result) -> None:
    boot = result.bootstrap(3, rng=5, use_u=True, statistic=_params)
    Y = result.simulate(3, rng=5, conditional=True)
    for r in range(3):
        single = result.model.with_response(Y[r]).fit()
        assert_allclose(boot.replicates.loc[r], single.params, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "wild", "use_u": True}, "cannot keep their random effects"),
        ({"use_u": "yes"}, "use_u='yes' is neither True nor False"),
        ({"use_u": 1}, "use_u=1 is neither"),
    ],
)
def test_bad_use_u(result, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message):
        result.bootstrap(3, **arguments)


def test_bca_leaves_out_groups_that_use_u_keeps(result) -> None:
    boot = result.bootstrap(20, rng=1, use_u=True)
    with pytest.raises(FitError, match="leaves out groups, whose random effects"):
        boot.conf_int(kind="bca")
    assert boot.conf_int(kind="basic").shape == (6, 2)


def test_known_sigma(result, sleepstudy: pd.DataFrame) -> None:
    known = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", sleepstudy).fit(sigma=30.0)
    assert known.bootstrap(5, rng=1).replicates.columns.tolist() == [
        "sd(Subject, Intercept)",
        "Intercept",
        "Days",
    ]


def test_arrays_and_several_terms() -> None:
    fitted = quietly(example("crossed", ["1x|g", "1|h"], n=80, weights=True, seed=3).model())
    boot = fitted.bootstrap(8, rng=1)
    assert boot.replicates.shape == (8, 4 + 1 + 2)
    assert boot.replicates.notna().any().all()


# ---------------------------------------------------------------- seeds, processes


def test_seeds(result, boot) -> None:
    again = result.bootstrap(1000, rng=1)
    pd.testing.assert_frame_equal(again.replicates, boot.replicates, check_exact=True)
    fewer = result.bootstrap(10, rng=1)
    assert_allclose(fewer.replicates, boot.replicates[:10], rtol=1e-5)
    assert not np.allclose(result.bootstrap(5).replicates, result.bootstrap(5).replicates)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", [None, "params"])
def test_processes_do_not_matter(result, penicillin, statistic: str | None) -> None:
    pytest.importorskip("joblib")
    for fitted in (result, penicillin):
        one, two = (
            fitted.bootstrap(45, rng=2, n_jobs=j, statistic=statistic and _params) for j in (1, 2)
        )
        pd.testing.assert_frame_equal(one.replicates, two.replicates, check_exact=True)


def _params(fitted: Any) -> pd.Series:
    return fitted.params


def test_progress(result, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    result.bootstrap(30, rng=1, progress=True, statistic=lambda r: r.sigma)
    assert "30/30" in capsys.readouterr().err


# ---------------------------------------------------------------- failures


class _Fragile(Refitter):
    """Cannot fit every second response."""

    def fit(self, Y: np.ndarray) -> Any:
        out = super().fit(Y)
        out.converged[1::2] = False
        return out


def test_failures_are_counted(result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixedlm_ext.inference.bootstrap.bootstrap.Refitter", _Fragile)
    with pytest.warns(ConvergenceWarning, match="5 of 10 bootstrap refits failed"):
        boot = result.bootstrap(10, rng=1)
    assert boot.failures.index.tolist() == [1, 3, 5, 7, 9]
    assert boot.replicates.isna().all(axis=1).sum() == 5
    assert "5 failed" in repr(boot)
    assert boot.conf_int().notna().all().all()


def test_all_failures_are_an_error(result, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Refitter, Y: np.ndarray) -> Any:
        out = Refitter.fit_reduced(self, self.reduce(Y))
        out.converged[:] = False
        return out

    monkeypatch.setattr(Refitter, "fit", fail)
    with pytest.raises(FitError, match="all 4 bootstrap refits failed"):
        result.bootstrap(4, rng=1)


@pytest.mark.parametrize("n", [0, -5, 2.5, None])
def test_bad_counts(result, n: Any) -> None:
    with pytest.raises(FitError, match="n="):
        result.bootstrap(n)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"kind": "paramtric"}, "Did you mean 'parametric'"), ({"rng": "x"}, "random numbers")],
)
def test_bad_arguments(result, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((FitError, DesignError), match=message):
        result.bootstrap(3, **arguments)


def test_wild_needs_independent_groups(penicillin) -> None:
    with pytest.raises(FitError, match="sample and plate are crossed"):
        penicillin.bootstrap(3, "wild")
    pastes = datasets.pastes.load_pandas().data
    nested = MixedLM.from_formula("strength ~ 1 + (1 | batch/cask)", pastes).fit()
    assert [t.group for t in outer_terms(nested.fit_record.design)] == ["batch"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        assert nested.bootstrap(5, "wild", rng=1).n == 5


def test_nothing_changes_the_result(result) -> None:
    theta, params, y = result.theta.copy(), result.params.copy(), result.model.endog.copy()
    result.bootstrap(5, rng=1, statistic=_params)
    result.bootstrap(50, "residual", rng=1).conf_int(kind="bca")
    assert_allclose(result.theta, theta, rtol=0)
    assert_allclose(result.params, params, rtol=0)
    assert_allclose(result.model.endog, y, rtol=0)


# ---------------------------------------------------------------- intervals


def test_intervals_are_scipys() -> None:
    """scipy.stats.bootstrap takes quantiles of another rank: (n - 1)p + 1."""
    rng = np.random.default_rng(1)
    sample = rng.exponential(size=40)
    seed = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"
    seen = stats.bootstrap((sample,), np.mean, n_resamples=9999, method="BCa", **{seed: rng})
    t = seen.bootstrap_distribution
    leave_one_out = (sample.sum() - sample) / 39
    influence = leave_one_out.mean() - leave_one_out
    a = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    found = interval("bca", "mean", t, sample.mean(), 0.05, a)
    assert_allclose(found, seen.confidence_interval, rtol=1e-3)
    for kind in ("percentile", "basic"):
        other = stats.bootstrap((sample,), np.mean, bootstrap_result=seen, n_resamples=0,
                                method=kind)  # fmt: skip
        found = interval(kind, "mean", t, sample.mean(), 0.05, 0.0)
        assert_allclose(found, other.confidence_interval, rtol=1e-3)


def test_normal_interval_corrects_bias() -> None:
    t = np.random.default_rng(1).standard_normal(50_000) + 1.0
    assert_allclose(interval("normal", "x", t, 0.5, 0.05, 0.0), [-1.96, 1.96], atol=0.02)


def test_normal_interval_of_few_replicates() -> None:
    """Of those that have a value; their variance divides by n - 1."""
    t = np.array([1.0, np.inf, 2.0, np.nan, 6.0])
    spread = stats.norm.ppf(0.95) * np.sqrt((4 + 1 + 9) / 2)
    assert_allclose(interval("normal", "x", t, 2.5, 0.1, 0.0), [2 - spread, 2 + spread])


def test_without_bias_and_skewness_bca_is_percentile() -> None:
    t = np.r_[-np.arange(1.0, 501), np.arange(1.0, 501)]
    assert_allclose(
        interval("bca", "x", t, 0.0, 0.1, 0.0), interval("percentile", "x", t, 0, 0.1, 0)
    )


@pytest.mark.parametrize("estimate", [2.0, 2.5])
def test_ties_count_half_in_the_bias_of_bca(estimate: float) -> None:
    """Davison & Hinkley (1997), equations 5.21 and 5.22, by hand."""
    t = np.r_[np.arange(1.0, 41), np.full(12, 2.0)]
    below = (t < estimate).mean() + 0.5 * (t == estimate).mean()
    w, a = stats.norm.ppf(below), 0.03
    z = w + stats.norm.ppf([0.1, 0.9])
    expected = np.quantile(t, stats.norm.cdf(w + z / (1 - a * z)), method="weibull")
    assert_allclose(interval("bca", "x", t, estimate, 0.2, a), expected, rtol=1e-12)
    # two searches for one optimum do not end at the same bits
    for rounding in (-1e-9, 1e-9):
        found = interval("bca", "x", t + rounding, estimate, 0.2, a)
        assert_allclose(found, expected, rtol=1e-8)


def test_quantiles_have_the_rank_of_davison_and_hinkley() -> None:
    """Of 99 replicates the 5th and the 95th, of 9 in any order by interpolation."""
    t = np.random.default_rng(1).permutation(np.arange(1.0, 100))
    assert_allclose(interval("percentile", "x", t, 40.0, 0.1, 0.0), [5.0, 95.0])
    assert_allclose(interval("basic", "x", t, 40.0, 0.1, 0.0), [80.0 - 95.0, 80.0 - 5.0])
    few = np.array([3.0, 1.0, 2.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0])
    assert_allclose(interval("percentile", "x", few, 5.0, 0.25, 0.0), [1.25, 8.75])


def test_shortest_interval_is_the_shortest() -> None:
    """Against every pair of order statistics that has enough of the replicates in between."""
    t = np.random.default_rng(3).gamma(1.5, size=200)
    low, high = interval("shortest", "x", t, 1.5, 0.1, 0.0)
    ordered = np.sort(t)
    pairs = [(ordered[i], ordered[j]) for i in range(200) for j in range(i + 180, 200)]
    assert (low, high) == min(pairs, key=lambda pair: pair[1] - pair[0])
    assert ((t >= low) & (t <= high)).sum() == 181


def test_shortest_interval_lies_where_the_replicates_are_dense() -> None:
    """Quantiles of the exponential: densest at zero, so it begins with the least of them."""
    t = stats.expon.ppf((np.arange(1, 1001) - 0.5) / 1000)
    assert interval("shortest", "x", t[::-1], 1.0, 0.05, 0.0) == (t[0], t[950])
    assert interval("shortest", "x", -t, -1.0, 0.05, 0.0) == (-t[950], -t[0])


@pytest.mark.parametrize(
    ("t", "alpha", "expected"),
    [
        ([3.0, 1.0], 0.05, (1.0, 3.0)),
        ([1.0, 2.0, 4.0, 7.0], 0.9999, (1.0, 2.0)),
        ([0.0] * 19 + [5.0], 0.1, (0.0, 0.0)),
        ([1.0, 2.0, 3.0, 4.0, np.nan], 0.5, (1.0, 3.0)),
    ],
)
def test_shortest_interval_of_few(t: list[float], alpha: float, expected: Any) -> None:
    assert interval("shortest", "x", np.array(t), 1.0, alpha, 0.0) == expected


def test_frames_of_intervals(boot, result) -> None:
    for kind in ("percentile", "basic", "normal", "bca", "shortest"):
        limits = boot.conf_int(alpha=0.1, kind=kind)
        assert limits.index.tolist() == NAMES and limits.columns.tolist() == [0, 1]
        assert (limits[0] < boot.estimates).all() and (boot.estimates < limits[1]).all()
        wald = result.conf_int(alpha=0.1).loc["Days"]
        assert_allclose(limits.loc["Days"], wald, rtol=0.1)
    summary = boot.summary_frame(kind="basic")
    assert_allclose(summary["ci_upper"], boot.conf_int(kind="basic")[1])
    assert_allclose(boot.cov().to_numpy(), np.cov(boot.to_frame().to_numpy().T))


def test_variances_of_zero_have_intervals() -> None:
    data = datasets.dyestuff2.load_pandas().data
    flat = quietly(MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data))
    boot = flat.bootstrap(400, rng=1)
    for kind in ("percentile", "bca"):
        low, high = boot.conf_int(kind=kind).loc["sd(Batch, Intercept)"]
        assert low == pytest.approx(0.0, abs=1e-6) and 0.5 < high < 3.0


def test_correlations_with_a_variance_of_zero_are_left_out(sleepstudy: pd.DataFrame) -> None:
    model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy)
    y = model.simulate([250, 10], covariances=[np.diag([600.0, 0.0])], sigma=25, rng=1)[0]
    boot = quietly(model.with_response(y)).bootstrap(100, rng=1)
    column = boot.replicates["cor(Subject, Intercept, Days)"]
    assert column.dropna().between(-1, 1).all()
    assert boot.conf_int().loc["sigma"].notna().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"alpha": 0}, "alpha=0"), ({"kind": "student"}, "'student' is not known")],
)
def test_bad_intervals(boot, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((FitError, DesignError), match=message):
        boot.conf_int(**arguments)


def test_too_few_replicates(result) -> None:
    with pytest.raises(FitError, match="has 1 bootstrap replicates"):
        result.bootstrap(1, rng=1).conf_int()
    with pytest.raises(FitError, match="lie on one side"):
        interval("bca", "x", np.arange(10.0), -1.0, 0.05, 0.0)


def test_pickles(boot) -> None:
    again = pickle.loads(pickle.dumps(boot))
    pd.testing.assert_frame_equal(again.conf_int(kind="bca"), boot.conf_int(kind="bca"))
