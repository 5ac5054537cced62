"""Backward elimination of terms of a generalized model, by likelihood ratios."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.generalized.tests import drop1, ranova
from mixedlm_ext.generalized.update import update
from mixedlm_ext.inference.compare.step import Elimination, StepResults, eliminate

__all__ = ["step"]


def step(
    fitted: Fitted,
    alpha_random: float = 0.1,
    alpha_fixed: float = 0.05,
    reduce_random: bool = True,
    reduce_fixed: bool = True,
    keep: str | Sequence[str] | None = None,
) -> StepResults:
    """Eliminate terms backwards: first of the random part, then of the fixed one.

    Parameters
    ----------
    alpha_random, alpha_fixed : float
        Terms whose likelihood-ratio tests have larger p-values are left out.
    reduce_random, reduce_fixed : bool
        Whether to eliminate terms of each part, or only to test them.
    keep : str or sequence of str, optional
        Rows of `ranova` and `drop1` that stay whatever their p-values.

    Returns
    -------
    StepResults
        ``model`` is the fit that is left, ``random`` and ``fixed`` are the tables of tests; it
        prints as both tables and the formula.

    Raises
    ------
    FitError
        If the model was made from arrays, or an argument makes no sense.

    Notes
    -----
    As `MixedLMResults.step`, with the tests of `ranova` and of `drop1` by likelihood ratios.
    P-values and intervals of a model found in this way take no account of the search; they are too
    small and too narrow.

    Examples
    --------
    >>> import statsmodels.api as sm
    >>> from mixedlm_ext import MixedGLM, datasets
    >>> data = datasets.cbpp.load_pandas().data
    >>> formula = "incidence / size ~ period + size + (1 | herd)"
    >>> family = sm.families.Binomial()
    >>> found = MixedGLM.from_formula(formula, data, family=family, weights="size").fit().step()
    >>> found.fixed[["Eliminated", "chisq"]].round(3)
            Eliminated  chisq
    size             1   0.03
    period           0  25.61
    """
    ways = Elimination(
        random=lambda own: ranova(own, True, "chi2"),
        fixed=_tests,
        update=lambda own, change: update(own, change, eval_env=dict(own.design.scope.values)),
        plain="GLM",
    )
    return eliminate(fitted, ways, alpha_random, alpha_fixed, reduce_random, reduce_fixed, keep)


def _tests(fitted: Fitted) -> pd.DataFrame:
    """Return the tests of single terms alone."""
    table = drop1(fitted)
    out = table.drop(index="<none>")
    out.attrs.update(table.attrs)
    return out
