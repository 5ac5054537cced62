"""Attributes that are not here: one sentence for those of statsmodels, a near name for others.

The error is an AttributeError, so that ``hasattr`` goes on saying no.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from mixedlm_ext.errors import FitError, did_you_mean

__all__ = [
    "GLM_RESULTS",
    "INFLUENCE",
    "INHERITED",
    "MODEL",
    "RESULTS",
    "R_FUNCTIONS",
    "R_RESULTS",
    "NotOfGeneralizedModels",
    "NotOfModels",
    "NotOfResults",
    "attribute_again",
    "no_attribute",
]

_REGRESSION = (
    "is of a linear regression: statsmodels' plot_fit, plot_regress_exog, OLSInfluence and their "
    "kind cannot use a mixed model. Use mixedlm_ext.plots (residuals, trajectories), "
    "get_prediction() and get_influence()"
)
_FIT_QUALITY = (
    "has no single meaning in a mixed model. Use r2() for its marginal and its conditional kind, "
    "varcorr() and icc() for what is left, and compare() or anova() for tests"
)
_NESTED = "compares sums of squares. Use compare_lr_test(other), compare(other) or anova()"
_NO_TEST_OF_ROWS = "has no formula in a mixed model. Use residuals('scaled') or get_influence()"
_LIKELIHOOD = (
    "is of models whose rows are independent: statsmodels' MLEInfluence cannot use a mixed model. "
    "Use influence(groups=...) of the results, and get_influence() for rows of linear models"
)
_OF_PARAMS = (
    "is a function of params alone in statsmodels; the likelihood of a mixed model is one of the "
    "variances, too. Use llf, cov_params() and profile() of the results"
)
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
    "score_obs": _LIKELIHOOD,
    "score": "is of the model. Use model.score(result.theta)",
    "hessian": "is of the model. Use model.hessian(result.theta)",
}
_ML = "is of linear mixed models. Generalized ones are fitted by maximum likelihood"
_NO_DDF = (
    "is of linear mixed models. Tests of generalized ones are those of large samples: use "
    "wald_test(), compare_lr_test(other) or bootstrap()"
)
_OF_LINEAR_ROWS = (
    "is of linear mixed models. Use residuals() for rows and influence(groups=...) for groups"
)
GLM_RESULTS = {
    "rsquared": _FIT_QUALITY,
    "pseudo_rsquared": _FIT_QUALITY,
    "null_deviance": _FIT_QUALITY,
    "sigma": (
        "is of linear mixed models. The dispersion of a family that has one is scale, alpha of the "
        "negative binomial family.alpha"
    ),
    "reml": _ML,
    "refit_ml": _ML,
    "bse_re": "would be standard errors of variances, which mislead. Use profile().conf_int()",
    "profile_re": "is statsmodels' profile of one variance. Use profile()",
    "hist": "is statsmodels' log. Use optimization",
    "score_obs": _LIKELIHOOD,
    "score": _OF_PARAMS,
    "hessian": _OF_PARAMS,
    "summary2": "is of linear mixed models. Use summary()",
    "method": _ML,
    "with_ddf": _NO_DDF,
    "ddf": _NO_DDF,
    "ddf_method": _NO_DDF,
    "get_influence": _OF_LINEAR_ROWS,
    "leverage": _OF_LINEAR_ROWS,
    "compare_bootstrap": (
        "is of linear mixed models. Use compare_lr_test(other), or simulate() and refit() of both"
    ),
    "total_variance": "is of linear mixed models. Use varcorr() and icc()",
    "re_pca": "is of linear mixed models. Use singular, varcorr() and check()",
    "breeding_values": "is of linear mixed models. Use random_effects and random_effects_sd",
    "heritability": "is of linear mixed models. Use varcorr() and icc()",
}
INHERITED = frozenset(
    ["bsejac", "bsejhj", "covjac", "covjhj", "get_nlfun", "hessv", "score_obsv", "ssr"]
)
"""What results inherit from statsmodels and cannot answer: left out of ``dir(result)``."""
MODEL = {
    "score_obs": _LIKELIHOOD,
    "score_factor": _LIKELIHOOD,
    "hessian_factor": _LIKELIHOOD,
    "fit_regularized": "penalizes the fixed effects, which is not available here. Use fit()",
}
for _name in (
    "params", "bse", "pvalues", "tvalues", "conf_int", "summary", "varcorr", "random_effects",
    "theta", "sigma", "scale", "llf", "aic", "bic", "resid", "fittedvalues", "anova", "emmeans",
):  # fmt: skip
    MODEL[_name] = f"is of the results. Use model.fit().{_name}"
INFLUENCE = {
    "resid_studentized_external": (
        "has no formula in a mixed model. Use influence_plot(result, external=False), or "
        "influence(refit=True) for estimates without each row"
    ),
}


R_RESULTS = {
    # lme4, stats
    "fixef": "params", "fixedeffects": "params", "fixed": "params", "vcov": "cov_params()",
    "coef": "'params', or 'group_coefs()' for each group", "ranef": "random_effects",
    "random": "random_effects", "confint": "conf_int()", "loglik": "llf", "extractaic": "aic",
    "remlcrit": "objective", "isreml": "reml", "issingular": "singular", "ngrps": "n_groups",
    "fitted": "fittedvalues", "dfresidual": "df_resid", "sigma2": "scale",
    "formula": "model.formula_full", "terms": "model.formula_full", "modelmatrix": "model.exog",
    "modelframe": "model.data.frame", "getdata": "model.data.frame",
    "getme": "'theta', 'model.Z', 'model.exog' or another attribute", "weights": "model.weights",
    "offset": "model.offset", "devfun": "model.objective(theta)", "hatvalues": "leverage()",
    "rstudent": "get_influence()", "rstandard": "get_influence()",
    "cooksdistance": "get_influence()", "dfbeta": "get_influence()", "dfbetas": "get_influence()",
    "bootmer": "bootstrap()", "repca": "re_pca", "allfit": "all_fit()", "refitml": "refit_ml()",
    "lrtest": "compare()", "plot": "mixedlm_ext.plots", "qqmath": "mixedlm_ext.plots",
    "dotplot": "mixedlm_ext.plots", "xyplot": "mixedlm_ext.plots", "splom": "mixedlm_ext.plots",
    "densityplot": "mixedlm_ext.plots",
    # nlme
    "intervals": "conf_int()", "getvarcov": "'cov_re', or 'varcorr()' of several factors",
    "acf": "residuals('whitened')", "variogram": "residuals('whitened')",
    "augpred": "mixedlm_ext.plots", "comparepred": "mixedlm_ext.plots",
    # lmerTest, pbkrtest
    "rand": "ranova()", "contest": "'t_test()' or 'wald_test()'", "contest1d": "t_test()",
    "contestmd": "wald_test()", "difflsmeans": "emmeans(...).contrasts()", "lsmeans": "emmeans()",
    "lsmeanslt": "emmeans()", "krmodcomp": "with_ddf('kenward-roger')",
    "satmodcomp": "with_ddf('satterthwaite')", "getkr": "with_ddf('kenward-roger')",
    "vcovadj": "with_ddf('kenward-roger').cov_params()", "pbmodcomp": "compare_bootstrap()",
    # emmeans, marginaleffects
    "emm": "emmeans()", "refgrid": "emmeans()", "emmip": "emmeans()", "lstrends": "emtrends()",
    "contrast": "emmeans(...).contrasts()", "pairs": "emmeans(...).contrasts()",
    "cld": "emmeans(...).contrasts()", "effsize": "emmeans(...).contrasts()",
    "regrid": "emmeans(..., type='response')", "jointtests": "anova()",
    "marginalmeans": "emmeans()", "slopes": "emtrends()", "avgslopes": "emtrends()",
    "comparisons": "emmeans(...).contrasts()", "avgcomparisons": "emmeans(...).contrasts()",
    "predictions": "get_prediction()",
    # merTools, MuMIn, performance, glmmTMB
    "predictinterval": "get_prediction()", "rsquaredglmm": "r2()", "rsquared": "r2()",
    "r2nakagawa": "r2()", "checkmodel": "check()", "diagnose": "check()",
    "checksingularity": "singular", "checkcollinearity": "vif()",
}  # fmt: skip
"""Names of R's functions, without case, dots and underscores, and what stands for them here.

