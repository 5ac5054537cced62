"""Pictures of generalized models: on the scale of the response, or refused."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from statsmodels.genmod import families

from mixedlm_ext import MixedGLM, plots

matplotlib.use("Agg")


@lru_cache
def fit(kind: str = "binomial") -> Any:
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(20), 15), rng.normal(size=300)
    eta = 0.3 + 0.8 * x + rng.normal(size=20)[g]
    y = rng.binomial(1, 1 / (1 + np.exp(-eta))) if kind == "binomial" else rng.poisson(np.exp(eta))
    family = families.Binomial() if kind == "binomial" else families.Poisson()
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    return MixedGLM.from_formula("y ~ x + (1 | g)", data, family=family).fit()


@pytest.mark.parametrize("kind", ["binomial", "poisson"])
def test_lines_are_means_of_the_response(kind: str) -> None:
    result = fit(kind)
    figure = plots.trajectories(result, "x", levels=[3])
    conditional, fixed = (
        next(line for line in figure.axes[0].lines if line.get_linestyle() == style)
        for style in ("-", "--")
    )
    new = pd.DataFrame({"x": conditional.get_xdata(), "g": 3})
    assert_allclose(conditional.get_ydata(), result.predict(new), rtol=1e-10)
    assert_allclose(fixed.get_ydata(), result.predict(new, conditional=False), rtol=1e-10)


@pytest.mark.parametrize("draw", [plots.residuals, plots.scale_location, plots.residual_quantiles])
def test_residuals_are_normal_if_the_model_is_right(draw: Any) -> None:
    (ax,) = draw(fit()).axes
    assert "quantile residual" in ax.get_ylabel()
    values = np.asarray(next(ln for ln in ax.lines if ln.get_marker() == "o").get_ydata())
    assert_allclose(
        np.sort(values**2 if draw is plots.scale_location else np.abs(values)),
        np.sort(np.abs(fit().residuals("quantile"))),
        rtol=1e-10,
    )
    if draw is plots.residuals:
        assert stats.kstest(values, "norm").pvalue > 0.05


def test_frequencies_are_not_taken_for_rows() -> None:
    data = fit().model.data.frame.assign(n=np.arange(300) % 3 + 1)
    result = MixedGLM.from_formula(
        "y ~ x + (1 | g)", data, family=families.Binomial(), freq_weights="n"
    ).fit()
    assert plots.dotplot(result).axes


@pytest.mark.parametrize("which", ["Z", "Lambda"])
def test_matrices(which: str) -> None:
    assert plots.matrix_image(fit(), which).axes[0].get_title()


def test_what_is_of_linear_models_only() -> None:
    for draw, message in (
        (plots.shrinkage, "least-squares fits are of linear models. Draw the caterpillar."),
        (plots.matrix_image, "changes with its weights. Draw 'Lambda'."),
    ):
        with pytest.raises(plots.PlotError, match=re.escape(message)):
            draw(fit())
