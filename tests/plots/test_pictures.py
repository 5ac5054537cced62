"""What a person sees in a picture: nothing cut off, nothing on top of another, any style."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, datasets, plots
from mixedlm_ext.plots.axes import _fitted as fitted
from mixedlm_ext.plots.labels import wrap
from mixedlm_ext.plots.matrices import _spread as spread
from mixedlm_ext.plots.naming import name_points

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESPONSE, TIME, ARM = "systolic_blood_pressure_at_follow_up", "weeks_since_treatment", "drug_arm"
LONG = (
    f"{RESPONSE} ~ {TIME} + {ARM} + ({TIME} | hospital_identifier) + (1 | ward_within_country)"
    " + (1 | operator_of_device)"
)


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@lru_cache
def long_data() -> pd.DataFrame:
    """Three grouping factors, the first with 200 levels, and names that fill a line."""
    rng = np.random.default_rng(5)
    n = 2400
    hospital, ward, operator = (rng.integers(0, k, n) for k in (200, 12, 30))
    weeks = rng.integers(0, 9, n).astype(float)
    arms = rng.choice(["standard of care", "new drug, low dose", "new drug, high dose"], n)
    b = rng.normal(size=(200, 2)) * [6, 1]
    y = 130 + 4 * (arms == "standard of care") - weeks + b[hospital, 0] + b[hospital, 1] * weeks
    y += 3 * rng.normal(size=12)[ward] + 2 * rng.normal(size=30)[operator] + rng.normal(0, 5, n)
    return pd.DataFrame(
        {
            RESPONSE: y,
            TIME: weeks,
            ARM: arms,
            "hospital_identifier": [f"hospital number {h:03d} of the north" for h in hospital],
            "ward_within_country": [f"ward type {w} (surgical and medical)" for w in ward],
            "operator_of_device": [f"operator {o}" for o in operator],
        }
    )


@lru_cache
def long_fit(formula: str = LONG) -> Any:
    return MixedLM.from_formula(formula, long_data()).fit(ddf="normal")


@lru_cache
def fit(formula: str, name: str = "sleepstudy") -> Any:
    return MixedLM.from_formula(formula, getattr(datasets, name).load_pandas().data).fit()


@lru_cache
def boundary_profile() -> Any:
    """The profile of a correlation that is estimated as one."""
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(12), 8), np.tile(np.arange(8.0), 12)
    y = rng.normal(size=12)[g] * (1 + 0.5 * x) + 1.5 * rng.normal(size=96)
    with pytest.warns(UserWarning, match="singular"):
        result = MixedLM.from_formula(
            "y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g})
        ).fit()
    return result.profile()


@lru_cache
def long_profile() -> Any:
    formula = f"{RESPONSE} ~ {TIME} + (1 | ward_within_country) + (1 | operator_of_device)"
    return long_fit(formula).profile()


def several(**k: Any) -> Any:
    formulas = LONG, LONG.replace(" + (1 | operator_of_device)", "")
    return plots.coefficients({f: long_fit(f) for f in formulas}, **k)


PICTURES: dict[str, Callable[..., Any]] = {
    "caterpillar": lambda **k: plots.caterpillar(long_fit(), **k),
    "caterpillar of one": lambda **k: plots.caterpillar(long_fit(), "ward_within_country", **k),
    "mode_quantiles": lambda **k: plots.mode_quantiles(long_fit(), **k),
    "residuals": lambda **k: plots.residuals(long_fit(), **k),
    "scale_location": lambda **k: plots.scale_location(long_fit(), **k),
    "residual_quantiles": lambda **k: plots.residual_quantiles(long_fit(), **k),
    "coefficients": lambda **k: plots.coefficients(long_fit(), **k),
    "several": several,
    "shrinkage": lambda **k: plots.shrinkage(long_fit(), **k),
    "shrinkage of few": lambda **k: plots.shrinkage(fit("Reaction ~ Days + (Days | Subject)"), **k),
    "dotplot": lambda **k: plots.dotplot(long_fit(), **k),
    "trajectories": lambda **k: plots.trajectories(long_fit(), TIME, by=ARM, max_panels=6, **k),
    "correlations": lambda **k: plots.correlations(long_fit(), **k),
    "Z": lambda **k: plots.matrix_image(long_fit(), "Z", **k),
    "L": lambda **k: plots.matrix_image(long_fit(), "L", **k),
    "profile_zeta": lambda **k: plots.profile_zeta(long_profile(), **k),
    "profile_density": lambda **k: plots.profile_density(long_profile(), **k),
    "profile_pairs": lambda **k: plots.profile_pairs(long_profile(), **k),
}
PANELS = {
    "caterpillar": 4,
    "mode_quantiles": 4,
    "trajectories": 6,
    "profile_zeta": 5,
    "profile_density": 5,
    "profile_pairs": 25,
}


def own_axes(name: str) -> Any:
    """Axes of pyplot's default size, as many as a picture needs."""
    count = PANELS.get(name, 1)
    if name == "profile_pairs":
        return plt.subplots(5, 5)[1].ravel()
    return np.ravel(plt.subplots(-(-count // 3), 3)[1])[:count] if count > 1 else plt.subplots()[1]


def texts(figure: Any) -> list[tuple[str, Any]]:
    """All that is written, with the boxes it fills."""
    figure.canvas.draw()
    found = []
    for ax in [a for panel in figure.axes for a in (panel, *panel.child_axes)]:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if low - slack <= tick.get_loc() <= high + slack:
                    found += [tick.label1, tick.label2]
            found.append(axis.label)
        found += [ax.title, *ax.texts]
        found += [] if ax.get_legend() is None else ax.get_legend().get_texts()
    for legend in figure.legends:
        found += [*legend.get_texts(), legend.get_title()]
    found += [t for t in (figure._supxlabel, figure._supylabel) if t is not None]
    shown = [t for t in found if t.get_visible() and t.get_text().strip()]
    return [(t.get_text(), matplotlib.text.Text.get_window_extent(t)) for t in shown]


def check_layout(figure: Any) -> None:
    """Nothing written is outside the page or on something else that is written."""
    boxes = texts(figure)
    page = figure.bbox
    for text, box in boxes:
        inside = box.x0 > -1.5 and box.y0 > -1.5
        inside &= box.x1 < page.x1 + 1.5 and box.y1 < page.y1 + 1.5
        assert inside, (text, box)
    for i, (text, box) in enumerate(boxes):
        for other, another in boxes[:i]:
            wide = min(box.x1, another.x1) - max(box.x0, another.x0)
            high = min(box.y1, another.y1) - max(box.y0, another.y0)
            assert min(wide, high) < 1.5, (text, other)


@pytest.mark.parametrize("name", PICTURES)
def test_long_names_fit_a_new_picture(name: str) -> None:
    figure = PICTURES[name]()
    check_layout(figure)
    assert "…" not in "".join(text for text, _ in texts(figure))


IN_UNITS: dict[str, Callable[[Any], Any]] = {
    "caterpillar": lambda r: plots.caterpillar(r),
    "mode_quantiles": lambda r: plots.mode_quantiles(r),
    "coefficients": lambda r: plots.coefficients(r),
    "residuals": lambda r: plots.residuals(r),
    "shrinkage": lambda r: plots.shrinkage(r),
    "trajectories": lambda r: plots.trajectories(r, "Days"),
}


@lru_cache
def in_units(response: float, days: float) -> Any:
    data = datasets.sleepstudy.load_pandas().data
    data["Reaction"] *= response
    data["Days"] *= days
    return MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()


@pytest.mark.parametrize("units", [(1e-3, 1.0), (1.0, 12345.0), (12345.0, 1.0)])
@pytest.mark.parametrize("name", IN_UNITS)
def test_long_numbers_do_not_touch(name: str, units: tuple[float, float]) -> None:
    check_layout(IN_UNITS[name](in_units(*units)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in PICTURES if n != "profile_pairs"])
def test_long_names_fit_given_axes(name: str) -> None:
    figure = PICTURES[name](ax=own_axes(name))
    check_layout(figure)


def test_axes_with_room_are_left_as_they_are() -> None:
    result = fit("Reaction ~ Days + (Days | Subject)")
    figure, ax = plt.subplots()
    before = ax.get_position().bounds
    plots.residuals(result, ax=ax)
    assert figure.get_layout_engine() is None
    assert ax.get_position().bounds == before


def test_panels_of_pairs_are_equal() -> None:
    figure = plots.profile_pairs(long_profile())
    figure.canvas.draw()
    sizes = np.array([ax.get_window_extent().size for ax in figure.axes])
    assert_allclose(sizes, sizes[0][None].repeat(25, axis=0), rtol=1e-6)
    for i in range(5):
        (name,) = figure.axes[6 * i].texts
        panel, box = figure.axes[6 * i].get_window_extent(), name.get_window_extent()
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1
        assert panel.y0 <= box.y0 < box.y1 <= panel.y1


# ---------------------------------------------------------------- pyplot, notebooks


def test_pyplot_is_not_needed_and_keeps_nothing() -> None:
    code = (
        "import sys; from mixedlm_ext import MixedLM, datasets, plots\n"
        "data = datasets.sleepstudy.load_pandas().data\n"
        "result = MixedLM.from_formula('Reaction ~ Days + (Days | Subject)', data).fit()\n"
        "png = plots.caterpillar(result)._repr_png_()\n"
        "assert png.startswith(b'\\x89PNG'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_pickle() -> None:
    figure = plots.shrinkage(fit("Reaction ~ Days + (Days | Subject)"))
    again = pickle.loads(pickle.dumps(figure))
    assert [ax.get_title() for ax in again.axes] == ["Shrinkage of Subject"]
    assert again._repr_png_().startswith(b"\x89PNG")


# ---------------------------------------------------------------- styles


def contrast(color: Any, ax: Any) -> float:
    """How far a colour is from the background."""
    return float(np.abs(np.subtract(to_rgb(color), to_rgb(ax.get_facecolor()))).max())


@pytest.mark.parametrize(
    "style",
    [
        "default",
        "dark_background",
        pytest.param("ggplot", marks=pytest.mark.slow),
        pytest.param("Solarize_Light2", marks=pytest.mark.slow),
    ],
)
def test_everything_stands_out_from_the_background(style: str) -> None:
    result = fit("Reaction ~ Days + (Days | Subject)")
    with plt.style.context(style):
        figures = [
            plots.caterpillar(result),
            plots.shrinkage(result),
            plots.shrinkage(result, columns="Days"),
            plots.residual_quantiles(result),
            plots.trajectories(result, "Days", max_panels=2),
            plots.profile_pairs(result.profile(), ["sigma", "Days"]),
            plots.dotplot(result),
        ]
    for ax in [ax for figure in figures for ax in figure.axes]:
        for line in ax.lines:
            assert contrast(line.get_color(), ax) > 0.15
        for text in ax.texts:
            assert contrast(text.get_color(), ax) > 0.3
    (ax,) = figures[3].axes
    (band,) = ax.collections
    assert contrast(band.get_facecolor()[0], ax) < 0.3 < contrast(ax.lines[1].get_color(), ax)


def test_colours_are_those_of_the_axes_not_of_the_moment() -> None:
    with plt.style.context("dark_background"):
        _, ax = plt.subplots()
    plots.shrinkage(fit("Reaction ~ Days + (Days | Subject)"), ax=ax)
    assert contrast(ax.lines[2].get_color(), ax) > 0.9


def test_more_lines_than_the_style_has_colours() -> None:
    with plt.style.context("ggplot"):  # seven
        figure = several()
        tables = [long_fit()] * 12
        many = plots.coefficients(tables)
    for picture, count in ((figure, 2), (many, 12)):
        points = [line for line in picture.axes[0].lines if line.get_marker() == "o"]
        assert len({line.get_color() for line in points}) == count


# ---------------------------------------------------------------- what covers what


@pytest.mark.parametrize("own", [False, True])
def test_legend_is_not_on_the_intervals(own: bool) -> None:
    figure = several(ax=plt.subplots(figsize=(3, 3))[1]) if own else several()
    figure.canvas.draw()
    ax = figure.axes[0]
    legend = (ax.get_legend() or figure.legends[0]).get_window_extent()
    for line in ax.lines[:2]:
        inside = legend.containsx, legend.containsy
        for x, y in ax.transData.transform(np.column_stack(line.get_data())):
            assert not (inside[0](x) and inside[1](y))
    for bars in ax.collections:
        for segment in bars.get_segments():
            (x0, y), (x1, _) = ax.transData.transform(segment)
            assert not (legend.containsy(y) and x0 < legend.x1 and x1 > legend.x0)


def test_names_of_extreme_values_are_beside_the_band() -> None:
    rng = np.random.default_rng(8)
    y = rng.normal(size=400)
    y[[7, 70, 300]] = [9.0, 8.9, -9.0]
    data = pd.DataFrame({"y": y, "g": np.arange(400) % 20})
    with pytest.warns(UserWarning):
        result = MixedLM.from_formula("y ~ 1 + (1 | g)", data).fit()
    (ax,) = plots.residual_quantiles(result).axes
    ax.figure.canvas.draw()
    assert {text.get_text() for text in ax.texts} == {"7", "70", "300"}
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    (band,) = ax.collections
    outline = ax.transData.transform_path(band.get_paths()[0])
    points = ax.transData.transform(np.column_stack(ax.lines[1].get_data()))
    for i, box in enumerate(boxes):
        assert not outline.intersects_bbox(box, filled=True)
        assert not ((points >= box.min) & (points <= box.max)).all(axis=1).any()
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_names_without_room_are_left_out_rather_than_covered() -> None:
    figure, ax = plt.subplots(figsize=(1.6, 1.6))
    plots.shrinkage(fit("Reaction ~ Days + (Days | Subject)"), ax=ax)
    figure.canvas.draw()
    boxes = [matplotlib.text.Text.get_window_extent(text) for text in ax.texts]
    assert 0 < len(boxes) < 18
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


# ---------------------------------------------------------------- numbers


def test_density_at_a_bound_does_not_hide_the_rest() -> None:
    profile = boundary_profile()
    (ax,) = plots.profile_density(profile, "cor(g, Intercept, x)").axes
    density = ax.lines[0].get_ydata()
    assert density.max() > 100  # a pole at one
    middle = float(profile.density("cor(g, Intercept, x)", 0.9))
    assert middle < ax.get_ylim()[1] < 20 * middle
    (other,) = plots.profile_density(profile, "sigma").axes
    top = other.lines[0].get_ydata().max()
    assert top < other.get_ylim()[1] < 1.2 * top


def test_lines_show_what_x_does_alone() -> None:
    """Rows of a hospital have other arms, wards and operators; the line is straight."""
    result, data = long_fit(), long_data()
    level = data["hospital_identifier"].iloc[0]
    figure = plots.trajectories(result, TIME, levels=[level])
    _, conditional, fixed = figure.axes[0].lines[:3]
    rows = data[data["hospital_identifier"] == level]
    x = conditional.get_xdata()
    assert (x.min(), x.max()) == (rows[TIME].min(), rows[TIME].max())
    for line, which in ((conditional, "conditional"), (fixed, "population")):
        y = line.get_ydata()
        assert_allclose(np.diff(y) / np.diff(x), (y[-1] - y[0]) / (x[-1] - x[0]))
        for at in (0, len(x) // 2, -1):
            replaced = rows.assign(**{TIME: x[at]})
            assert_allclose(y[at], result.predict(replaced, which=which).mean())
    assert conditional.get_color() != fixed.get_color()


def test_lines_of_a_formula_that_takes_numbers_for_levels() -> None:
    for formula in (
        "Reaction ~ C(Days) + (1 | Subject)",
        "Reaction ~ 1 + (1 | Subject) + (1 | Days)",
    ):
        result = fit(formula)
        line = plots.trajectories(result, "Days", levels=["308"]).axes[0].lines[1]
        assert_allclose(line.get_xdata(), range(10))
        assert_allclose(line.get_ydata(), result.fittedvalues[:10])


def test_lines_with_an_offset() -> None:
    data = datasets.sleepstudy.load_pandas().data.assign(o=np.linspace(0, 90, 180))
    named = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, offset="o").fit()
    line = plots.trajectories(named, "Days", levels=["308"]).axes[0].lines[1]
    replaced = data[data["Subject"] == "308"].assign(Days=9.0)
    assert_allclose(line.get_ydata()[-1], named.predict(replaced).mean())
    given = MixedLM.from_formula(
        "Reaction ~ Days + (1 | Subject)", data.drop(columns="o"), offset=data["o"].to_numpy()
    ).fit()
    lines = plots.trajectories(given, "Days", levels=["308"]).axes[0].lines
    assert_allclose(lines[1].get_ydata(), given.fittedvalues[:10])
    assert_allclose(lines[2].get_ydata(), given.model.exog[:10] @ given.params + data["o"][:10])


def test_whole_numbers_have_whole_ticks() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"score": rng.integers(1, 6, 200), "g": np.arange(200) % 10})
    data["score"] = (data["score"] + (data["g"] > 4)).clip(1, 5)
    result = MixedLM.from_formula("score ~ 1 + (1 | g)", data).fit()
    (ax,) = plots.dotplot(result).axes
    assert_allclose(ax.get_xticks(), [1, 2, 3, 4, 5])
    (ax,) = plots.trajectories(result, "score", levels=[1]).axes
    assert_allclose(ax.get_yticks(), [1, 2, 3, 4, 5])
    reaction = plots.dotplot(fit("Reaction ~ Days + (Days | Subject)")).axes[0]
    assert len(reaction.get_xticks()) > 3


def test_quoted_names_are_bare() -> None:
    data = datasets.sleepstudy.load_pandas().data
    data = data.set_axis(["yield", "min.temp", "field no"], axis=1)
    formula = "Q('yield') ~ Q('min.temp') + (1 | Q('field no'))"
    result = MixedLM.from_formula(formula, data).fit()
    (ax,) = plots.dotplot(result).axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("yield", "field no")
    assert plots.caterpillar(result).axes[0].get_title() == "field no: Intercept"
    (name,) = plots.coefficients(result).axes[0].get_yticklabels()
    assert name.get_text() == "min.temp"


def test_shrinkage_without_a_fixed_effect() -> None:
    result = fit("Reaction ~ 0 + Days + (Days | Subject)")
    (ax,) = plots.shrinkage(result).axes
    own, mixed = (line for line in ax.lines if line.get_marker() == "o")
    assert not [line for line in ax.lines if line.get_marker() == "+"]
    assert_allclose(mixed.get_xdata(), result.random_effects["Subject"]["Intercept"])
    points = np.concatenate([own.get_xdata(), mixed.get_xdata()])
    low, high = ax.get_xlim()
    assert high - low < 1.5 * np.ptp(points)  # zero is far from here
    assert ax.get_xlabel() == "Intercept, random effect alone"
    (level,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert_allclose(level.get_ydata(), result.params["Days"])


def test_colour_bar_has_colours_that_occur() -> None:
    (ax,) = plots.matrix_image(fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin")).axes
    (bar,) = ax.child_axes
    image = ax.images[0].get_array()
    assert_allclose(bar.get_ylim(), [image.min(), image.max()])
    assert image.min() < 0
    (ax,) = plots.matrix_image(fit("Reaction ~ Days + (Days | Subject)")).axes
    assert ax.child_axes[0].get_ylim()[0] == 0
    assert ax.images[0].norm.vmin == 0


# ---------------------------------------------------------------- placing


def test_a_name_goes_where_nothing_is_drawn() -> None:
    """All around a point is full but the lower left."""
    _, ax = plt.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 10))
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 10, 80), np.linspace(0, 10, 80)))
    full = ~((x < 5) & (y < 5))
    name_points(ax, np.array([5.0]), np.array([5.0]), ["a name"], [(x[full], y[full])])
    (text,) = ax.texts
    box = ax.transData.inverted().transform_bbox(matplotlib.text.Text.get_window_extent(text))
    assert box.x1 < 5 and box.y1 < 5