An attribute or method of results; several of them, and words, where the text begins with a quote.
"""
_MIXED, _GENERALIZED = "MixedLM.from_formula(...).fit()", "MixedGLM.from_formula(...).fit()"
R_FUNCTIONS = {
    "lmer": _MIXED, "lme": _MIXED, "glmer": _GENERALIZED, "glmernb": _GENERALIZED,
    "glmmtmb": f"'{_MIXED}' or '{_GENERALIZED}'", "varcorr": "result.varcorr()",
    "coef": "result.params", "contest": "result.t_test()", "formula": "result.model.formula_full",
} | {
    name: f"result.{way}" for name, way in R_RESULTS.items() if way[0] not in "'m"
}  # fmt: skip
"""The same for the functions of the package; R's functions of fits are methods of results."""


def attribute_again(
    owner: Any, name: str, sentences: Mapping[str, str], r_names: Mapping[str, str] | None = None
) -> Any:
    """Answer ``owner.__getattr__(name)``: raise AttributeError, with its sentence if there is one.

    A property that raised AttributeError itself is asked again, so that its own words are kept.
    """
    if hasattr(type(owner), name):
        return object.__getattribute__(owner, name)
    if name in sentences:
        raise AttributeError(f"{name} {sentences[name]}.")
    what = f"{type(owner).__name__!r} object"
    known = {n for n in {*dir(type(owner)), *vars(owner)} if not _refused(type(owner), n)}
    ways = {
        plain: way
        for plain, way in (r_names or {}).items()
        if way.startswith(("'", "mixedlm_ext")) or _first(way) in known
    }
    way = (r_names or {}).get(_plain(name), "")
    if _plain(name) not in ways and _first(way) in sentences:
        raise AttributeError(
            f"{what} has no attribute {name!r}, which is a name of R's. What stands for it, "
            f"{_first(way)}, {sentences[_first(way)]}."
        )
    raise no_attribute(what, name, known, ways)


