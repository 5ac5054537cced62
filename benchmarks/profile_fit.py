"""Show where the time of one fit goes.

::

    python benchmarks/profile_fit.py longitudinal_1e5
    python benchmarks/profile_fit.py slopes3 --repeat 5

Each step is called by itself, in this process and warm; the table holds medians. Indented lines are
parts of the line above them. The parts of one evaluation are measured at the optimum. "model and
results" is the difference between the whole fit and its steps, so it carries their noise.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from problems import PROBLEMS, Problem

from mixedlm_ext import MixedLM, SingularFitWarning
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.gaussian import GaussianCriterion, GaussianEvaluation
from mixedlm_ext.design import design_from_formula
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.language import parse_formula
from mixedlm_ext.search import optimize
from mixedlm_ext.solvers.symbolic import Symbolic

T = TypeVar("T")


@dataclass
class Clock:
    """Medians of the times of named steps.

    Parameters
    ----------
    repeat : int
        How often a step is timed, after one untimed call.
    seconds : dict
    """

    repeat: int
    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, step: str, function: Callable[[], T]) -> T:
        """Time a step and return its value."""
        value = function()
        times = []
        for _ in range(self.repeat):
            start = time.perf_counter()
            value = function()
            times.append(time.perf_counter() - start)
        self.seconds[step] = statistics.median(times)
        return value

    def time_derived(self, step: str, make: Callable[[], T], use: Callable[[T], object]) -> None:
        """Time what `use` does to a fresh object of `make`, whose making is not counted."""
        times = []
        for _ in range(self.repeat):
            subject = make()
            start = time.perf_counter()
            use(subject)
            times.append(time.perf_counter() - start)
        self.seconds[step] = statistics.median(times)


def profile(problem: Problem, repeat: int) -> tuple[dict[str, float], int]:
    """Time the steps of a fit.

    Parameters
    ----------
    problem : Problem
    repeat : int

    Returns
    -------
    dict of str to float
        Seconds of each step.
    int
        Evaluations of the criterion until the optimum.
    """
    data = problem.data()
    clock = Clock(repeat)
    parsed = clock.time("formula", lambda: parse_formula(problem.formula))
    design = clock.time("design", lambda: design_from_formula(parsed, data, env={}))
    engine = clock.time("assemble", lambda: assemble(design))
    clock.time("pattern of the factor", lambda: Symbolic(engine.cp.A))
    criterion = GaussianCriterion(engine, problem.reml)
    start = engine.covariance.start()
    best, log = clock.time("search", lambda: optimize(criterion, start))
    templates = engine.covariance.templates(best.theta)
    clock.time("factor", lambda: engine.solver.factor(templates))
    clock.time("criterion", lambda: criterion.at(best.theta))
    clock.time_derived("gradient", lambda: criterion.at(best.theta), lambda e: e.gradient)

    def with_gradient() -> GaussianEvaluation:
        evaluation = criterion.at(best.theta)
        _ = evaluation.gradient
        return evaluation

    clock.time_derived("Hessian model", with_gradient, lambda e: e.hessian_model)
    clock.time("record", lambda: Fit.from_evaluation(design, criterion, best, log))
    result = clock.time(
        "whole fit", lambda: MixedLM.from_formula(problem.formula, data).fit(reml=problem.reml)
    )
    clock.time("summary", lambda: str(result.summary()))
    return clock.seconds, log.evaluations


def report(seconds: dict[str, float], evaluations: int) -> str:
    """Return the table of a profile."""
    s = seconds
    engine = ("formula", "design", "assemble", "search", "record")
    evaluation = s["criterion"] + s["gradient"] + s["Hessian model"]
    lines = [
        ("formula", s["formula"]),
        ("design", s["design"]),
        ("assemble", s["assemble"]),
        ("  cross-products and whitening", s["assemble"] - s["pattern of the factor"]),
        ("  pattern of the factor", s["pattern of the factor"]),
        (f"search, {evaluations} evaluations", s["search"]),
        ("  one evaluation", evaluation),
        ("    factor", s["factor"]),
        ("    rest of the criterion", s["criterion"] - s["factor"]),
        ("    gradient", s["gradient"]),
        ("    Hessian model", s["Hessian model"]),
        ("record of the fit", s["record"]),
        ("model and results", s["whole fit"] - sum(s[step] for step in engine)),
        ("whole fit", s["whole fit"]),
        ("summary, not in the fit", s["summary"]),
    ]
    rows = [
        f"{name:32}{1e3 * value:12.3f}{100 * value / s['whole fit']:9.1f}" for name, value in lines
    ]
    return "\n".join([f"{'step':32}{'ms':>12}{'%':>9}", *rows])


def main() -> None:
    """Profile one problem and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("name", choices=PROBLEMS, metavar="name", help="problem (see problems.py)")
    parser.add_argument("--repeat", type=int, default=3, help="calls of each step")
    arguments = parser.parse_args()
    problem = PROBLEMS[arguments.name]
    warnings.simplefilter("ignore", SingularFitWarning)
    print(f"{problem.name}: {problem.formula}, {problem.rows:,} rows; {problem.description}\n")
    print(report(*profile(problem, arguments.repeat)))


if __name__ == "__main__":
    main()
