"""Show how the time of a fit grows with rows and with levels.

::

    python benchmarks/growth.py
    python benchmarks/growth.py --small        # a few seconds

Three curves, each a Markdown table: against the rows at fixed levels, against the levels of the
only grouping factor at fixed rows, and against the levels of the second of two crossed factors.
"build" is what touches rows (formula, design, cross-products) and the pattern of the factor;
"search" is the rest of the fit. The last line is the slope of a straight line through the
logarithms: 1 is linear growth. Times of a few milliseconds are mostly fixed costs, and their slopes
say little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from simulate import crossed, longitudinal

from mixedlm_ext import MixedLM


@dataclass(frozen=True)
class Curve:
    """A growth curve to measure.

    Parameters
    ----------
    title : str
    variable : str
        What grows.
    formula : str
    data : callable
        From a size to a data frame.
    sizes : sequence of int
    """

    title: str
    variable: str
    formula: str
    data: Callable[[int], pd.DataFrame]
    sizes: Sequence[int]


@dataclass(frozen=True)
class Point:
    """What was measured at one size: medians of seconds, and evaluations of the criterion."""

    size: int
    build: float
    search: float
    evaluations: int


def curves(small: bool) -> list[Curve]:
    """Return the three curves, for a quick run or in full."""
    rows, first = (10_000, 500) if small else (1_000_000, 6_000)
    users, products = (100, 80) if small else (1_000, 800)
    row_sizes = (
        [2_000, 5_000, 10_000, 20_000] if small else [10_000, 30_000, 100_000, 300_000, rows]
    )
    return [
        Curve(
            f"Rows, at {users:,} x {products:,} crossed levels",
            "rows",
            "y ~ x + (1 | user) + (1 | product)",
            lambda n: crossed(n, users, products),
            row_sizes,
        ),
        Curve(
            f"Levels of the only factor, with intercept and slope, at {rows:,} rows",
            "levels",
            "y ~ x + (x | subject)",
            lambda levels: longitudinal(levels, rows // levels),
            [rows // visits for visits in (1_000, 300, 100, 30, 10)],
        ),
        Curve(
            f"Levels of the second crossed factor, at {first:,} of the first and {rows:,} rows",
            "levels",
            "y ~ x + (1 | user) + (1 | product)",
            lambda levels: crossed(rows, first, levels),
            [25, 50, 100, 200] if small else [250, 500, 1_000, 2_000, 4_000],
        ),
    ]


def measure(curve: Curve, repeat: int) -> list[Point]:
    """Fit at every size of a curve.

    Parameters
    ----------
    curve : Curve
    repeat : int
        Fits at each size, after one that warms up.

    Returns
    -------
    list of Point
    """
    points = []
    for size in curve.sizes:
        data = curve.data(size)
        runs = [_fit(curve.formula, data) for _ in range(repeat + 1)][1:]
        build, search = (statistics.median(run[i] for run in runs) for i in range(2))
        points.append(Point(size, build, search, runs[-1][2]))
    return points


def _fit(formula: str, data: pd.DataFrame) -> tuple[float, float, int]:
    """Return the seconds of building and of searching, and the evaluations."""
    start = time.perf_counter()
    model = MixedLM.from_formula(formula, data)
    _ = model.problem
    built = time.perf_counter()
    result = model.fit()
    return built - start, time.perf_counter() - built, result.optimization.evaluations


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of log seconds on log size by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def table(curve: Curve, points: Sequence[Point]) -> str:
    """Return the Markdown table of one curve."""
    sizes = [p.size for p in points]
    columns = {
        "build": [p.build for p in points],
        "search": [p.search for p in points],
        "evaluation": [p.search / p.evaluations for p in points],
        "fit": [p.build + p.search for p in points],
    }
    lines = [
        f"| {p.size:,} | {p.build:.4f} | {p.search:.4f} | {p.evaluations} "
        f"| {p.search / p.evaluations:.4f} | {p.build + p.search:.4f} |"
        for p in points
    ]
    s = {name: f"{slope(sizes, values):.2f}" for name, values in columns.items()}
    return "\n".join(
        [
            f"{curve.title}: `{curve.formula}`",
            "",
            f"| {curve.variable} | build s | search s | evaluations | s an evaluation | fit s |",
            "|--:|--:|--:|--:|--:|--:|",
            *lines,
            f"| slope | {s['build']} | {s['search']} | | {s['evaluation']} | {s['fit']} |",
        ]
    )


def main() -> None:
    """Measure and print every curve."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small sizes, for a quick run")
    parser.add_argument("--repeat", type=int, default=3, help="timed fits at each size")
    arguments = parser.parse_args()
    for curve in curves(arguments.small):
        print(table(curve, measure(curve, arguments.repeat)) + "\n", flush=True)


if __name__ == "__main__":
    main()
