"""Pictures of residual variances: the model's numbers, and what rows say by hand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from test_pictures import check_layout

from mixedlm_ext import MixedLM, plots

matplotlib.use("Agg")
import matplotlib.pyplot as plt


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def rows(strata: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    n = 240
    frame = pd.DataFrame(
        {
            "g": np.arange(n) // 8,
            "t": np.arange(n) % 8,
            "arm": rng.permutation(np.arange(n) % strata),
            "v": rng.uniform(-2.0, 2.0, n),
        }
    )
    frame["arm"] = frame["arm"].map(lambda a: f"arm {a}")
    sd = 0.5 + 0.5 * np.abs(frame["v"])
    return frame.assign(y=rng.standard_normal(30)[frame["g"]] + sd * rng.standard_normal(n))


@lru_cache
def fit(variance: str, formula: str = "y ~ v + (1 | g)", strata: int = 3, **more: str) -> Any:
    return MixedLM.from_formula(formula, rows(strata), variance=variance, **more).fit()


def values(result: Any) -> dict[str, float]:
    residual = result.varcorr().query("group == 'Residual'").set_index("name")
    return residual["std_dev"].fillna(residual.get("value", np.nan)).to_dict()


def test_strata_have_the_deviations_of_the_table() -> None:
    result = fit("arm")
    (ax,) = plots.residual_spread(result).axes
    model, seen = ax.get_lines()
    told = values(result)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["arm 0", "arm 1", "arm 2"]
    assert_allclose(model.get_ydata(), [told[f"arm {a}"] for a in range(3)], rtol=1e-8)
    # by hand: squares of a stratum over what the hat matrix leaves it
    data, e = rows(), result.resid
    left = (1.0 - result.leverage()).groupby(data["arm"]).sum()
    by_hand = np.sqrt((e**2).groupby(data["arm"]).sum() / left)
    assert_allclose(seen.get_ydata(), by_hand, rtol=1e-8)
    assert len(plots.residual_spread(result, observed=False).axes[0].get_lines()) == 1


@pytest.mark.parametrize(("kind", "correlation"), [("power", None), ("exp", "ar1(t | g)")])
def test_a_curve_follows_its_covariate(kind: str, correlation: str | None) -> None:
    more = {} if correlation is None else {"correlation": correlation}
    result = fit(f"arm * {kind}(v)", **more)
    figure = plots.residual_spread(result)
    strata, along = figure.axes
    assert strata.get_xlabel() == "arm"
    assert along.get_xlabel() == ("|v|" if kind == "power" else "v")
    x, y = along.get_lines()[0].get_data()
    rate = values(result)[f"{kind}(v)"]
    first = values(result)["arm 0"]
    assert_allclose(y, first * (x**rate if kind == "power" else np.exp(rate * x)), rtol=1e-8)
    v = rows()["v"].abs() if kind == "power" else rows()["v"]
    assert_allclose([x.min(), x.max()], [v.min(), v.max()])
    ends, seen = along.get_lines()[1].get_data()
    assert len(seen) == 10
    assert ((ends > x.min()) & (ends < x.max())).all()
    assert np.abs(np.log(seen / np.interp(ends, x, y))).max() < 0.6


def test_rows_say_the_right_thing_where_the_model_does_not() -> None:
    """The spread grows with |v|, a model of strata does not see it, nor one of the wrong rate."""
    result = fit("exp(t)")
    (ax,) = plots.residual_spread(result).axes
    assert_allclose(np.mean(ax.get_lines()[1].get_ydata()), result.resid.std(), rtol=0.15)


def test_a_model_without_random_effects() -> None:
    result = fit("arm", "y ~ v")
    assert_allclose(result.leverage().sum(), 2.0)
    (ax,) = plots.residual_spread(result).axes
    model, seen = ax.get_lines()
    assert_allclose(seen.get_ydata(), model.get_ydata(), rtol=0.01)


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_many_strata_fit_into_the_picture(style: str) -> None:
    with plt.style.context(style):
        figure = plots.residual_spread(fit("arm", strata=24))
        check_layout(figure)
        figure, axes = plt.subplots(1, 2)
        plots.residual_spread(fit("arm * power(v)"), ax=axes)
        check_layout(figure)


def test_refused_in_words() -> None:
    plain = MixedLM.from_formula("y ~ v + (1 | g)", rows()).fit()
    with pytest.raises(plots.PlotError, match="the residuals have one variance"):
        plots.residual_spread(plain)
    result = MixedLM.from_formula("y ~ v + (1 | g)", rows(), variance="arm").fit()
    result.remove_data()
    with pytest.raises(plots.PlotError, match="removed"):
        plots.residual_spread(result)