def _plain(name: str) -> str:
    """Return a name without case and underscores."""
    return name.replace("_", "").lower()


def _first(way: str) -> str:
    """Return the attribute that a way begins with."""
    return re.split(r"\W", way, maxsplit=1)[0]


def _refused(kind: type, name: str) -> bool:
    """Tell whether a class has an attribute only to say that it has none."""
    return name in INHERITED or isinstance(inspect.getattr_static(kind, name, None), _NotHere)


def no_attribute(
    what: str, name: str, known: Iterable[str], r_names: Mapping[str, str]
) -> AttributeError:
    """Return the error for an attribute that is not there, with the name that may be meant."""
    message = f"{what} has no attribute {name!r}"
    if way := r_names.get(_plain(name)):
        meant = way if way.startswith("'") else repr(way)
        message += f", which is a name of R's. Did you mean {meant}?"
    elif not name.startswith("_"):  # what the language itself asks for is no slip
        near = did_you_mean(name, (n for n in known if not n.startswith("_")))
        message += near and f".{near}"
    return AttributeError(message)


class _NotHere:
    """An inherited attribute that has no right value: asking for it raises its sentence."""

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        raise AttributeError(f"{self._name} {self._sentence}.")


_SCORES = (
    "is a covariance by the scores of independent rows, which a mixed model does not have. "
    "Use cov_params(), or robust_cov() for clusters"
)


class _NoSumOfSquares(FitError, AttributeError):
    """An attribute that is not there, for a reason that `anova_lm` hands on to users."""


class NotOfResults:
    """What results inherit from statsmodels without a meaning here."""

    @property
    def ssr(self) -> NoReturn:
        """Not there: a mixed model is not tested by sums of squares of residuals.

        statsmodels' ``anova_lm`` asks for it.
        """
        raise _NoSumOfSquares(
            "a mixed model has no 'ssr', a residual sum of squares to test by as statsmodels' "
            "anova_lm() does. Use the result's own anova(type=1, 2, 3), or compare(other) for "
            "several models."
        )

    bsejac: Any = _NotHere(_SCORES)
    bsejhj: Any = _NotHere(_SCORES)
    covjac: Any = _NotHere(_SCORES)
    covjhj: Any = _NotHere(_SCORES)
    score_obsv: Any = _NotHere(_LIKELIHOOD)
    hessv: Any = _NotHere(
        "is the Hessian in params; the likelihood here is a function of theta. Use "
        "model.hessian(result.theta), and cov_params() for the fixed effects"
    )
    get_nlfun: Any = _NotHere(
        "is not implemented by statsmodels. Use t_test() for linear functions of params, and "
        "bootstrap(statistic=...) for others"
    )


class NotOfModels:
    """What models inherit from statsmodels without a meaning here."""

    information: Any = _NotHere(
        "is of models whose likelihood is a function of params. Use hessian(theta), "
        "or cov_params() of the results"
    )


class NotOfGeneralizedModels:
    """What generalized models inherit besides: statsmodels' functions of params alone."""

    loglike: Any = _NotHere(_OF_PARAMS)
    score: Any = _NotHere(_OF_PARAMS)
    hessian: Any = _NotHere(_OF_PARAMS)
    information: Any = _NotHere(_OF_PARAMS)
