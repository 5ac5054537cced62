"""Seeded simulations of data for the benchmarks; `problems.py` gives them names and formulas.

Try one with ``python -c "import simulate; print(simulate.longitudinal(3))"`` in this folder.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Codes = NDArray[np.intp]

__all__ = ["crossed", "longitudinal", "maximal", "mobility", "nested", "ratings", "slopes"]


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


def ratings(rows: int, users: int, films: int, seed: int = 7) -> pd.DataFrame:
    """Simulate ratings as MovieLens has them: half stars, some users and films with many more.

    Parameters
    ----------
    rows : int
    users, films : int
    seed : int

    Returns
    -------
    DataFrame
        Columns rating, user and film.

    Notes
    -----
    Activity of users is log-normal; popularity of films falls like (rank + 100) to the power -1.5,
    so that of 59,000 films the first has half a percent of all ratings and the last ten.
    """
    rng = np.random.default_rng(seed)
    activity = np.exp(1.2 * rng.standard_normal(users))
    popularity = (np.arange(films) + 0.0017 * films) ** -1.5
    user = rng.choice(users, size=rows, p=activity / activity.sum())
    film = rng.choice(films, size=rows, p=popularity / popularity.sum())
    y = 3.5 + 0.85 * rng.standard_normal(rows)
    y += 0.45 * rng.standard_normal(users)[user] + 0.5 * rng.standard_normal(films)[film]
    rating = np.clip(np.round(2.0 * y) / 2.0, 0.5, 5.0)
    return pd.DataFrame({"rating": rating, "user": _factor(user), "film": _factor(film)})


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