@pytest.mark.parametrize("name", ["dotplot", "shrinkage", "residuals"])
def test_legend_is_not_on_the_points(name: str) -> None:
    figure = getattr(plots, name)(fit("Reaction ~ Days + (Days | Subject)"))
    figure.canvas.draw()
    (ax,) = figure.axes
    box = ax.get_legend().get_window_extent()
    for line in ax.lines:
        points = ax.transData.transform(np.column_stack(line.get_data()))
        assert not ((points >= box.min) & (points <= box.max)).all(axis=1).any()


def test_names_of_thin_parts_are_spread() -> None:
    need = np.full(4, 0.1)
    assert_allclose(spread(np.array([0.1, 0.4, 0.6, 0.9]), need), [0.1, 0.4, 0.6, 0.9])
    assert_allclose(spread(np.array([0.45, 0.46, 0.47, 0.8]), need), [0.45, 0.55, 0.65, 0.8])
    assert_allclose(spread(np.array([0.3, 0.96, 0.98, 0.99]), need), [0.3, 0.75, 0.85, 0.95])


def test_names_of_levels_by_their_room() -> None:
    names = ["x" * 30 + " " + "y" * 29] * 3
    assert fitted(names, step=30.0, most=300.0) == (10.0, 32)  # two lines
    assert fitted(names, step=8.0, most=300.0) == (6.0, 60)  # one line, in the smallest letters
    assert fitted(names, step=8.0, most=100.0) is None
    assert fitted(names, step=7.0, most=300.0) is None


