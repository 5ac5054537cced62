"""Keyword arguments that a function does not take: what is meant, or what to do instead.

Names of R's packages and of other Python packages lead to the argument of the same meaning.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mixedlm_ext.errors import did_you_mean

__all__ = ["check_keywords", "refuse_unknown"]

_SAME_MEANING = {
    "allownewlevels": ("new_levels",), "b": ("n",), "bootn": ("n",), "cl": ("n_jobs",),
    "cluster": ("cluster", "groups"), "conditional": ("which",), "conflevel": ("alpha",),
    "control": ("method",), "cores": ("n_jobs",), "data": ("exog",), "dispformula": ("variance",),
    "fun": ("statistic",), "level": ("alpha",), "map": ("fix",), "maxeval": ("maxiter",),
    "maxfun": ("maxiter",), "maxit": ("maxiter",), "naaction": ("missing",), "nboot": ("n",),
    "ncores": ("n_jobs",), "ncpus": ("n_jobs",), "newdata": ("exog", "data"),
    "newparams": ("params",), "newresp": ("new_endog",), "nresamples": ("n",), "nsamples": ("n",),
    "nsim": ("n",), "nsims": ("n",), "optimizer": ("method",), "parallel": ("n_jobs",),
    "parm": ("which", "cols"), "params": ("which", "cols"), "quiet": ("progress",),
    "random": ("terms",), "randomonly": ("random_only",), "randomstate": ("rng",),
    "reform": ("terms",), "reformula": ("terms",), "seed": ("rng",), "sims": ("n",),
    "start": ("start_params",), "type": ("kind", "which"), "verbose": ("progress",),
    "vcov": ("cov_type", "cov_p"), "workers": ("n_jobs",),
}  # fmt: skip
"""Names without case, dots and underscores: of what a function may take, the first is meant."""
_DDF = (
    "Degrees of freedom are chosen by fit(ddf='kenward-roger'), or by with_ddf('kenward-roger') of "
    "a result"
)
_LEVEL = "Intervals take alpha= in conf_int() and summary_frame(): alpha=0.1 for 90 %"
_WITH_ERRORS = "Standard errors and intervals are those of get_prediction(...).summary_frame()"
_ELSEWHERE = {
    "conflevel": _LEVEL,
    "contrasts": "Contrasts are written in the formula: C(x, Sum)",
    "ddf": _DDF,
    "dfmethod": _DDF,
    "family": "Other families are those of MixedGLM.from_formula(formula, data, family=...)",
    "interval": _WITH_ERRORS,
    "level": _LEVEL,
    "lmerdf": _DDF,
    "random": "Random effects are written in the formula: 'y ~ x + (1 | group)'",
    "reml": "REML or ML is chosen by fit(reml=...)",
    "sefit": _WITH_ERRORS,
    "ziformula": "There are no models of additional zeros here",
}


def refuse_unknown(
    function: str, kwargs: Mapping[str, Any], known: Sequence[str], ignored: Sequence[str] = ()
) -> None:
    """Raise TypeError for keyword arguments that do not exist, naming what may be meant."""
    for name in kwargs:
        if name not in ignored:
            raise TypeError(
                f"{function}() got an unexpected keyword argument {name!r}."
                f"{_what_is_meant(name, known)} It takes {', '.join(known) or 'none'}."
            )


def check_keywords(method: str, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> None:
    """Raise TypeError for keyword arguments that the function of a method does not take."""
    _, *rest = inspect.signature(function).parameters.values()
    if all(p.kind is not p.VAR_KEYWORD for p in rest):
        known = [p.name for p in rest if p.kind is not p.VAR_POSITIONAL]
        refuse_unknown(method, kwargs, known, ignored=known)


def _what_is_meant(name: str, known: Sequence[str]) -> str:
    """Return a sentence on the argument that is meant, or "" where none comes to mind."""
    plain = name.lower().replace("_", "").replace(".", "")
    same = next((own for own in _SAME_MEANING.get(plain, ()) if own in known), None)
    if same is not None:
        return f" Did you mean {same!r}?"
    if plain in _ELSEWHERE and plain not in known:
        return f" {_ELSEWHERE[plain]}."
    return did_you_mean(name, known)
