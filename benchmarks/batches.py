"""Rows in batches: how fast each pass is beside pyarrow's own scan of the same columns.

    python benchmarks/batches.py --rows 1e7              # makes the file, scans, learns, sums, fits
    python benchmarks/batches.py --rows 1e8 --dir /data

The data are made with a seed: a hundred rows for each subject, with an intercept and a slope of its
own, and ten items, ten times each, out of those around its place; N rows have N/10,000 items. With
--anywhere they are any of the items, so that a batch meets all of them.
Memory is the largest that the process held.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedlm_ext import MixedLM
from mixedlm_ext.batches import build

FORMULA = "y ~ x + (x | subject) + (1 | item)"
COLUMNS = ["y", "x", "subject", "item"]
EACH = 100


def make(path: Path, rows: int, items: int, anywhere: bool = False) -> None:
    """Write the rows, subject by subject, in row groups of a million."""
    rng = np.random.default_rng(20261126)
    subjects = rows // EACH
    item_effects = 0.5 * rng.standard_normal(items)
    schema = pa.schema(
        [("y", pa.float64()), ("x", pa.float64()), ("subject", pa.int32()), ("item", pa.int32())]
    )
    near = items if anywhere else max(items // 100, 10)
    with pq.ParquetWriter(path, schema, compression="snappy") as file:
        for first in range(0, subjects, 10_000):
            own = np.arange(first, min(first + 10_000, subjects))
            subject = np.repeat(own, EACH)
            # ten items out of a hundredth of all, around the subject's own place among them
            start = (own * items // subjects).astype(np.int64)
            ten = (start[:, None] + rng.integers(0, near, (len(own), 10))) % items
            item = np.tile(ten, (1, EACH // 10)).ravel()
            x = rng.standard_normal(len(subject))
            b = rng.standard_normal((len(own), 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
            y = 2.0 + 0.7 * x + b[subject - first, 0] + b[subject - first, 1] * x
            y += item_effects[item] + rng.standard_normal(len(subject))
            table = pa.table([y, x, subject.astype(np.int32), item.astype(np.int32)], schema=schema)
            file.write_table(table, row_group_size=1 << 20)


class Clock:
    """Seconds by the clock, and of the processor in all threads."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), time.process_time()

    def read(self) -> np.ndarray:
        """Return the seconds since this was made."""
        now = time.perf_counter(), time.process_time()
        return np.array([now[0] - self._wall, now[1] - self._processor])


def scan(path: Path) -> np.ndarray:
    """Read the columns with pyarrow and add each up."""
    clock = Clock()
    with pq.ParquetFile(path, pre_buffer=False) as file:  # faster so, and in less memory
        for batch in file.iter_batches(1 << 20, columns=COLUMNS):
            for column in batch.columns:
                np.asarray(column).sum()
    return clock.read()


def timed(module: object, name: str, times: dict[str, np.ndarray]) -> None:
    """Take the time of a function of a module."""
    function = getattr(module, name)

    def wrapped(*args: object, **kwargs: object) -> object:
        clock = Clock()
        try:
            return function(*args, **kwargs)
        finally:
            times[name] = times.get(name, np.zeros(2)) + clock.read()

    setattr(module, name, wrapped)


def memory() -> float:
    """The largest memory of the process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--items", type=int)
    parser.add_argument("--dir", type=Path, default=Path("."))
    parser.add_argument("--anywhere", action="store_true")
    parser.add_argument("--no-fit", action="store_true")
    given = parser.parse_args()
    rows = int(given.rows)
    items = given.items or max(rows // 10_000, 100)
    where = "_anywhere" if given.anywhere else ""
    path = given.dir / f"batches_{rows}_{items}{where}.parquet"
    if not path.exists():
        make(path, rows, items, given.anywhere)
    print(f"{rows:,} rows, {rows // EACH:,} subjects, {items:,} items; "
          f"{path.stat().st_size / 1e9:.2f} GB of Parquet")  # fmt: skip
    one = min((scan(path) for _ in range(3)), key=lambda seconds: seconds[1])
    times: dict[str, np.ndarray] = {}
    timed(build, "learn_rows", times)
    timed(build, "sum_rows", times)
    clock = Clock()
    model = MixedLM.from_formula(FORMULA, path)
    whole = clock.read()
    print("pass   by the clock  processor  million rows a second  scans (clock, processor)")
    for label, own in (("scan", one), ("learn", times["learn_rows"]), ("sum", times["sum_rows"])):
        wall, processor = own
        print(f"{label:6} {wall:10.2f} s {processor:8.2f} s {rows / wall / 1e6:18.1f} "
              f"{wall / one[0]:16.1f} {processor / one[1]:6.1f}")  # fmt: skip
    print(f"both, and what comes after: {whole[0]:.2f} s; at most {memory():.2f} GB")
    if given.no_fit:
        return
    clock = Clock()
    result = model.fit()
    wall, processor = clock.read()
    print(f"fit: {wall:.2f} s, {processor:.2f} s of processor, "
          f"{result.fit_record.problem.solver.name} solver, "
          f"{result.optimization.evaluations} evaluations; "
          f"at most {memory():.2f} GB")  # fmt: skip
    print(result.summary())


if __name__ == "__main__":
    main()