def test_names_of_parameters_stay_in_small_panels() -> None:
    _, grid = plt.subplots(5, 5)
    figure = plots.profile_pairs(long_profile(), ax=grid)
    figure.canvas.draw()
    for ax in np.diag(grid):
        (name,) = ax.texts
        panel, box = ax.get_window_extent(), name.get_window_extent()
        assert panel.x0 <= box.x0 < box.x1 <= panel.x1
        assert panel.y0 <= box.y0 < box.y1 <= panel.y1


def test_small_panels_say_their_names_at_the_edges() -> None:
    figure, grid = plt.subplots(4, 5)
    plots.trajectories(long_fit(), TIME, by=ARM, ax=grid)
    check_layout(figure)
    for row, panels in enumerate(grid):
        for column, panel in enumerate(panels):
            assert bool(panel.get_ylabel()) == (column == 0)
            assert bool(panel.get_xlabel()) == (row == 3)
            assert panel.get_title()
            assert panel.get_window_extent().height > 10


def test_lowest_panels_of_a_grid_with_a_gap_have_names_below() -> None:
    figure, grid = plt.subplots(2, 3, figsize=(4, 3.2))
    plots.mode_quantiles(long_fit(), ax=grid.ravel()[:4])
    named = [bool(panel.get_xlabel()) for panel in grid.ravel()[:4]]
    assert named == [False, True, True, True]
    plt.close(figure)


