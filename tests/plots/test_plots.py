"""Pictures: what is drawn where, against numbers of lme4 and of separate fits; no pixels."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from lme4_reference import CASES
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import trapezoid

from mixedlm_ext import MixedLM, RandomTerm, datasets, plots
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.errors import FitError, MixedLMError
from mixedlm_ext.plots.labels import bare, wrap
from mixedlm_ext.plots.matrices import factor_matrix, relative_factor
from mixedlm_ext.plots.profile_pairs import contour, trace
from mixedlm_ext.plots.quantiles import order_statistic_band
from mixedlm_ext.plots.shrinkage import within_group_fits

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
DYESTUFF = "Yield ~ 1 + (1 | Batch)"
PENICILLIN = "diameter ~ 1 + (1 | plate) + (1 | sample)"
PASTES = "strength ~ 1 + (1 | batch / cask)"
CAKE = "angle ~ recipe + temp + (1 | replicate)"


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, name: str = "sleepstudy", **arguments: Any) -> Any:
    """A fit that is shared: tests must not change it."""
    return MixedLM.from_formula(formula, load(name)).fit(**arguments)


@lru_cache
def spread() -> Any:
    """A fit whose residuals have a variance in each stratum."""
    return MixedLM.from_formula(
        "angle ~ temp + (1 | replicate)", load("cake"), variance="recipe"
    ).fit()


@lru_cache
def profile(formula: str = DYESTUFF, name: str = "dyestuff") -> Any:
    return fit(formula, name).profile()


def many_groups(levels: int = 300) -> Any:
    """A fit with more groups than have room for their names."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(levels), 4)
    x = np.tile(np.arange(4.0), levels)
    b = rng.normal(size=(levels, 2))
    y = b[g, 0] + b[g, 1] * x + rng.normal(size=len(g))
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    return MixedLM.from_formula("y ~ x + (x | g)", data).fit(ddf="normal")


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def refused(message: str, kind: type[Exception] = plots.PlotError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


def case(data: str, formula: str) -> dict[str, Any]:
    """lme4's numbers for a fit by REML."""
    return next(c for c in CASES if c["reml"] and (c["data"], c["formula"]) == (data, formula))


def tick_names(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_ticklabels()]


def xy(line: Any) -> np.ndarray:
    return np.column_stack([np.asarray(line.get_xdata()), np.asarray(line.get_ydata())])


def heights(line: Any, x: Any) -> np.ndarray:
    """The values of a drawn line at some x."""
    return np.interp(np.asarray(x, dtype=float), *xy(line).T)


def lines_with(ax: Any, marker: str) -> list[Any]:
    return [line for line in ax.lines if line.get_marker() == marker and len(line.get_xdata())]


def segments(ax: Any) -> np.ndarray:
    """Both ends of the horizontal bars of an axes: (bars, 2, 2)."""
    (bars,) = [c for c in ax.collections if isinstance(c, matplotlib.collections.LineCollection)]
    return np.array(bars.get_segments())


# ---------------------------------------------------------------- every picture

DRAWN: dict[str, Callable[..., Any]] = {
    "caterpillar": lambda **k: plots.caterpillar(fit(DYESTUFF, "dyestuff"), **k),
    "mode_quantiles": lambda **k: plots.mode_quantiles(fit(DYESTUFF, "dyestuff"), **k),
    "residuals": lambda **k: plots.residuals(fit(), **k),
    "residual_spread": lambda **k: plots.residual_spread(spread(), **k),
    "scale_location": lambda **k: plots.scale_location(fit(), **k),
    "residual_quantiles": lambda **k: plots.residual_quantiles(fit(), **k),
    "coefficients": lambda **k: plots.coefficients(fit(CAKE, "cake"), **k),
    "correlations": lambda **k: plots.correlations(fit(), **k),
    "shrinkage": lambda **k: plots.shrinkage(fit(), **k),
    "dotplot": lambda **k: plots.dotplot(fit(DYESTUFF, "dyestuff"), **k),
    "trajectories": lambda **k: plots.trajectories(fit(), "Days", levels=["308"], **k),
    "matrix_image": lambda **k: plots.matrix_image(fit(PENICILLIN, "penicillin"), **k),
    "profile_zeta": lambda **k: plots.profile_zeta(profile(), names="sigma", **k),
    "profile_density": lambda **k: plots.profile_density(profile(), names=["sigma"], **k),
}


def test_all_pictures_are_drawn_here() -> None:
    functions = {name for name in plots.__all__ if not name.endswith("Error")}
    assert functions == {*DRAWN, "profile_pairs"}


@pytest.mark.parametrize("name", DRAWN)
def test_new_figure_and_given_axes(name: str) -> None:
    figure = DRAWN[name]()
    assert isinstance(figure, matplotlib.figure.Figure)
    assert plt.get_fignums() == []
    assert all(ax.get_xlabel() or any(tick_names(ax.xaxis)) for ax in figure.axes[:1])
    mine, ax = plt.subplots()
    assert DRAWN[name](ax=ax) is mine
    assert ax.lines or ax.images or ax.collections
    assert plt.get_fignums() == [mine.number]
    with refused("the picture has 1 panels, and ax holds 2 axes. Pass 1 axes"):
        DRAWN[name](ax=plt.subplots(1, 2)[1])


def test_subfigures() -> None:
    mine = plt.figure()
    left, _ = mine.subfigures(1, 2)
    assert plots.residuals(fit(), ax=left.subplots()) is mine


@pytest.mark.parametrize("name", [*DRAWN, "profile_pairs"])
def test_without_matplotlib(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = {**DRAWN, "profile_pairs": lambda: plots.profile_pairs(profile())}[name]
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with refused('pip install "mixedlm_ext[plots]"', ImportError) as caught:
        draw()
    assert isinstance(caught.value, (plots.MatplotlibMissingError, MixedLMError))


def test_import_does_not_need_matplotlib() -> None:
    code = "import sys, mixedlm_ext.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_removed_data() -> None:
    result = MixedLM.from_formula(DYESTUFF, load("dyestuff")).fit()
    result.summary()
    result.remove_data()
    for draw in (
        plots.residuals,
        plots.scale_location,
        plots.residual_quantiles,
        plots.shrinkage,
        plots.dotplot,
        lambda r: plots.trajectories(r, "Batch"),
        lambda r: plots.matrix_image(r, "Z"),
    ):
        with refused("the data of the fit were removed by remove_data()"):
            draw(result)
    for draw in (plots.caterpillar, plots.mode_quantiles, plots.coefficients, plots.matrix_image):
        draw(result)


def test_rows_that_are_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read for the picture if they are not too many."""
    data = datasets.sleepstudy.load_pandas().data
    result = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", lambda: iter([data])).fit()
    plots.caterpillar(result)
    assert plots.residuals(result).axes
    monkeypatch.setattr(Elsewhere.gathered, "__defaults__", (10.0,))
    with refused("pass a frame in place of its source"):
        plots.residuals(result)


def test_long_names_are_wrapped_not_shortened() -> None:
    assert wrap("hospital number 7 of the region", 18) == "hospital number 7\nof the region"
    assert wrap("weeks_since_first_treatment", 12) == "weeks_since_\nfirst_\ntreatment"
    assert wrap("sd(hospital, Intercept)", 14) == "sd(hospital,\nIntercept)"
    assert wrap("abcdefgh", 3) == "abc\ndef\ngh"  # no place to break at
    assert wrap("", 3) == ""
    assert bare("log(Q('min.temp')) + Q(\"yield\")") == "log(min.temp) + yield"
    batches = [f"a very long name of a batch {i // 5}" for i in range(30)]
    long = MixedLM.from_formula(DYESTUFF, load("dyestuff").assign(Batch=batches)).fit()
    names = tick_names(plots.caterpillar(long).axes[0].yaxis)
    assert {name.replace("\n", " ") for name in names} == set(batches)


# ---------------------------------------------------------------- conditional modes


def test_caterpillar_against_lme4() -> None:
    reference = pd.DataFrame(case("sleepstudy.csv", "Reaction ~ Days + (Days|Subject)")["condsd"])
    figure = plots.caterpillar(fit(), alpha=0.1)
    modes = fit().random_effects["Subject"]
    order = modes["Intercept"].sort_values(kind="stable").index
    assert tick_names(figure.axes[0].yaxis) == list(order)
    assert set(tick_names(figure.axes[1].yaxis)) == {""}
    for ax, column, name in zip(figure.axes, ["Intercept", "Days"], ["(Intercept)", "Days"]):
        (points,) = lines_with(ax, "o")
        assert_allclose(points.get_xdata(), modes.loc[order, column])
        own = reference[reference["term"] == name].set_index("grp")["condsd"]
        half = np.diff(segments(ax)[:, :, 0])[:, 0] / 2
        assert_allclose(half, own[order] * stats.norm.ppf(0.95), rtol=1e-4)
        assert ax.get_title() == f"Subject: {column}"
        assert ax.get_xlabel() == "conditional mode, 90% interval"


def test_caterpillar_terms_and_order() -> None:
    figure = plots.caterpillar(fit(PASTES, "pastes"))
    assert [ax.get_title() for ax in figure.axes] == ["batch: Intercept", "batch:cask: Intercept"]
    assert sorted(tick_names(figure.axes[1].yaxis))[:3] == ["A:a", "A:b", "A:c"]
    assert len(plots.caterpillar(fit(PASTES, "pastes"), "batch").axes) == 1
    days = plots.caterpillar(fit(), sort_by="Days")
    (points,) = lines_with(days.axes[1], "o")
    assert (np.diff(points.get_xdata()) >= 0).all()
    with refused("there is no random-effects term 'Batch'. Did you mean 'batch'?"):
        plots.caterpillar(fit(PASTES, "pastes"), "Batch")
    with refused("there is no random-effects column 'days'. Did you mean 'Days'?"):
        plots.caterpillar(fit(), sort_by="days")
    with refused("alpha=5 is no level"):
        plots.caterpillar(fit(), alpha=5)


def test_many_levels_are_counted_not_named() -> None:
    result = many_groups()
    figure = plots.caterpillar(result)
    assert tick_names(figure.axes[0].yaxis) == []
    assert figure.axes[0].get_ylabel() == "300 levels of g, ordered"
    assert figure.get_figheight() < 6
    dots = plots.dotplot(result, max_groups=10)
    assert len(tick_names(dots.axes[0].yaxis)) == 10
    assert dots.axes[0].get_title() == "10 of 300 groups, evenly spaced by mean"
    assert len(plots.trajectories(result, "x").axes) == 20
    assert plots.shrinkage(result).axes[0].texts[:] == []


def test_variance_of_zero_is_said() -> None:
    with pytest.warns(UserWarning, match="singular"):
        result = MixedLM.from_formula(DYESTUFF, load("dyestuff2")).fit()
    for draw in (plots.caterpillar, plots.mode_quantiles):
        (ax,) = draw(result).axes
        assert "estimated variance: 0" in [text.get_text() for text in ax.texts]
    for draw in (plots.residuals, plots.residual_quantiles, plots.shrinkage, plots.matrix_image):
        draw(result).canvas.draw()
    plots.matrix_image(result, "Lambda").canvas.draw()


def test_mode_quantiles() -> None:
    result = fit(PENICILLIN, "penicillin")
    figure = plots.mode_quantiles(result)
    assert [ax.get_title() for ax in figure.axes] == ["plate: Intercept", "sample: Intercept"]
    (points,) = lines_with(figure.axes[0], "o")
    assert_allclose(points.get_ydata(), np.sort(result.random_effects["plate"]["Intercept"]))
    assert_allclose(stats.norm.cdf(points.get_xdata()), (np.arange(24) + 0.5) / 24)


# ---------------------------------------------------------------- residuals


def test_residuals() -> None:
    result = fit()
    scaled = np.asarray(result.resid) / result.sigma
    figure = plots.residuals(result)
    (ax,) = figure.axes
    (points,) = lines_with(ax, "o")
    assert_allclose(xy(points), np.column_stack([result.fittedvalues, scaled]))
    far = np.argsort(-abs(scaled))[:3]
    assert {text.get_text() for text in ax.texts} == {str(i) for i in far}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lowess"]
    assert plots.residuals(result, smooth=False, n_labels=0).axes[0].get_legend() is None
    (spread,) = lines_with(plots.scale_location(result).axes[0], "o")
    assert_allclose(spread.get_ydata(), np.sqrt(abs(scaled)))
    (sorted_points,) = lines_with(plots.residual_quantiles(result).axes[0], "o")
    assert_allclose(sorted_points.get_ydata(), np.sort(scaled))


def test_weights_scale_the_residuals() -> None:
    data = load().assign(w=np.linspace(0.5, 2, 180))
    result = MixedLM.from_formula(SLEEPSTUDY, data, weights="w").fit()
    (points,) = lines_with(plots.residuals(result).axes[0], "o")
    assert_allclose(points.get_ydata(), result.resid * np.sqrt(data["w"]) / result.sigma)


def test_few_fitted_values_have_no_curve() -> None:
    assert plots.residuals(fit(DYESTUFF, "dyestuff")).axes[0].get_legend() is None


def test_large_data_are_hexagons() -> None:
    figure = plots.residuals(many_groups(1300))
    (ax,) = figure.axes
    assert [bar.get_ylabel() for bar in ax.child_axes] == ["rows"]
    assert not lines_with(figure.axes[0], "o")


def test_band_of_order_statistics() -> None:
    """Each order statistic of normal values is within the band with its probability."""
    lower, upper = order_statistic_band(20, 0.1)
    z = np.sort(np.random.default_rng(3).normal(size=(4000, 20)), axis=1)
    assert_allclose(((z >= lower) & (z <= upper)).mean(axis=0), 0.9, atol=0.02)


# ---------------------------------------------------------------- coefficients


def test_coefficients_of_one_model() -> None:
    result = fit(CAKE, "cake")
    (ax,) = plots.coefficients(result, alpha=0.2).axes
    assert tick_names(ax.yaxis) == ["recipe[T.B]", "recipe[T.C]", "temp"]
    (points,) = lines_with(ax, "o")
    assert_allclose(points.get_xdata(), result.params[1:])
    assert_allclose(segments(ax)[:, :, 0], result.conf_int(alpha=0.2)[1:])
    assert ax.get_legend() is None
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first coefficient on top
    with_constant = plots.coefficients(result, intercept=True).axes[0]
    assert tick_names(with_constant.yaxis)[0] == "Intercept"
    only = plots.coefficients(fit(DYESTUFF, "dyestuff")).axes[0]
    assert tick_names(only.yaxis) == ["Intercept"]


def test_coefficients_of_several_models() -> None:
    two = fit("angle ~ recipe * temp + (1 | replicate)", "cake")
    ols = smf.ols("angle ~ recipe + temp", load("cake")).fit()
    (ax,) = plots.coefficients([fit(CAKE, "cake"), two, ols], names=["a", "b", "OLS"]).axes
    assert len(tick_names(ax.yaxis)) == 5
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b", "OLS"]
    points = lines_with(ax, "o")
    assert [len(line.get_xdata()) for line in points] == [3, 5, 3]
    heights = np.concatenate([line.get_ydata() for line in points])
    assert len(np.unique(heights.round(6))) == 11  # no two intervals on one another
    (named,) = plots.coefficients({"only": two}).axes
    assert lines_with(named, "o")[0].get_label() == "only"
    with refused("names has 1 entries for 2 models"):
        plots.coefficients([two, two], names=["a"])
    with refused("there is no model to draw"):
        plots.coefficients([])
    with refused("the model has no fixed effects to draw"):
        plots.coefficients(fit("Yield ~ 0 + (1 | Batch)", "dyestuff"))


# ---------------------------------------------------------------- shrinkage


def test_within_group_fits_are_separate_regressions() -> None:
    result = fit()
    lines = [
        np.polyfit(d["Days"], d["Reaction"], 1)[::-1]
        for _, d in load().groupby("Subject", observed=True)
    ]
    assert_allclose(within_group_fits(result.fit_record, 0) + result.params.to_numpy(), lines)
    (ax,) = plots.shrinkage(result).axes
    own, mixed, fixed = (xy(line) for line in ax.lines)
    assert_allclose(own, lines)
    assert_allclose(mixed, result.group_coefs()["Subject"])
    assert_allclose(fixed[0], result.params)
    assert len(ax.texts) == 18
    (arrows,) = ax.collections
    assert_allclose(np.column_stack([arrows.U, arrows.V]), mixed - own)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "within-group least squares", "conditional mode", "fixed effects",
    ]  # fmt: skip
    (swapped,) = plots.shrinkage(result, columns=["Days", "Intercept"]).axes
    assert (swapped.get_xlabel(), swapped.get_ylabel()) == ("Days", "Intercept")


def test_shrinkage_by_weights_and_short_groups() -> None:
    data = load().assign(w=np.tile(np.arange(1.0, 11.0), 18)).drop(index=range(1, 10))
    result = MixedLM.from_formula(SLEEPSTUDY, data, weights="w").fit()
    own = within_group_fits(result.fit_record, 0) + result.params.to_numpy()
    assert np.isnan(own[0]).all()  # one row of the first subject
    d = data[data["Subject"] == "309"]
    line = smf.wls("Reaction ~ Days", d, weights=d["w"]).fit().params
    assert_allclose(own[1], line)
    (arrows,) = plots.shrinkage(result).axes[0].collections
    assert len(arrows.U) == 17


def test_shrinkage_of_one_column() -> None:
    (ax,) = plots.shrinkage(fit(DYESTUFF, "dyestuff")).axes
    assert ax.get_xlabel() == "Intercept"
    own, mixed = lines_with(ax, "o")
    assert_allclose(
        own.get_xdata(), load("dyestuff").groupby("Batch", observed=True)["Yield"].mean()
    )
    assert np.ptp(mixed.get_xdata()) < np.ptp(own.get_xdata())
    assert len(plots.shrinkage(fit(), columns="Days").axes[0].lines) == 18 + 3
    with refused("the term has no column 'days'. Did you mean 'Days'?"):
        plots.shrinkage(fit(), columns=["days"])
    with refused("pass one column, or two different ones"):
        plots.shrinkage(fit(), columns=["Days", "Days"])


# ---------------------------------------------------------------- groups


def test_dotplot() -> None:
    data = load("dyestuff")
    (ax,) = plots.dotplot(fit(DYESTUFF, "dyestuff")).axes
    means = data.groupby("Batch", observed=True)["Yield"].mean().sort_values()
    assert tick_names(ax.yaxis) == list(means.index)
    points, joined = ax.lines
    assert_allclose(xy(joined), np.column_stack([means, range(6)]))
    assert_allclose(points.get_xdata(), data["Yield"])
    place = data["Batch"].map({b: i for i, b in enumerate(means.index)}).to_numpy(dtype=float)
    away = points.get_ydata() - place
    assert 0 < abs(away).max() < 0.5
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Yield", "Batch")
    again = plots.dotplot(fit(DYESTUFF, "dyestuff")).axes[0].lines[0]
    assert_allclose(again.get_ydata(), points.get_ydata())
    other = plots.dotplot(fit(DYESTUFF, "dyestuff"), rng=np.random.default_rng(7)).axes[0].lines[0]
    assert not np.allclose(other.get_ydata(), points.get_ydata())
    with refused("there is no grouping factor 'batch'. Did you mean 'Batch'?"):
        plots.dotplot(fit(DYESTUFF, "dyestuff"), "batch")
    with refused("max_groups=0 is no number of groups"):
        plots.dotplot(fit(DYESTUFF, "dyestuff"), max_groups=0)


def test_trajectories() -> None:
    result = fit()
    figure = plots.trajectories(result, "Days")
    means = load().groupby("Subject", observed=True)["Reaction"].mean().sort_values()
    assert [ax.get_title() for ax in figure.axes] == list(means.index)
    rows = load()["Subject"] == means.index[0]
    observed, conditional, fixed = figure.axes[0].lines[:3]
    assert_allclose(observed.get_ydata(), load()["Reaction"][rows])
    assert_allclose(heights(conditional, range(10)), result.fittedvalues[rows])
    assert_allclose(heights(fixed, range(10)), result.predict(which="population")[rows])
    assert figure.get_supxlabel() == "Days"
    assert figure.get_supylabel() == "Reaction"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "observed", "conditional fit", "fixed effects",
    ]  # fmt: skip
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    some = plots.trajectories(result, "Days", levels=["337", "308"])
    assert [ax.get_title() for ax in some.axes] == ["337", "308"]
    few = plots.trajectories(result, "Days", max_panels=3)
    ends = [few.axes[0].get_title(), few.axes[-1].get_title()]
    assert ends == [means.index[0], means.index[-1]]
    assert few.legends[0].get_title().get_text() == "Panels: Subject\n3 of 18"


def test_trajectories_within_groups() -> None:
    result = fit(CAKE, "cake")
    figure = plots.trajectories(result, "temp", by="recipe")
    names = [t.get_text() for t in figure.legends[0].get_texts()]
    assert names[3:] == ["recipe A", "recipe B", "recipe C"]
    assert len([line for line in figure.axes[1].lines if len(line.get_xdata())]) == 9
    lumped = plots.trajectories(result, "temp", levels=[1]).axes[0].lines[1]
    rows = load("cake")["replicate"].astype(str) == "1"
    mean = result.fittedvalues[rows].groupby(load("cake")["temp"][rows]).mean()
    assert_allclose(heights(lumped, mean.index), mean)


def test_trajectories_of_a_factor_and_of_arrays() -> None:
    machines = fit("score ~ Machine + (1 | Worker / Machine)", "machines")
    figure = plots.trajectories(machines, "Machine", group="Worker:Machine", levels=["2:B"])
    assert tick_names(figure.axes[0].xaxis) == ["A", "B", "C"]
    X = np.column_stack([np.ones(180), load()["Days"]])
    by_arrays = MixedLM(load()["Reaction"].to_numpy(), X, [RandomTerm(load()["Subject"], X)]).fit()
    name = by_arrays.model.exog_names[1]
    observed = plots.trajectories(by_arrays, name, levels=["308"]).axes[0].lines[0]
    assert_allclose(observed.get_xdata(), range(10))


def test_trajectories_refuse() -> None:
    with refused("there is no variable of the model 'days'. Did you mean 'Days'?"):
        plots.trajectories(fit(), "days")
    with refused("Subject has no level 999"):
        plots.trajectories(fit(), "Days", levels=[999])
    with refused("levels is empty"):
        plots.trajectories(fit(), "Days", levels=[])
    with refused("max_panels='all' is no number of groups"):
        plots.trajectories(fit(), "Days", max_panels="all")
    with refused("the picture has 18 panels, and ax holds 1 axes"):
        plots.trajectories(fit(), "Days", ax=plt.subplots()[1])


# ---------------------------------------------------------------- matrices


@pytest.mark.parametrize(
    ("formula", "name"),
    [
        (SLEEPSTUDY, "sleepstudy"),
        ("Reaction ~ Days + (Days || Subject)", "sleepstudy"),
        ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", "sleepstudy"),
        (PENICILLIN, "penicillin"),
        (PASTES, "pastes"),
    ],
)
def test_matrices(formula: str, name: str) -> None:
    """Z, Λ and L belong together, and log|L|² is the fit's."""
    result = fit(formula, name)
    Lambda, L = relative_factor(result.fit_record).toarray(), factor_matrix(result.fit_record)
    ZL = result.model.Z.toarray() @ Lambda
    M = ZL.T @ ZL + np.eye(len(L))
    assert_allclose(np.linalg.eigvalsh(L @ L.T), np.linalg.eigvalsh(M), rtol=1e-8)
    assert_allclose(np.linalg.slogdet(M)[1], result.fit_record.logdet_L)
    assert_allclose(np.triu(L, 1), 0)


def test_log_determinant_of_lme4() -> None:
    reference = case("penicillin.csv", "diameter ~ 1 + (1|plate) + (1|sample)")
    L = factor_matrix(fit(PENICILLIN, "penicillin").fit_record)
    assert_allclose(2 * np.log(np.diag(L)).sum(), reference["ldL2"], rtol=1e-5)


def test_matrix_image() -> None:
    result = fit(PASTES, "pastes")
    Z, Lambda, L = (plots.matrix_image(result, w).axes[0] for w in ("Z", "Lambda", "L"))
    assert [ax.get_title() for ax in (Z, Lambda, L)] == ["Z: 60 × 40", "Λ: 40 × 40", "L: 40 × 40"]
    assert tick_names(Z.xaxis) == ["batch", "batch:cask"]
    assert tick_names(L.xaxis) == tick_names(L.yaxis) == ["batch:cask", "batch"]  # largest first
    assert [line.get_xdata()[0] for line in Z.lines] == [10]
    drawn = Z.images[0].get_array()
    assert_allclose(np.nan_to_num(np.ma.filled(drawn, 0.0)), result.model.Z.toarray())
    assert L.get_xlim() == (0, 40)
    assert L.get_ylim() == (40, 0)
    with refused("which='l' is no matrix. Did you mean 'L'?"):
        plots.matrix_image(result, "l")


def test_image_of_a_large_matrix_keeps_the_largest_entries() -> None:
    result = many_groups(400)
    image = np.ma.filled(plots.matrix_image(result, "Z").axes[0].images[0].get_array(), np.nan)
    assert image.shape[1] == 300
    assert 200 < image.shape[0] < 300  # no more cells than there are pixels
    assert np.nanmax(image) == 3.0
    large = many_groups(3001)
    with refused("L has 6,002 columns, and is drawn up to 6,000"):
        plots.matrix_image(large)


# ---------------------------------------------------------------- profiles


def test_profile_zeta() -> None:
    figure = plots.profile_zeta(profile())
    assert [ax.get_xlabel() for ax in figure.axes] == profile().names
    for ax, name in zip(figure.axes, profile().names):
        (points,) = lines_with(ax, ".")
        assert_allclose(points.get_ydata(), profile().zeta(name, points.get_xdata()), atol=1e-6)
        assert ax.get_ylabel() == "ζ"
    reached = sorted({s[0, 0] for c in figure.axes[1].collections for s in c.get_segments()})
    limits = [profile().conf_int(a).loc["sigma"] for a in (0.5, 0.2, 0.1, 0.05, 0.01)]
    assert_allclose(reached, np.sort(np.ravel(limits)))
    absolute = plots.profile_zeta(profile(), absolute=True, alphas=[0.05]).axes[1]
    (bar,) = absolute.collections[-1].get_segments()
    assert_allclose(bar[:, 0], profile().conf_int().loc["sigma"])
    assert_allclose(bar[:, 1], stats.norm.ppf(0.975))


def test_profile_density() -> None:
    figure = plots.profile_density(profile())
    for ax in figure.axes:
        density = xy(ax.lines[0])
        area = trapezoid(density[:, 1], density[:, 0])
        assert 0.98 < area < 1.0
        assert ax.get_ylim()[0] == 0
    name = "'sd(batch, Intercept)' was not profiled. Did you mean 'sd(Batch, Intercept)'?"
    with refused(name):
        plots.profile_density(profile(), ["sd(batch, Intercept)"])
    with refused("names is empty"):
        plots.profile_zeta(profile(), [])


def test_contours_are_of_the_deviance() -> None:
    """Dyestuff is balanced: the intercept's estimate does not depend on the variances."""
    p, model = profile(), fit(DYESTUFF, "dyestuff").model
    sd, sigma = "sd(Batch, Intercept)", "sigma"
    traces = trace(p, sd, sigma), trace(p, sigma, sd)
    for level, rtol in ((0.3, 0.002), (0.6, 0.005), (1.2, 0.02), (1.8, 0.05)):
        found = contour(*traces, level)
        assert found is not None
        x, y = p.value(sd, found[0]), p.value(sigma, found[1])
        criterion = [model.objective([a / s], reml=False, sigma=s) for a, s in zip(x, y)]
        rise = np.array(criterion) - p.objective
        assert_allclose(np.sqrt(rise), level, rtol=rtol)


def test_contours_of_independent_parameters_are_circles() -> None:
    zeta = np.linspace(-3, 3, 13)
    x, y = contour((zeta, 0 * zeta), (zeta, 0 * zeta), 2.0)
    assert_allclose(x**2 + y**2, 4.0)
    rho = 0.6  # a quadratic: the traces are lines, the contour an ellipse
    x, y = contour((zeta, rho * zeta), (zeta, rho * zeta), 2.0)
    assert_allclose((x**2 - 2 * rho * x * y + y**2) / (1 - rho**2), 4.0, rtol=1e-10)


def test_profile_pairs() -> None:
    figure = plots.profile_pairs(profile())
    axes = np.array(figure.axes).reshape(3, 3)
    names = [text.get_text().replace("\n", " ") for ax in np.diag(axes) for text in ax.texts]
    assert names == profile().names
    upper, lower = axes[1, 2], axes[2, 1]
    assert upper.get_xlim() == upper.get_ylim() == (-3, 3)
    assert len(upper.lines) == 4 + 2  # levels 0.5, 0.8, 0.9, 0.95; two traces
    estimate = lower.lines[-1]
    assert_allclose(xy(estimate)[0], profile().params[["sigma", "Intercept"]])
    mine, grid = plt.subplots(2, 2)
    assert plots.profile_pairs(profile(), ["sigma", "Intercept"], ax=grid) is mine
    with refused("a pair needs two parameters, and there is only 'sigma'"):
        plots.profile_pairs(profile(), "sigma")


def test_pairs_of_sleepstudy_are_complete() -> None:
    figure = plots.profile_pairs(profile(SLEEPSTUDY, "sleepstudy"))
    axes = np.array(figure.axes).reshape(6, 6)
    for i, j in zip(*np.triu_indices(6, 1)):
        assert len(axes[i, j].lines) == 6
        assert len(axes[j, i].lines) == 7


def test_profile_of_unreached_levels() -> None:
    short = fit(DYESTUFF, "dyestuff").profile(alpha_max=0.2)
    (ax,) = plots.profile_zeta(short, "sigma", alphas=[0.2, 0.01]).axes
    assert len(ax.collections) == 1
    assert plots.profile_density(short, "sigma", alpha=0.05).axes[0].collections[:] == []
    with pytest.raises(FitError):
        short.conf_int(0.05)
