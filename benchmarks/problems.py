"""Named problems for the benchmarks: shipped data sets and seeded simulations.

Run ``python benchmarks/problems.py`` for a list. The other scripts take these names::

    python benchmarks/compare.py sleepstudy longitudinal_1e4

A heavy problem has a variant for quick runs, with ``_small`` at the end of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import pandas as pd
from simulate import crossed, longitudinal, maximal, mobility, nested, slopes

from mixedlm_ext import datasets

__all__ = ["PROBLEMS", "Problem", "StatsmodelsTerms"]


@dataclass(frozen=True)
class StatsmodelsTerms:
    """The random effects of a problem as statsmodels' own MixedLM takes them.

    Parameters
    ----------
    groups : str, optional
        Column of the grouping factor. None puts all rows into one group, so that crossed factors
        can be variance components of it; its matrices are dense, which is for tiny data only.
    re_formula : str, optional
    vc_formula : mapping, optional
    """

    groups: str | None
    re_formula: str | None = None
    vc_formula: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Problem:
    """A model and where its data come from.

    Parameters
    ----------
    name : str
    formula : str
        As `mixedlm_ext` and lme4 read it.
    data : callable
        Returns the data frame, the same one each time.
    reml : bool
    description : str
    rows : int
    heavy : bool
        Some package takes more than a few seconds.
    statsmodels : StatsmodelsTerms, optional
        None if statsmodels' own MixedLM cannot state the model, or only with matrices too large to
        try.
    """

    name: str
    formula: str
    data: Callable[[], pd.DataFrame]
    reml: bool
    description: str
    rows: int
    heavy: bool = False
    statsmodels: StatsmodelsTerms | None = None


# --- shipped data ----------------------------------------------------------------------------


def _insteval(students: int | None = None) -> pd.DataFrame:
    """Return the lecture ratings, all of them or those by the first students."""
    data = datasets.insteval.load_pandas().data
    if students is None:
        return data
    data = data[data["s"].cat.codes < students].reset_index(drop=True)
    for name in data.select_dtypes("category"):
        data[name] = data[name].cat.remove_unused_categories()
    return data


_SHIPPED = [
    Problem(
        "dyestuff",
        "Yield ~ 1 + (1 | Batch)",
        lambda: datasets.dyestuff.load_pandas().data,
        True,
        "yield of dyestuff, 6 batches",
        30,
        statsmodels=StatsmodelsTerms("Batch"),
    ),
    Problem(
        "sleepstudy",
        "Reaction ~ Days + (Days | Subject)",
        lambda: datasets.sleepstudy.load_pandas().data,
        True,
        "reaction times, 18 subjects with intercept and slope",
        180,
        statsmodels=StatsmodelsTerms("Subject", "~ Days"),
    ),
    Problem(
        "penicillin",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        lambda: datasets.penicillin.load_pandas().data,
        True,
        "24 plates crossed with 6 samples",
        144,
        statsmodels=StatsmodelsTerms(
            None, vc_formula={"plate": "0 + C(plate)", "sample": "0 + C(sample)"}
        ),
    ),
    Problem(
        "pastes",
        "strength ~ 1 + (1 | batch/cask)",
        lambda: datasets.pastes.load_pandas().data,
        True,
        "3 casks in each of 10 batches",
        60,
        statsmodels=StatsmodelsTerms("batch", "1", {"cask": "0 + C(cask)"}),
    ),
    Problem(
        "cake",
        "angle ~ recipe * temperature + (1 | replicate/recipe)",
        lambda: datasets.cake.load_pandas().data,
        True,
        "split plot: 3 recipes in each of 15 replicates, 18 fixed effects",
        270,
        statsmodels=StatsmodelsTerms("replicate", "1", {"recipe": "0 + C(recipe)"}),
    ),
    Problem(
        "machines",
        "score ~ Machine + (Machine | Worker)",
        lambda: datasets.machines.load_pandas().data,
        True,
        "6 workers, each with three correlated effects",
        54,
        statsmodels=StatsmodelsTerms("Worker", "~ Machine"),
    ),
    Problem(
        "insteval2",
        "y ~ service * dept + (1 | s) + (1 | d)",
        _insteval,
        True,
        "lecture ratings: 2,972 students crossed with 1,128 lecturers, 28 fixed effects",
        73_421,
        heavy=True,
    ),
    Problem(
        "insteval3",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        _insteval,
        True,
        "lecture ratings: students, lecturers and 14 departments",
        73_421,
        heavy=True,
    ),
    Problem(
        "insteval2_small",
        "y ~ service * dept + (1 | s) + (1 | d)",
        partial(_insteval, 150),
        True,
        "insteval2, the first 150 students",
        3_858,
    ),
    Problem(
        "insteval3_small",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        partial(_insteval, 150),
        True,
        "insteval3, the first 150 students",
        3_858,
    ),
]

# --- simulated data --------------------------------------------------------------------------


def _longitudinal_problem(name: str, subjects: int, heavy: bool = False) -> Problem:
    """Return the problem of `longitudinal` data."""
    return Problem(
        name,
        "y ~ x + (x | subject)",
        partial(longitudinal, subjects),
        True,
        f"{subjects:,} subjects with correlated intercept and slope",
        10 * subjects,
        heavy,
        StatsmodelsTerms("subject", "~ x"),
    )


def _nested_problem(name: str, sizes: tuple[int, int, int, int], heavy: bool = False) -> Problem:
    """Return the problem of `nested` data."""
    schools, classes, pupils, rows = sizes
    counts = schools, schools * classes, schools * classes * pupils
    return Problem(
        name,
        "y ~ x + (1 | school/klass/pupil)",
        partial(nested, *sizes),
        True,
        "{:,} schools, {:,} classes, {:,} pupils".format(*counts),
        counts[2] * rows,
        heavy,
        StatsmodelsTerms(
            "school", "1", {"klass": "0 + C(klass)", "pupil": "0 + C(klass):C(pupil)"}
        ),
    )


def _crossed_problem(name: str, rows: int, first: int, second: int, heavy: bool = False) -> Problem:
    """Return the problem of `crossed` data."""
    return Problem(
        name,
        "y ~ x + (1 | user) + (1 | product)",
        partial(crossed, rows, first, second),
        True,
        f"{first:,} users crossed with {second:,} products, popularity like a power law",
        rows,
        heavy,
    )


def _mobility_problem(name: str, workers: int, firms: int, heavy: bool = False) -> Problem:
    """Return the problem of `mobility` data."""
    return Problem(
        name,
        "y ~ x + (1 | worker) + (1 | firm)",
        partial(mobility, workers, firms),
        True,
        f"{workers:,} workers at 1 to 3 of {firms:,} firms: crossed and very sparse",
        10 * workers,
        heavy,
    )


def _maximal_problem(name: str, subjects: int, items: int, heavy: bool = False) -> Problem:
    """Return the problem of `maximal` data."""
    return Problem(
        name,
        "y ~ a*b*c + (a*b*c | subject) + (a*b*c | item)",
        partial(maximal, subjects, items),
        True,
        f"{subjects} subjects x {items} items, 72 covariance parameters, singular",
        subjects * items,
        heavy,
    )


def _slopes_problem(
    name: str, rows: int, levels: tuple[int, int, int], heavy: bool = False
) -> Problem:
    """Return the problem of `slopes` data."""
    return Problem(
        name,
        "y ~ x + (x | f) + (x | g) + (x | h)",
        partial(slopes, rows, levels),
        True,
        "{:,} x {:,} x {:,} crossed levels, each with intercept and slope".format(*levels),
        rows,
        heavy,
    )


_SIMULATED = [
    _longitudinal_problem("longitudinal_1e4", 1_000),
    _longitudinal_problem("longitudinal_1e5", 10_000, heavy=True),
    _longitudinal_problem("longitudinal_1e6", 100_000, heavy=True),
    _nested_problem("nested3", (500, 20, 20, 5), heavy=True),
    _crossed_problem("crossed_1e5", 100_000, 1_000, 800, heavy=True),
    _crossed_problem("crossed_1e6", 1_000_000, 6_000, 3_700, heavy=True),
    _mobility_problem("mobility", 100_000, 10_000, heavy=True),
    _maximal_problem("maximal", 56, 32, heavy=True),
    _slopes_problem("slopes3", 130_000, (2_000, 400, 60), heavy=True),
    _longitudinal_problem("longitudinal_1e5_small", 100),
    _longitudinal_problem("longitudinal_1e6_small", 200),
    _nested_problem("nested3_small", (10, 5, 8, 5)),
    _crossed_problem("crossed_1e5_small", 2_000, 60, 40),
    _crossed_problem("crossed_1e6_small", 5_000, 120, 80),
    _mobility_problem("mobility_small", 500, 60),
    _maximal_problem("maximal_small", 24, 16),
    _slopes_problem("slopes3_small", 3_000, (50, 30, 15)),
]


def _by_name(problems: Iterable[Problem]) -> dict[str, Problem]:
    """Return a dictionary of the problems."""
    return {problem.name: problem for problem in problems}


PROBLEMS: dict[str, Problem] = _by_name([*_SHIPPED, *_SIMULATED])
"""Every problem by its name."""


def main() -> None:
    """Print the problems."""
    for problem in PROBLEMS.values():
        mark = "heavy" if problem.heavy else ""
        print(f"{problem.name:23} {problem.rows:>9,} {mark:5}  {problem.formula}")
        print(f"{'':41}{problem.description}")


if __name__ == "__main__":
    main()
