"""Pictures of covariance structures: what is drawn equals the model's numbers, in any style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose
from simulation import quietly
from test_pictures import check_layout

from mixedlm_ext import MixedGLM, MixedLM, RandomTerm, datasets, plots
from mixedlm_ext.plots import pairs
from mixedlm_ext.plots.pairs import mean_by_distance, pairs_within, residual_products

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TEETH = Path(__file__).parents[2] / "docs" / "data" / "orthodont.csv"
GROWTH = "distance ~ age * Sex + (1 | Subject)"


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@lru_cache
def sleep(random: str) -> Any:
    data = datasets.sleepstudy.load_pandas().data
    return MixedLM.from_formula("Reaction ~ Days + " + random, data).fit()


@lru_cache
def machines(random: str) -> Any:
    data = datasets.machines.load_pandas().data
    return MixedLM.from_formula("score ~ Machine + " + random, data).fit()


@lru_cache
def growth(formula: str = GROWTH, shuffled: bool = False, **structure: str) -> Any:
    data = pd.read_csv(TEETH)
    data["visit"] = (data["age"] - 8) // 2
    data["when"] = data["age"] + 0.1 * (data.index % 7)
    if shuffled:
        data = data.sample(frac=1, random_state=3)
    return MixedLM.from_formula(formula, data, **structure).fit()


def refused(message: str) -> Any:
    return pytest.raises(plots.PlotError, match=re.escape(message))


def correlation(cov: Any) -> np.ndarray:
    sd = np.sqrt(np.diag(cov))
    return np.asarray(cov) / np.outer(sd, sd)


def points(ax: Any, marker: str = "o") -> np.ndarray:
    (line,) = [own for own in ax.lines if own.get_marker() == marker]
    return np.asarray(line.get_xydata())


def dense_products(result: Any, codes: Any, at: Any, rho: Any) -> dict[float, float]:
    """Estimates of the correlation of the pairs at each distance, with V as a matrix."""
    model, fit = result.model, result.fit_record
    u = model.endog - model.exog @ np.asarray(result.params)
    Z = model.Z.toarray()
    levels = len(fit.design.terms[0].levels)
    marginal = Z @ np.kron(np.eye(levels), fit.random_cov[0]) @ Z.T
    sd = rho["sd"]
    total = np.diag(marginal) + sd**2
    found: dict[float, list[tuple[float, float]]] = {}
    for i in range(len(u)):
        for j in range(i):
            if codes[i] == codes[j]:
                value = (u[i] * u[j] - marginal[i, j]) / (sd[i] * sd[j])
                variance = total[i] * total[j] / (sd[i] * sd[j]) ** 2
                found.setdefault(abs(at[i] - at[j]), []).append((value, 1.0 / variance))
    columns = {h: np.transpose(pairs) for h, pairs in found.items()}
    return {h: np.average(value, weights=weight) for h, (value, weight) in columns.items()}


# ---------------------------------------------------------------- columns of terms


@pytest.mark.parametrize(
    "random",
    [
        "ar1(0 + C(Days) | Subject)",
        "ar1(0 + C(Days) | Subject, hom=False)",
        "toep(0 + C(Days // 2) | Subject)",
    ],
)
def test_steps(random: str) -> None:
    result = sleep(random)
    (ax,) = plots.correlations(result).axes
    C = correlation(result.cov_re)
    drawn = points(ax)
    assert_allclose(drawn[:, 0], np.arange(len(C)))
    assert_allclose(drawn[:, 1], C[0], atol=1e-12)
    assert "steps between columns of C(Days" in ax.get_xlabel()
    sd = np.sqrt(np.diag(result.cov_re))
    one = np.ptp(sd) < 1e-9 * sd.max()
    wanted = f"sd {sd[0]:.3g}" if one else f"sd {sd.min():.3g} to {sd.max():.3g}"
    assert wanted in ax.get_title().replace("\n", " ")


def test_distances_in_units_of_time() -> None:
    result = sleep("exp(0 + position(Days / 7) | Subject)")
    (ax,) = plots.correlations(result).axes
    range_ = result.varcorr()["range"].dropna().iloc[0]
    (curve,) = [own for own in ax.lines if len(own.get_xdata()) > 100]
    x, y = curve.get_data()
    assert (x[0], y[0]) == (0, 1)
    assert_allclose(x[-1], 9 / 7)
    assert_allclose(y, np.exp(-np.asarray(x) / range_), rtol=1e-9)
    assert_allclose(points(ax), [[d / 7, np.exp(-d / 7 / range_)] for d in range(1, 10)], rtol=1e-6)
    assert ax.get_xlabel() == "distance of Days / 7"
    assert f"range {range_:.3g}" in ax.get_title().replace("\n", " ")


def test_places() -> None:
    rng = np.random.default_rng(3)
    places = rng.uniform(size=(12, 2))
    L = np.linalg.cholesky(np.exp(-np.linalg.norm(places[:, None] - places, axis=2) / 0.5))
    b = (L @ rng.normal(size=(12, 30))).ravel()
    data = pd.DataFrame(np.repeat(places, 30, axis=0), columns=["east", "north"])
    data["g"], data["y"] = np.tile(np.arange(30), 12), 2 * b + rng.normal(size=360)
    data = pd.concat([data, data.assign(y=2 * b + rng.normal(size=360))])
    model = MixedLM.from_formula("y ~ 1 + exp(0 + position(east, north) | g)", data)
    result = model.fit(ddf="normal")
    (ax,) = plots.correlations(result).axes
    assert ax.get_xlabel() == "distance of east, north"
    D = np.linalg.norm(places[:, None] - places, axis=2)
    assert_allclose(ax.lines[1].get_xdata()[-1], D.max())


def test_matrices() -> None:
    result = machines("cs(0 + Machine | Worker)")
    (ax,) = plots.correlations(result).axes
    C = correlation(result.cov_re)
    assert_allclose(ax.images[0].get_array(), C)
    assert [text.get_text() for text in ax.texts] == [f"{value:.2f}" for value in C.ravel()]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["A", "B", "C"]
    sd = np.sqrt(np.diag(result.cov_re))
    beside = [tick.get_text() for tick in ax.get_yticklabels()]
    assert beside == [f"{m}\nsd {value:.3g}" for m, value in zip("ABC", sd)]
    assert ax.get_xlabel() == "Machine"
    (ax,) = plots.correlations(machines("cs(0 + Machine | Worker, hom=True)")).axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["A", "B", "C"]


def test_either_kind() -> None:
    free = machines("(0 + Machine | Worker)")
    (ax,) = plots.correlations(free, kind="lag").axes
    C = correlation(free.cov_re)
    wanted = [[0, 1], [1, C[0, 1]], [2, C[0, 2]], [0, 1], [1, C[1, 2]], [0, 1]]
    assert_allclose(points(ax), wanted)
    (ax,) = plots.correlations(machines("cs(0 + Machine | Worker)"), kind="lag").axes
    assert_allclose(points(ax)[1:, 1], points(ax)[1, 1])
    slopes = sleep("ar1(0 + C(Days) | Subject)")
    (ax,) = plots.correlations(slopes, kind="matrix").axes
    assert_allclose(ax.images[0].get_array(), correlation(slopes.cov_re))
    assert not ax.texts  # ten columns are too many for numbers


def test_negative_correlations_have_both_colours() -> None:
    result = sleep("(Days | Subject)")
    assert plots.correlations(result).axes[0].images[0].get_clim() == (0, 1)
    data = datasets.sleepstudy.load_pandas().data.assign(late=lambda d: d["Days"] - 9)
    data["Reaction"] += 100 * (data["Subject"].astype(str) > "340") * (data["late"] / 9 + 0.5)
    model = MixedLM.from_formula("Reaction ~ Days + (1 + Days | Subject)", data)
    (ax,) = plots.correlations(model.fit()).axes
    assert ax.images[0].get_array()[0, 1] < 0
    assert ax.images[0].get_clim() == (-1, 1)


def test_vanished_columns_are_blank() -> None:
    rng = np.random.default_rng(0)
    g, a = np.repeat(np.arange(20), 12), np.tile(np.arange(3), 80)
    b = rng.normal(size=(20, 1)) * [2, 2, 0] + rng.normal(size=(20, 3)) * [1, 1, 0]
    e = rng.normal(size=240)
    last = a == 2
    e[last] -= np.bincount(g[last], e[last])[g[last]] / 4  # less alike within g than by chance
    data = pd.DataFrame({"y": b[g, a] + e, "f": np.array(list("abc"))[a], "g": g})
    with pytest.warns(UserWarning, match="singular"):
        result = MixedLM.from_formula("y ~ f + cs(0 + f | g)", data).fit(ddf="normal")
    image = plots.correlations(result).axes[0].images[0].get_array()
    assert np.isfinite(np.ma.filled(image, np.nan)[:2, :2]).all()
    assert np.ma.getmaskarray(np.ma.masked_invalid(image))[2].all()


def test_generalized_models() -> None:
    rng = np.random.default_rng(2)
    g, t = np.repeat(np.arange(40), 10), np.tile(np.arange(5), 80)
    b = rng.normal(size=(40, 1)) + 0.6 * rng.normal(size=(40, 5))
    data = pd.DataFrame({"y": rng.poisson(np.exp(1 + 0.5 * b[g, t])), "t": t, "g": g})
    model = MixedGLM.from_formula("y ~ 1 + ar1(0 + C(t) | g)", data, family=sm.families.Poisson())
    result = model.fit()
    (ax,) = plots.correlations(result).axes
    assert_allclose(points(ax)[:, 1], points(ax)[1, 1] ** np.arange(5), rtol=1e-6)


# ---------------------------------------------------------------- levels


def test_known_levels() -> None:
    rng = np.random.default_rng(4)
    M = rng.normal(size=(15, 40))
    A = pd.DataFrame(M @ M.T / 20, index=list("abcdefghijklmno"), columns=list("abcdefghijklmno"))
    b = np.linalg.cholesky(A) @ rng.normal(size=15)
    data = pd.DataFrame({"id": np.repeat(list(A.index), 6), "y": np.repeat(b, 6)})
    data["y"] += 0.5 * rng.normal(size=90)
    data["x"] = np.tile(np.arange(6.0), 15)
    result = MixedLM.from_formula("y ~ 1 + (1 | id)", data, cov={"id": A}).fit(ddf="normal")
    (ax,) = plots.correlations(result).axes
    assert_allclose(ax.images[0].get_array(), correlation(A), atol=1e-8)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(A.index)
    with refused("no order, and so no distances. Pass kind='matrix'"):
        plots.correlations(result, kind="lag")
    inverse = pd.DataFrame(np.linalg.inv(A), index=A.index, columns=A.columns)
    term = RandomTerm(data["id"], name="id", prec=inverse)
    other = MixedLM(data["y"], np.ones(90), [term]).fit(ddf="normal")
    (ax,) = plots.correlations(other).axes
    assert_allclose(ax.images[0].get_array(), correlation(A), atol=1e-8)


def test_many_names_have_room() -> None:
    rng = np.random.default_rng(4)
    names = [f"line number {i}" for i in range(120)]
    K = pd.DataFrame(np.eye(120) + 0.1, index=names, columns=names)
    y = rng.normal(size=360) + np.tile(rng.normal(size=120), 3)
    data = pd.DataFrame({"id": names * 3, "y": y})
    result = MixedLM.from_formula("y ~ 1 + (1 | id)", data, cov={"id": K}).fit(ddf="normal")
    figure = plots.correlations(result)
    check_layout(figure)
    named = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert 10 < len(named) < 60
    assert set(named) < set(names)


def test_members_have_no_known_correlations() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 12, (2, 300))
    effects = rng.normal(size=12)
    y = effects[a] + effects[b] + rng.normal(size=300)
    data = pd.DataFrame({"a": a, "b": b, "y": y})
    result = MixedLM.from_formula("y ~ 1 + (1 | mm(a, b))", data).fit(ddf="normal")
    with refused("the model has no correlations to draw"):
        plots.correlations(result)


def test_too_many_levels() -> None:
    rng = np.random.default_rng(4)
    names = [f"a{i}" for i in range(700)]
    K = pd.DataFrame(np.eye(700) + 0.1, index=names, columns=names)
    data = pd.DataFrame(
        {"id": names * 2, "y": rng.normal(size=1400) + np.tile(rng.normal(size=700), 2)}
    )
    result = MixedLM.from_formula("y ~ 1 + (1 | id)", data, cov={"id": K}).fit(ddf="normal")
    with refused("id has 700 levels, and their correlations are drawn up to 600"):
        plots.correlations(result)


# ---------------------------------------------------------------- residuals


@pytest.mark.parametrize("shuffled", [False, True])
def test_residuals_by_visit(shuffled: bool) -> None:
    result = growth(shuffled=shuffled, correlation="ar1(visit | Subject)", variance="Sex")
    (ax,) = plots.correlations(result).axes
    table = result.varcorr()
    rho = float(table.loc[table["name"] == "ar1 rho", "corr_1"].iloc[0])
    assert_allclose(points(ax), [[h, rho**h] for h in range(4)], atol=1e-12)
    frame = result.model.data.frame
    sds = table.set_index("name")["std_dev"]
    sd = np.asarray(frame["Sex"].map(lambda sex: sds[sex]), dtype=float)
    own = dense_products(result, frame["Subject"].tolist(), frame["visit"].tolist(), {"sd": sd})
    wanted = [[h, own[h]] for h in (1.0, 2.0, 3.0)]
    assert_allclose(points(ax, "D"), wanted, rtol=1e-9)
    assert ax.get_xlabel() == "distance of visit"
    (ax,) = plots.correlations(result, "Residual", observed=False).axes
    assert not [line for line in ax.lines if line.get_marker() == "D"]
    (ax,) = plots.correlations(result, "Residual", kind="matrix").axes
    h = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    assert_allclose(ax.images[0].get_array(), rho**h)


def test_variances_that_differ_within_a_group() -> None:
    result = growth(correlation="ar1(visit | Subject)", variance="power(age)")
    (ax,) = plots.correlations(result).axes
    frame, (_, power) = result.model.data.frame, result.fit_record.design.residual.values
    sd = np.sqrt(result.scale) * np.asarray(frame["age"], dtype=float) ** power
    own = dense_products(result, frame["Subject"].tolist(), frame["visit"].tolist(), {"sd": sd})
    wanted = [[h, own[h]] for h in (1.0, 2.0, 3.0)]
    assert_allclose(points(ax, "D"), wanted, rtol=1e-9)


def test_residuals_at_any_times() -> None:
    result = growth(correlation="car1(when | Subject)")
    (ax,) = plots.correlations(result).axes
    table = result.varcorr()
    rho = float(table.loc[table["name"] == "car1 rho", "corr_1"].iloc[0])
    x, y = ax.lines[1].get_data()
    assert_allclose(y[1:], rho ** np.asarray(x)[1:], rtol=1e-9)
    assert len(points(ax, "D")) <= 15


def test_residuals_alike() -> None:
    result = growth("distance ~ age * Sex", correlation="cs(1 | Subject)")
    (ax,) = plots.correlations(result).axes
    table = result.varcorr()
    rho = float(table.loc[table["name"] == "cs rho", "corr_1"].iloc[0])
    assert_allclose(points(ax), [[0, 1], [1, rho], [2, rho], [3, rho]])
    assert "rows of one Subject apart" in ax.get_xlabel().replace("\n", " ")
    assert points(ax, "D").shape == (3, 2)
    (ax,) = plots.correlations(result, kind="matrix").axes
    assert_allclose(ax.images[0].get_array(), rho + (1 - rho) * np.eye(4))


def test_rows_of_the_model_itself_lie_on_its_correlations() -> None:
    """Estimates from many simulated rows, beside a random slope and unequal variances."""
    rng = np.random.default_rng(8)
    groups, m = 3000, 6
    g, t = np.repeat(np.arange(groups), m), np.tile(np.arange(m), groups)
    e = rng.normal(size=(groups, m))
    for k in range(1, m):
        e[:, k] = 0.6 * e[:, k - 1] + 0.8 * e[:, k]
    b = rng.normal(size=(groups, 2)) * [1.0, 0.3]
    s = np.where(g % 2 == 0, 1.0, 2.0)
    data = pd.DataFrame(
        {"g": g, "t": t, "x": rng.normal(size=groups * m), "s": (g % 2).astype(str)}
    )
    data["y"] = 1 + b[g, 0] + b[g, 1] * data["x"] + s * e.ravel()
    result = MixedLM.from_formula(
        "y ~ x + (x | g)", data, correlation="ar1(t | g)", variance="s"
    ).fit(ddf="normal")
    (ax,) = plots.correlations(result, "Residual").axes
    assert_allclose(points(ax, "D")[:, 1], points(ax)[1:, 1], atol=0.05)
    both = plots.correlations(result)
    assert len([panel for panel in both.axes if panel.get_title()]) == 2


def test_pairs_are_all_or_the_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 4, 60)
    at = rng.permutation(60).astype(float)
    wanted = {
        (min(i, j), max(i, j)): abs(at[i] - at[j])
        for i in range(60)
        for j in range(i)
        if codes[i] == codes[j]
    }

    def found() -> dict[tuple[int, int], float]:
        own = pairs_within(codes, at)
        ends = zip(own.first.tolist(), own.second.tolist())
        return {(min(p), max(p)): d for p, d in zip(ends, own.distance)}

    assert found() == wanted
    monkeypatch.setattr(pairs, "_MOST", 200)
    near = found()
    assert 0 < len(near) <= 200
    reach = max(near.values())
    assert near == {pair: d for pair, d in wanted.items() if d <= reach}


def test_bins_have_as_many_pairs() -> None:
    distance = np.random.default_rng(0).exponential(size=3000)
    x, y = mean_by_distance(distance, 2 * distance, np.ones(3000), 8)
    assert len(x) == 15
    assert_allclose(y, 2 * x)
    assert_allclose(x.mean(), distance.mean(), rtol=1e-2)
    three = np.array([1.0, 1.0, 2.0]), np.array([1.0, 3.0, 9.0]), np.array([3.0, 1.0, 1.0])
    x, y = mean_by_distance(*three, 2)
    assert_allclose([x, y], [[1.0], [1.5]])


def test_products_are_of_the_order_of_pairs() -> None:
    result = growth(correlation="ar1(visit | Subject)")
    own = pairs_within(
        *(getattr(result.fit_record.design.residual_rows, k) for k in ("codes", "positions"))
    )
    turned = pairs.Pairs(own.second[::-1], own.first[::-1], own.distance[::-1])
    fit = result.fit_record
    for there, back in zip(residual_products(fit, own), residual_products(fit, turned)):
        assert_allclose(back[::-1], there)


@pytest.mark.parametrize("known", ["cov=A", "prec=P", "members"])
def test_relatives_share_what_their_matrix_says(known: str) -> None:
    """The products less what rows share, by the dense covariance of the rows."""
    rng = np.random.default_rng(1)
    names = [f"a{i}" for i in range(9)]
    root = np.tril(rng.normal(size=(9, 9)), -1) + 3.0 * np.eye(9)
    A = pd.DataFrame(root @ root.T, names, names)
    P = pd.DataFrame(np.linalg.inv(A.to_numpy()), names, names)
    data = pd.DataFrame({"pen": np.repeat(range(8), 6), "visit": np.tile(range(6), 8)})
    data["one"], data["two"] = rng.choice(names, (2, 48))
    data["x"], data["y"] = rng.normal(size=(2, 48))
    W = np.equal.outer(data["one"].to_numpy(), names).astype(float)
    K, group = A.to_numpy(), f"gr(one, {known})"
    if known == "members":
        W = 0.5 * (W + np.equal.outer(data["two"].to_numpy(), names))
        K, group = np.eye(9), "mm(one, two)"
    data["y"] += W @ root @ rng.normal(size=9)
    result = quietly(
        MixedLM.from_formula(
            f"y ~ 1 + (1 + x | {group})",
            data,
            correlation="ar1(visit | pen)",
            eval_env={"A": A, "P": P},
        )
    )
    fit = result.fit_record
    own = pairs_within(*(getattr(fit.design.residual_rows, k) for k in ("codes", "positions")))
    X = fit.design.terms[0].X
    shared = (W @ K @ W.T) * (X @ fit.random_cov[0] @ X.T)
    u = data["y"].to_numpy() - result.params["Intercept"]
    total = np.diag(shared) + result.scale
    values = (np.outer(u, u) - shared) / result.scale
    weights = result.scale**2 / np.outer(total, total)
    at = own.first, own.second
    assert_allclose(residual_products(fit, own), [values[at], weights[at]], rtol=1e-6)


def test_a_long_title_breaks_after_the_term() -> None:
    """What is written and what is estimated are a line each."""
    data = datasets.sleepstudy.load_pandas().data.rename(columns={"Days": "days_since_the_start"})
    term = "exp(0 + position(days_since_the_start) | Subject)"
    result = quietly(MixedLM.from_formula(f"Reaction ~ days_since_the_start + {term}", data))
    title = plots.correlations(result).axes[0].get_title()
    assert re.fullmatch(re.escape(term) + r",\nsd \S+, range \S+", title)


# ---------------------------------------------------------------- words, styles


def test_refusals() -> None:
    plain = sleep("(1 | Subject)")
    with refused("the model has no correlations to draw. Terms of several columns have"):
        plots.correlations(plain)
    with refused("'Subject' has no correlations to draw"):
        plots.correlations(plain, "Subject")
    with refused("'Residual' has no correlations to draw"):
        plots.correlations(plain, "Residual")
    with refused("the model has no correlations to draw"):
        plots.correlations(sleep("(Days || Subject)"))
    with refused("there is no random-effects term 'Subjekt'. Did you mean 'Subject'?"):
        plots.correlations(plain, "Subjekt")
    with refused("kind='matrx' is no picture. Did you mean 'matrix'? Use 'lag' or 'matrix'."):
        plots.correlations(plain, kind="matrx")
    with refused("what 'Subject' correlates has no order, and so no distances."):
        plots.correlations(sleep("(Days | Subject)"), kind="lag")


def test_removed_rows() -> None:
    data = pd.read_csv(TEETH)
    result = MixedLM.from_formula(GROWTH, data, correlation="car1(age | Subject)").fit()
    result.remove_data()
    with refused("the data of the fit were removed by remove_data()"):
        plots.correlations(result)
    sleep_data = datasets.sleepstudy.load_pandas().data
    slopes = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleep_data).fit()
    slopes.remove_data()
    assert plots.correlations(slopes).axes[0].images


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_everything_stands_out(style: str) -> None:
    with plt.style.context(style):
        figures = [
            plots.correlations(sleep("ar1(0 + C(Days) | Subject)")),
            plots.correlations(sleep("exp(0 + position(Days / 7) | Subject)")),
            plots.correlations(machines("cs(0 + Machine | Worker)")),
            plots.correlations(growth(correlation="ar1(visit | Subject)", variance="Sex")),
        ]
    for figure in figures:
        check_layout(figure)
        (ax,) = figure.axes
        for line in ax.lines:
            assert (
                np.abs(np.subtract(to_rgb(line.get_color()), to_rgb(ax.get_facecolor()))).max()
                > 0.3
            )
        for text, value in zip(ax.texts, np.ravel(ax.images[0].get_array() if ax.images else [])):
            cell = ax.images[0].cmap(ax.images[0].norm(value))[:3]
            assert np.abs(np.subtract(to_rgb(text.get_color()), cell)).max() > 0.4
