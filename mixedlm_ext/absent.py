"""Attributes that statsmodels' functions ask for and that have no right value here: one sentence.

The error is an AttributeError, so that ``hasattr`` goes on saying no.
"""

from __future__ import annotations

from typing import Any

__all__ = ["INFLUENCE", "INHERITED", "MODEL", "RESULTS", "attribute_again"]

_REGRESSION = (
    "is of a linear regression: statsmodels' plot_fit, plot_regress_exog, OLSInfluence and their "
    "kind cannot use a mixed model. Use mixedlm_ext.plots (residuals, trajectories), "
    "get_prediction() and get_influence()"
)
_FIT_QUALITY = (
    "has no single meaning in a mixed model. Use sigma and varcorr() for what is left, icc(), "
    "and compare() or anova() for tests"
)
_NESTED = "compares sums of squares. Use compare_lr_test(other), compare(other) or anova()"
_NO_TEST_OF_ROWS = "has no formula in a mixed model. Use residuals('scaled') or get_influence()"
RESULTS = {
    "rsquared": _FIT_QUALITY,
    "rsquared_adj": _FIT_QUALITY,
    "fvalue": _FIT_QUALITY,
    "f_pvalue": _FIT_QUALITY,
    "compare_f_test": _NESTED,
    "compare_lm_test": _NESTED,
    "outlier_test": _NO_TEST_OF_ROWS,
    "resid_pearson": "is called residuals('pearson') here. Use that",
    "bse_re": "would be standard errors of variances, which mislead. Use profile().conf_int()",
    "freepat": "is statsmodels' pattern of free parameters. Write (x || g) for a diagonal one",
    "mse_resid": _REGRESSION,
    "mse_model": _REGRESSION,
    "mse_total": _REGRESSION,
    "profile_re": "is statsmodels' profile of one variance. Use profile()",
    "params_object": "is statsmodels' packed vector. Use params, theta, sigma and varcorr()",
    "hist": "is statsmodels' log. Use optimization",
}
INHERITED = frozenset(
    ["bsejac", "bsejhj", "covjac", "covjhj", "get_nlfun", "hessv", "score_obsv", "ssr"]
)
"""What results inherit from statsmodels and cannot answer: left out of ``dir(result)``."""
_LIKELIHOOD = (
    "is of models whose rows are independent: statsmodels' MLEInfluence cannot use a mixed model. "
    "Use get_influence() for rows and influence(groups=...) for groups"
)
MODEL = {
    "score_obs": _LIKELIHOOD,
    "score_factor": _LIKELIHOOD,
    "hessian_factor": _LIKELIHOOD,
    "fit_regularized": "penalizes the fixed effects, which is not available here. Use fit()",
}
INFLUENCE = {
    "resid_studentized_external": (
        "has no formula in a mixed model. Use influence_plot(result, external=False), or "
        "influence(refit=True) for estimates without each row"
    ),
}


def attribute_again(owner: Any, name: str, sentences: dict[str, str]) -> Any:
    """Answer ``owner.__getattr__(name)``: raise AttributeError, with its sentence if there is one.

    A property that raised AttributeError itself is asked again, so that its own words are kept.
    """
    if hasattr(type(owner), name):
        return object.__getattribute__(owner, name)
    message = f"{type(owner).__name__!r} object has no attribute {name!r}"
    if name in sentences:
        message = f"{name} {sentences[name]}."
    raise AttributeError(message)
