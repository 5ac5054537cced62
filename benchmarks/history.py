"""Measure this package's fits and compare them with what was measured before.

::

    python benchmarks/history.py                        # against the last stored on this machine
    python benchmarks/history.py sleepstudy insteval2   # some problems only
    python benchmarks/history.py --store                # and add the numbers to history.csv

``history.csv`` beside this file has a line for each problem and day: seconds (medians over
processes), evaluations of the criterion, and the criterion that was reached. Seconds are compared
with lines of the same processor and number of threads only; evaluations and criteria with any.
The exit status is 1 if a fit was slower than the tolerance allows, needed more evaluations, or
ended at a higher criterion. "load" is the number of busy processes when the measurement began:
above the number of cores, the seconds say little.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from compare import Outcome, compare, cores, cpu
from problems import PROBLEMS

import mixedlm_ext

HISTORY = Path(__file__).with_name("history.csv")
QUICK = ("dyestuff", "sleepstudy", "penicillin", "pastes", "machines", "longitudinal_1e4")
CRITERION = 1e-6
"""How much higher than before the criterion may be."""


@dataclass(frozen=True)
class Measurement:
    """One line of the history.

    Parameters
    ----------
    date, commit, version : str
    machine : str
        Processor, cores and threads of linear algebra.
    load : float
    problem : str
    seconds : float
    evaluations : int
    objective : float
    """

    date: str
    commit: str
    version: str
    machine: str
    load: float
    problem: str
    seconds: float
    evaluations: int
    objective: float

    @classmethod
    def read(cls, line: dict[str, str]) -> Measurement:
        """Read a line of the file."""
        kinds = {"load": float, "seconds": float, "evaluations": int, "objective": float}
        return cls(**{name: kinds.get(name, str)(value) for name, value in line.items()})


def measure(names: Iterable[str], repeat: int, timeout: float) -> list[Measurement]:
    """Fit each problem in processes of its own."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    found = []
    for name in names:
        (outcome,) = compare(PROBLEMS[name], ["mixedlm_ext"], repeat, timeout)
        if outcome.failure:
            raise SystemExit(f"{name}: {outcome.failure}")
        found.append(_measurement(outcome, load))
    return found


def _measurement(outcome: Outcome, load: float) -> Measurement:
    """Return the line of one problem."""
    seconds = outcome.median("seconds")
    assert seconds is not None
    return Measurement(
        date=datetime.date.today().isoformat(),
        commit=_commit(),
        version=mixedlm_ext.__version__,
        machine=f"{cpu()}; {cores()} cores; {_threads()} threads",
        load=round(load, 2),
        problem=outcome.problem.name,
        seconds=float(f"{seconds:.4g}"),
        evaluations=int(outcome.last("evaluations")),
        objective=round(outcome.last("objective"), 6),
    )


def _threads() -> str:
    """Return how many threads of linear algebra the environment allows."""
    return os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or "all"


def _commit() -> str:
    """Return the commit of the checkout, if there is one."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, cwd=HISTORY.parent, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()


def read_history(path: Path = HISTORY) -> list[Measurement]:
    """Return the stored lines, oldest first."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Measurement.read(line) for line in csv.DictReader(file)]


def store(found: Sequence[Measurement], path: Path = HISTORY) -> None:
    """Add lines to the history."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        names = [field.name for field in fields(Measurement)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(asdict(one) for one in found)


def judge(now: Measurement, history: Sequence[Measurement], tolerance: float) -> tuple[str, bool]:
    """Compare one measurement with the last of its problem.

    Returns
    -------
    str
        A line of the table.
    bool
        Whether something became worse.
    """
    before = [one for one in history if one.problem == now.problem]
    alike = [one for one in before if one.machine == now.machine]
    remarks = []
    relative = ""
    if alike:
        ratio = now.seconds / alike[-1].seconds
        relative = f"{ratio:.2f}"
        remarks += ["slower"] if ratio > 1.0 + tolerance else []
    if before and now.evaluations > before[-1].evaluations:
        remarks.append(f"{before[-1].evaluations} evaluations before")
    if before and now.objective > before[-1].objective + CRITERION:
        remarks.append(f"criterion {before[-1].objective:.6f} before")
    cells = [
        now.problem, f"{now.seconds:.4g}", alike[-1].date if alike else "", relative,
        str(now.evaluations), ", ".join(remarks),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |", bool(remarks)


def main() -> int:
    """Measure, compare, print, store."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", default=QUICK, help="problems (see problems.py)")
    parser.add_argument("--repeat", type=int, default=5, help="processes for each problem")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one fit")
    parser.add_argument("--tolerance", type=float, default=0.05, help="how much slower is allowed")
    parser.add_argument("--store", action="store_true", help=f"add the numbers to {HISTORY.name}")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in PROBLEMS:
            parser.error(f"no problem {name!r}; there are {', '.join(PROBLEMS)}")
    history = read_history()
    found = measure(arguments.names, arguments.repeat, arguments.timeout)
    print(f"{found[0].machine}; load {found[0].load}\n")
    print("| problem | seconds | before | relative | evaluations | worse |")
    print("|:--|--:|:--|--:|--:|:--|")
    judged = [judge(one, history, arguments.tolerance) for one in found]
    print("\n".join(line for line, _ in judged))
    if arguments.store:
        store(found)
    return int(any(worse for _, worse in judged))


if __name__ == "__main__":
    sys.exit(main())
