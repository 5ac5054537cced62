"""Fit two huge crossed factors: ratings like MovieLens 25M, wages of workers and firms.

Each fit runs in a process of its own, so that its peak memory can be read. Numbers of rows and
levels are divided by ``--divide``; with ``--exact`` the exact solver fits the same data where
memory holds it::

    python benchmarks/huge_crossed.py --divide 10 --exact
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from run_one import memory
from simulate import mobility, ratings

from mixedlm_ext import MixedLM
from mixedlm_ext.results import MixedLMResults

FORMULAS = {
    "ratings": "rating ~ 1 + (1 | user) + (1 | film)",
    "wages": "y ~ x + (1 | worker) + (1 | firm)",
}


def data_of(name: str, divide: int) -> pd.DataFrame:
    """Simulate one of the problems."""
    if name == "ratings":
        return ratings(25_000_000 // divide, 160_000 // divide, 59_000 // divide)
    return mobility(1_000_000 // divide, 100_000 // divide)


def fit(name: str, divide: int, solver: str) -> MixedLMResults:
    """Fit one problem by maximum likelihood and print what it took."""
    data = data_of(name, divide)
    start, used = time.perf_counter(), time.process_time()
    model = MixedLM.from_formula(FORMULAS[name], data)
    result = model.fit(reml=False, solver=solver)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    levels = " x ".join(f"{count:,}" for count in result.n_groups.values())
    print(f"{name}: {result.nobs:,} rows, {levels}, solver {result.fit_record.problem.solver.name}")
    load = os.getloadavg()[0]
    print(f"  {seconds:.1f} s by the clock, {used:.1f} s of processor, load {load:.1f}")
    print(f"  evaluations: {result.optimization.evaluations}, {result.optimization.verdict}")
    print(f"  criterion {result.objective:.3f}, theta {result.theta}")
    print(f"  beta {result.params.to_numpy()}")
    sampling = result.fit_record.sampling
    if sampling is not None:
        print(
            f"  {sampling.samples} samples: noise {100 * sampling.share:.4f} % of the standard "
            f"error of theta, {sampling.objective_se:.2g} of the criterion"
        )
    peak = memory("VmHWM")
    if peak is not None:
        print(f"  peak memory {peak / 1e9:.1f} GB, with the data frame", flush=True)
    return result


def main() -> None:
    """Fit what was asked for, each in its own process."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", default=list(FORMULAS), help="ratings, wages")
    parser.add_argument("--divide", type=int, default=1, help="rows and levels by this")
    parser.add_argument("--exact", action="store_true", help="fit by the exact solver too")
    parser.add_argument("--solver", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    np.set_printoptions(precision=7)
    if arguments.solver:
        fit(arguments.names[0], arguments.divide, arguments.solver)
        return
    for name in arguments.names:
        for solver in ("iterative", *(["exact"] if arguments.exact else [])):
            own = [name, "--divide", str(arguments.divide), "--solver", solver]
            subprocess.run([sys.executable, str(Path(__file__)), *own], check=False)


if __name__ == "__main__":
    main()