def test_every_row_of_panels_names_its_levels() -> None:
    data = datasets.sleepstudy.load_pandas().data
    data["day"] = data["Days"].astype(int).astype(str)
    fitted = MixedLM.from_formula("Reaction ~ 1 + cs(0 + day | Subject)", data).fit(ddf="normal")
    for ax in plots.caterpillar(fitted).axes:
        named = [text.get_text() for text in ax.get_yticklabels()]
        assert all(named) == (ax.get_subplotspec().is_first_col()) == bool(ax.get_ylabel())


def test_names_break_between_words_if_they_can() -> None:
    assert wrap("sex male (self reported)", 22) == "sex male (self\nreported)"
    assert wrap("cor(Worker, Machine[A], Machine[B])", 32) == (
        "cor(Worker, Machine[A],\nMachine[B])"
    )
    assert wrap("the_drug_arm_of (self reported)", 12) == "the_drug_\narm_of (self\nreported)"
    assert wrap("Q('yield')") == "yield"


def test_a_steep_curve_passes_through_its_points() -> None:
    """Where a correlation is hardly bounded ζ rises within a thousandth of its range."""
    result = fit("Reaction ~ 0 + Days + (Days | Subject)")
    figure = plots.profile_zeta(result.profile(["cor(Subject, Intercept, Days)"]))
    curve, points = (line for line in figure.axes[0].lines if len(line.get_xdata()) > 2)
    there = np.interp(points.get_xdata(), *map(np.asarray, curve.get_data()))
    assert_allclose(there, points.get_ydata(), atol=1e-9)


def test_ticks_of_small_panels_are_apart() -> None:
    figure, grid = plt.subplots(4, 4)
    plots.profile_density(boundary_profile(), ax=grid.ravel()[: len(boundary_profile().names)])
    check_layout(figure)


def test_lines_end_at_a_legend() -> None:
    data = "machines"
    figure = plots.shrinkage(fit("score ~ Machine + (0 + Machine | Worker)", data))
    legend = figure.axes[0].get_legend()
    assert legend.get_frame_on()
    assert legend.get_frame().get_alpha() == 1.0
