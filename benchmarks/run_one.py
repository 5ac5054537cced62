"""Fit one problem with one Python package in a process of its own, for `compare.py`.

Run as ``python run_one.py PACKAGE TASK.json REPORT.json``. The task holds the path of the pickled
data, the formulas, and the seconds below which a first fit is followed by a second one whose time
counts. "ready" is printed when the data are in memory. `run_lme4.R` does the same in R.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Task = dict[str, Any]
Fit = Callable[[], Any]
Report = Callable[[Any], dict[str, Any]]

_STATUS = Path("/proc/self/status")


def fit_mixedlm_ext(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by this package, and what to report of its result."""
    from mixedlm_ext import MixedLM

    def fit() -> Any:
        return MixedLM.from_formula(task["formula"], data).fit(reml=task["reml"])

    def report(result: Any) -> dict[str, Any]:
        return {
            "objective": result.objective,
            "evaluations": result.optimization.evaluations,
            "converged": result.converged,
            "singular": result.singular,
        }

    return fit, report


def fit_statsmodels(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by statsmodels' own MixedLM, and what to report of its result."""
    import statsmodels.formula.api as smf

    terms = dict(task["statsmodels"])
    if terms["groups"] is None:
        terms["groups"] = np.ones(len(data))
    evaluations = 0

    def fit() -> Any:
        nonlocal evaluations
        evaluations = 0
        model = smf.mixedlm(task["fixed"], data, **terms)
        loglike = model.loglike

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal evaluations
            evaluations += 1
            return loglike(*args, **kwargs)

        model.loglike = counted
        return model.fit(reml=task["reml"])

    def report(result: Any) -> dict[str, Any]:
        return {
            "objective": -2.0 * result.llf,
            "evaluations": evaluations,
            "converged": result.converged,
        }

    return fit, report


def fit_mixedlm(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by the package mixedlm, and what to report of its result."""
    import mixedlm

    def fit() -> Any:
        return mixedlm.lmer(task["formula"], data, REML=task["reml"])

    def report(result: Any) -> dict[str, Any]:
        return {
            "objective": result.deviance,
            "evaluations": result.function_evals,
            "converged": result.converged,
            "singular": result.isSingular(),
        }

    return fit, report


def fit_lme_python(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by lme_python, which reads polars' frames, and what to report of it."""
    import lme_python
    import polars

    frame = polars.from_pandas(data)

    def fit() -> Any:
        return lme_python.lmer(task["formula"], frame, reml=task["reml"])

    def report(result: Any) -> dict[str, Any]:
        return {
            "objective": result.reml_criterion if task["reml"] else result.deviance,
            "evaluations": None,
            "converged": result.converged,
        }

    return fit, report


def fit_mixedlm_rs(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by mixedlm_rs, in statsmodels' terms, and what to report of its result."""
    import mixedlm_rs

    def fit() -> Any:
        return mixedlm_rs.mixedlm(task["fixed"], data, **task["statsmodels"]).fit(reml=task["reml"])

    def report(result: Any) -> dict[str, Any]:
        return {
            "objective": -2.0 * result.llf,
            "evaluations": None,
            "converged": result.converged,
        }

    return fit, report


def fit_gpboost(task: Task, data: pd.DataFrame) -> tuple[Fit, Report]:
    """Return the fit by gpboost, whose likelihood is not restricted, and what to report of it."""
    import gpboost
    import patsy

    from mixedlm_ext import MixedLM
    from mixedlm_ext.language import parse_formula

    factors = [list(term.group) for term in parse_formula(task["formula"]).random]

    def fit() -> Any:
        y, X = (np.asarray(side) for side in patsy.dmatrices(task["fixed"], data))
        groups = [data.groupby(own, observed=True).ngroup() for own in factors]
        model = gpboost.GPModel(group_data=np.column_stack(groups), likelihood="gaussian")
        model.fit(y=y.ravel(), X=X)
        return model

    def report(result: Any) -> dict[str, Any]:
        residual, *variances = np.ravel(result.get_cov_pars())[: 1 + len(factors)]
        model = MixedLM.from_formula(task["formula"], data)
        # its own number belongs to other fixed effects than those of its last variances
        return {
            "objective": model.objective(np.sqrt(np.array(variances) / residual), reml=False),
            "evaluations": None,
            "criterion": "ML",
            "optimum": model.fit(reml=False).objective,
        }

    return fit, report


PACKAGES = {
    "mixedlm_ext": fit_mixedlm_ext,
    "statsmodels": fit_statsmodels,
    "mixedlm": fit_mixedlm,
    "lme_python": fit_lme_python,
    "mixedlm_rs": fit_mixedlm_rs,
    "gpboost": fit_gpboost,
}


def memory(field: str) -> int | None:
    """Return the process's memory in bytes: "VmRSS" now, "VmHWM" at its peak.

    ``ru_maxrss`` serves for both where the system does not have these; on Linux it would not do,
    because a new process inherits it from its parent.
    """
    if _STATUS.exists():
        line = next(s for s in _STATUS.read_text().splitlines() if s.startswith(field + ":"))
        return 1024 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Start a new measurement of the peak, where the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def measure(fit: Fit, report: Report, warm_below: float) -> dict[str, Any]:
    """Fit once or twice and report time, memory and result.

    Parameters
    ----------
    fit, report : callable
    warm_below : float
        Seconds of the first fit below which it counts as a warm-up.

    Returns
    -------
    dict
    """
    gc.collect()
    peak_before, before = memory("VmHWM"), memory("VmRSS")
    forget_peak()
    print("ready", flush=True)
    result, seconds = _timed(fit)
    peak = memory("VmHWM")
    if seconds < warm_below:
        del result
        result, seconds = _timed(fit)
    outcome = {"seconds": seconds, "peak": None, "above": None, **report(result)}
    if peak is not None and before is not None and peak_before is not None:
        outcome.update(peak=max(peak, peak_before), above=peak - before)
    return outcome


def _timed(fit: Fit) -> tuple[Any, float]:
    """Return a result and how long it took."""
    start = time.perf_counter()
    result = fit()
    return result, time.perf_counter() - start


def main() -> None:
    """Read the task, measure, write the report."""
    package, task_file, report_file = sys.argv[1:]
    task = json.loads(Path(task_file).read_text())
    fit, report = PACKAGES[package](task, pd.read_pickle(task["data"]))
    outcome = measure(fit, report, task["warm_below"])
    Path(report_file).write_text(json.dumps(outcome, default=float))


if __name__ == "__main__":
    main()
