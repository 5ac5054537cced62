"""Evaluations from the default start to the optimum of models with covariance structures.

    python benchmarks/structures.py

The models are those with reference numbers in tests/structures/test_structured_fits.py, by REML and
by ML. The last line is the median and the largest number, the targets being at most 12 and 40.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "structures")]


def main() -> None:
    """Fit every model and print one line for each fit."""
    from test_structured_fits import REFERENCE, fitted

    counts = []
    print(f"{'evaluations':>11} {'off by':>9}")
    for case, (reml, ml, *_) in REFERENCE.items():
        for name, objective in (("REML", reml), ("ML", ml)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = fitted(case, reml=name == "REML")
            counts.append(result.optimization.evaluations)
            off = result.objective - objective
            print(f"{counts[-1]:11d} {off:9.1e}  {name:4}  {case}")
    print(f"median {np.median(counts):g}, most {max(counts)}, of {len(counts)} fits")


if __name__ == "__main__":
    main()
