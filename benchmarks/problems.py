"""Named problems for the benchmarks: shipped data sets and seeded simulations.

Run ``python benchmarks/problems.py`` for a list. The other scripts take these names::

    python benchmarks/compare.py sleepstudy longitudinal_1e4

A heavy problem has a variant for quick runs, with ``_small`` at the end of its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext import datasets

Codes = NDArray[np.intp]

__all__ = [
    "PROBLEMS",
    "Problem",
    "StatsmodelsTerms",
    "crossed",
    "longitudinal",
    "maximal",
    "mobility",
    "nested",
    "slopes",
]


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


# --- simulations -----------------------------------------------------------------------------


def longitudinal(subjects: int, visits: int = 10, seed: int = 1) -> pd.DataFrame:
    """Simulate subjects with correlated random intercepts and slopes.

    Parameters
    ----------
    subjects, visits : int
        Levels of the grouping factor, and rows of each.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, x and subject, sorted by subject.
    """
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(subjects), visits)
    x = np.tile(np.linspace(-1.0, 1.0, visits), subjects) + 0.1 * rng.standard_normal(len(subject))
    b = rng.standard_normal((subjects, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    y = 10.0 + 2.0 * x + b[subject, 0] + b[subject, 1] * x + rng.standard_normal(len(subject))
    return pd.DataFrame({"y": y, "x": x, "subject": _factor(subject)})


def nested(schools: int, classes: int, pupils: int, rows: int, seed: int = 2) -> pd.DataFrame:
    """Simulate pupils in classes in schools; labels of classes and pupils start anew in each.

    Parameters
    ----------
    schools : int
    classes, pupils, rows : int
        Classes a school, pupils a class, rows a pupil.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, x, school, klass and pupil.
    """
    rng = np.random.default_rng(seed)
    pupil = np.repeat(np.arange(schools * classes * pupils), rows)
    klass = pupil // pupils
    school = klass // classes
    n = len(pupil)
    x = rng.standard_normal(n)
    y = 50.0 + 1.5 * x + 2.0 * rng.standard_normal(n)
    for codes, sd in ((school, 1.0), (klass, 0.7), (pupil, 1.5)):
        y += sd * rng.standard_normal(codes[-1] + 1)[codes]
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "school": _factor(school),
            "klass": _factor(klass % classes),
            "pupil": _factor(pupil % pupils),
        }
    )


def crossed(rows: int, first: int, second: int, seed: int = 3) -> pd.DataFrame:
    """Simulate ratings of crossed users and products, the popularity of both like a power law.

    Parameters
    ----------
    rows : int
    first, second : int
        Levels of user and product.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, x, user and product.
    """
    rng = np.random.default_rng(seed)
    user, product = _popular(rng, first, rows), _popular(rng, second, rows)
    x = rng.standard_normal(rows)
    y = 3.0 + 0.5 * x + rng.standard_normal(rows)
    y += 0.8 * rng.standard_normal(first)[user] + 0.5 * rng.standard_normal(second)[product]
    return pd.DataFrame({"y": y, "x": x, "user": _factor(user), "product": _factor(product)})


def mobility(workers: int, firms: int, years: int = 10, seed: int = 4) -> pd.DataFrame:
    """Simulate wages of workers who are at one to three firms: crossed factors that rarely meet.

    Parameters
    ----------
    workers, firms : int
    years : int
        Rows of each worker.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, x, worker and firm.

    Notes
    -----
    Of the workers 70 % stay at one firm, 20 % see two and 10 % three. A region has 100 firms, and
    nine of ten moves stay within the region. If all moves went anywhere, the factor of the firms
    would be nearly dense, which is what the crossed problems measure.
    """
    rng = np.random.default_rng(seed)
    region = min(100, firms)
    spells = rng.choice([1, 2, 3], size=workers, p=[0.7, 0.2, 0.1])
    home = rng.integers(firms, size=workers)
    near = (home // region * region)[:, None] + rng.integers(region, size=(workers, 3))
    anywhere = rng.integers(firms, size=(workers, 3))
    employers = np.where(rng.random((workers, 3)) < 0.9, np.minimum(near, firms - 1), anywhere)
    employers[:, 0] = home
    worker, year = np.repeat(np.arange(workers), years), np.tile(np.arange(years), workers)
    firm = employers[worker, year * spells[worker] // years]
    x = rng.standard_normal(len(worker))
    y = 8.0 + 0.3 * x + 0.5 * rng.standard_normal(len(worker))
    y += 0.6 * rng.standard_normal(workers)[worker] + 0.3 * rng.standard_normal(firms)[firm]
    return pd.DataFrame({"y": y, "x": x, "worker": _factor(worker), "firm": _factor(firm)})


def maximal(subjects: int, items: int, rank: int = 2, seed: int = 5) -> pd.DataFrame:
    """Simulate an experiment in which every subject sees every item, in one of eight conditions.

    Parameters
    ----------
    subjects, items : int
    rank : int
        Rank of the covariance of the eight effects of a subject, and of those of an item.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, subject, item and a, b, c, which are -1 or 1.
    """
    rng = np.random.default_rng(seed)
    subject, item = np.repeat(np.arange(subjects), items), np.tile(np.arange(items), subjects)
    condition = (subject + item) % 8
    a, b, c = (2.0 * (condition >> bit & 1) - 1.0 for bit in range(3))
    X = np.column_stack([np.ones(len(a)), a, b, c, a * b, a * c, b * c, a * b * c])
    y = X @ np.array([20.0, 1.0, -1.0, 0.5, 0.0, 0.3, 0.0, 0.0]) + rng.standard_normal(len(a))
    for codes, levels in ((subject, subjects), (item, items)):
        root = np.linspace(0.8, 0.2, 8)[:, None] * rng.standard_normal((8, rank))
        y += np.einsum("nk,nk->n", X, (rng.standard_normal((levels, rank)) @ root.T)[codes])
    return pd.DataFrame(
        {"y": y, "a": a, "b": b, "c": c, "subject": _factor(subject), "item": _factor(item)}
    )


def slopes(rows: int, levels: tuple[int, int, int], seed: int = 6) -> pd.DataFrame:
    """Simulate three crossed factors, each with an intercept and a slope.

    Parameters
    ----------
    rows : int
    levels : tuple of 3 ints
        Levels of f, g and h.
    seed : int

    Returns
    -------
    DataFrame
        Columns y, x, f, g and h.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rows)
    y = 1.0 + 0.5 * x + rng.standard_normal(rows)
    factors = {}
    for name, count in zip("fgh", levels):
        codes = rng.integers(count, size=rows)
        b = rng.standard_normal((count, 2)) @ np.array([[0.6, 0.1], [0.0, 0.3]])
        y += b[codes, 0] + b[codes, 1] * x
        factors[name] = _factor(codes)
    return pd.DataFrame({"y": y, "x": x, **factors})


def _popular(rng: np.random.Generator, levels: int, rows: int) -> Codes:
    """Draw levels with probabilities that fall like rank to the power -0.7."""
    weight = np.arange(1, levels + 1) ** -0.7
    return rng.choice(levels, size=rows, p=weight / weight.sum())


def _factor(codes: Codes) -> pd.Categorical[str]:
    """Return text labels, as grouping factors mostly are."""
    labels = pd.Index([f"L{i}" for i in range(int(codes.max()) + 1)])
    return pd.Categorical.from_codes(codes, labels)


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
