"""How the sums of partitions grow: what a worker sends, and how long two are added, as a tree is.

    python benchmarks/partitions.py                     # levels 10^3 to 10^5, 4 and 16 partitions
    python benchmarks/partitions.py --levels 1e6
    python benchmarks/partitions.py --workers 1 2       # whole, on workers of a Dask cluster here

Rows are five a level, with an intercept and a slope of it and a crossed factor of a hundred levels;
levels either stay in one partition (rows sorted by them) or are in all (shuffled). Seconds are of
the processor, in one process: what the workers of a cluster share. With ``--workers`` each worker
is a process of its own.
"""

from __future__ import annotations

import argparse
import pickle
import time

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, summarize
from mixedlm_ext.sites.pool import pooled
from mixedlm_ext.sites.sums import SiteSums

FORMULA = "y ~ x + (x | g) + (1 | h)"


def rows(levels: int, sort: bool) -> pd.DataFrame:
    """Draw the rows."""
    rng = np.random.default_rng(1)
    n = 5 * levels
    g = np.repeat(np.arange(levels), 5)
    if not sort:
        g = rng.permutation(g)
    x = rng.standard_normal(n)
    y = rng.standard_normal(n) + rng.standard_normal(levels)[g]
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": rng.integers(0, 100, n)})


def add_up(parts: list[SiteSums]) -> list[float]:
    """Add two at a time; return the seconds of each step of the tree."""
    steps = []
    while len(parts) > 1:
        start = time.process_time()
        parts = [pooled(parts[i : i + 2], ["one", "two"]) for i in range(0, len(parts), 2)]
        steps.append(time.process_time() - start)
    return steps


def on_workers(levels: int, sort: bool, partitions: int, counts: list[int]) -> None:
    """Time the model and what it needs of the rows, by each number of workers."""
    import dask.dataframe
    from dask.distributed import Client, LocalCluster, wait

    data = rows(levels, sort)
    for workers in counts:
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            frame = client.persist(dask.dataframe.from_pandas(data, npartitions=partitions))
            wait(frame)  # only sums are measured, not the way of the rows to the workers
            client.run(warm)
            start, used = time.perf_counter(), sum(client.run(time.process_time).values())
            MixedLM.from_formula(FORMULA, frame)
            seconds = time.perf_counter() - start
            used = sum(client.run(time.process_time).values()) - used
            print(f"{levels:8,}  {partitions:10}  {'sorted' if sort else 'shuffled':8} "
                  f"{workers:7}  {seconds:9.2f} s  {used:9.2f} s")  # fmt: skip


def warm() -> None:
    """Import what a worker's first task would import."""
    import mixedlm_ext  # noqa: F401


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--levels", type=float, nargs="*", default=[1e3, 1e4, 1e5])
    parser.add_argument("--partitions", type=int, nargs="*", default=[4, 16])
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    given = parser.parse_args()
    if given.workers:
        print("  levels  partitions  rows      workers  by the clock  processor of the workers")
        for levels in map(int, given.levels):
            for sort in (True, False):
                for count in given.partitions:
                    on_workers(levels, sort, count, given.workers)
        return
    print(
        "  levels  partitions  rows      summarize one  MB sent by one  add all: steps of the tree"
    )
    for levels in map(int, given.levels):
        for sort in (True, False):
            data = rows(levels, sort)
            for count in given.partitions:
                size = -(-len(data) // count)
                start = time.process_time()
                parts: list[SiteSums] = [
                    summarize(FORMULA, data.iloc[i : i + size]) for i in range(0, len(data), size)
                ]
                seconds = (time.process_time() - start) / count
                sent = len(pickle.dumps(parts[0])) / 1e6
                steps = add_up(parts)
                print(f"{levels:8,}  {count:10}  {'sorted' if sort else 'shuffled':8} "
                      f"{seconds:13.3f} s  {sent:14.2f}  {sum(steps):8.3f} s: "
                      f"{' '.join(f'{step:.3f}' for step in steps)}")  # fmt: skip


if __name__ == "__main__":
    main()
