"""Show what fits with a known covariance of their levels cost.

::

    python benchmarks/relatives.py              # a pedigree of 100,000, a dense matrix of 5,000
    python benchmarks/relatives.py --small      # a few seconds

A line a model of a Markdown table. "matrix" is what makes the known covariance of the user's
(Henderson's rules and inbreeding, or the root of a dense matrix), "build" the cross-products and
the plan of the elimination, "fit" the search. "root" is the size of the dense matrix that the
elimination ends in. Seconds are of the processor, with the threads of linear algebra that the
environment allows.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, pedigree


def population(animals: int, sires: int, dams: int, rng: np.random.Generator) -> pd.DataFrame:
    """Ten generations; of each, some sires and dams have all of the next."""
    size = animals // 10
    parents = np.zeros((2, animals), dtype=int)
    for generation in range(1, 10):
        before = np.arange((generation - 1) * size, generation * size) + 1
        chosen = rng.choice(before, sires + dams, replace=False)
        own = slice(generation * size, (generation + 1) * size)
        parents[0, own] = rng.choice(chosen[:sires], size)
        parents[1, own] = rng.choice(chosen[sires:], size)
    numbers = np.arange(animals) + 1
    return pd.DataFrame({"id": numbers, "sire": parents[0], "dam": parents[1]})


def of_pedigree(animals: int) -> tuple[str, float, MixedLM]:
    """A record of each animal but the founders."""
    rng = np.random.default_rng(1)
    lines = population(animals, max(animals // 1000, 5), max(animals // 100, 20), rng)
    begin = time.process_time()
    A = pedigree(lines, "id", "sire", "dam")
    spent = time.process_time() - begin
    b = A.from_independent(rng.standard_normal((animals, 1)))[:, 0]
    rows = np.arange(animals // 10, animals)
    y = 10.0 + 0.8 * b[rows] + rng.standard_normal(len(rows))
    data = pd.DataFrame({"y": y, "id": rows + 1, "sex": rng.integers(0, 2, len(rows))})
    formula = "y ~ sex + (1 | gr(id, cov=A))"
    model = MixedLM.from_formula(formula, data, cov={"A": A}, eval_env={})
    return f"pedigree of {animals:,}", spent, model


def of_markers(lines: int) -> tuple[str, float, MixedLM]:
    """A record of each line, relationships by markers."""
    rng = np.random.default_rng(2)
    markers = rng.standard_normal((lines, 6000))
    b = markers @ rng.standard_normal(6000) / np.sqrt(6000.0)
    G: Any = pd.DataFrame(markers @ markers.T / 6000.0)
    y = 5.0 + 0.8 * b + rng.standard_normal(lines)
    data = pd.DataFrame({"y": y, "line": range(lines), "x": rng.standard_normal(lines)})
    begin = time.process_time()
    formula = "y ~ x + (1 | gr(line, cov=G))"
    model = MixedLM.from_formula(formula, data, cov={"G": G}, eval_env={})
    return f"dense matrix of {lines:,}", time.process_time() - begin, model


def report(name: str, matrix: float, model: MixedLM) -> None:
    """Print the line of one model."""
    begin = time.process_time()
    root = getattr(model.problem.solver, "root_size", 0)
    build = time.process_time() - begin
    begin = time.process_time()
    log = model.fit().optimization
    fit = time.process_time() - begin
    print(
        f"| {name} | {matrix:.2f} | {build:.2f} | {fit:.2f} | {log.evaluations} | {root:,} |",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    print("| model | matrix | build | fit | evaluations | root |")
    print("|---|---:|---:|---:|---:|---:|")
    report(*of_pedigree(10_000 if small else 100_000))
    report(*of_markers(800 if small else 5_000))


if __name__ == "__main__":
    main()
