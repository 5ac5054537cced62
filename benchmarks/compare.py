"""Compare this package with statsmodels' own MixedLM, R's lme4 and others on the same problems.

::

    python benchmarks/compare.py               # the problems that take everyone seconds at most
    python benchmarks/compare.py crossed_1e5 maximal --repeat 3 --timeout 900 --output table.md
    python benchmarks/compare.py all           # everything; takes hours because of the peers
    python benchmarks/compare.py sleepstudy --only mixedlm_ext,lme4

Every repetition runs in a process of its own, the packages in turn (A B C A B C ...). Timed is what
lies between a data frame in memory and a fitted result. The first fit of a process warms it up; if
it took more than 5 seconds, for whichever package, its own time counts. Memory is that of the first
fit; "above data" is the peak during it less what the process held before, and contains what
lazy imports (and, in R, garbage not yet collected) take. "relative" is to the first package named,
"above best" to the lowest objective that any of them reached. A package that is missing is left out
and the report says so. lme4 needs ``Rscript`` on the path; mixedlm, lme_python and mixedlm_rs are
packages of these names on PyPI. All fit by the criterion that the problem names, REML or ML; but
gpboost, also of PyPI, knows ML only and has random intercepts here: the likelihood at its variances
is compared with the optimum, which this package finds when the clock has stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from problems import PROBLEMS, Problem

from mixedlm_ext.language import parse_formula

PACKAGES = ("mixedlm_ext", "statsmodels", "lme4", "mixedlm", "lme_python", "mixedlm_rs", "gpboost")
WARM_BELOW = 5.0
"""Seconds of a first fit below which a second one is timed instead."""

_HERE = Path(__file__).parent
_R_VERSIONS = (
    'cat(R.version.string, ", lme4 ", format(packageVersion("lme4")), ", ", '
    'basename(extSoftVersion()[["BLAS"]]), sep = "")'
)


@dataclass
class Outcome:
    """What the fits of one problem by one package gave.

    Parameters
    ----------
    problem : Problem
    package : str
    reports : list of dict
        One for each process that finished.
    failure : str
        Why there are no more of them.
    """

    problem: Problem
    package: str
    reports: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""

    def median(self, key: str) -> float | None:
        """Return the median over the processes, None if nothing was measured."""
        values = [r[key] for r in self.reports if r[key] is not None]
        return statistics.median(values) if values else None

    def last(self, key: str) -> Any:
        """Return what the last process reported, None if it did not."""
        return self.reports[-1].get(key) if self.reports else None

    @property
    def criterion(self) -> str:
        """What was minimized, "REML" or "ML"."""
        return self.last("criterion") or ("REML" if self.problem.reml else "ML")

    @property
    def note(self) -> str:
        """What a reader of the numbers has to know."""
        notes = [self.failure] if self.failure else []
        if self.criterion != ("REML" if self.problem.reml else "ML"):
            notes.append(f"by {self.criterion}")
        if self.last("converged") is False:
            notes.append("reports no convergence")
        if self.last("singular"):
            notes.append("singular")
        return ", ".join(notes)


# --- one process -----------------------------------------------------------------------------


def write_task(problem: Problem, directory: Path, csv: bool) -> dict[str, Any]:
    """Write a problem for the processes to read.

    Parameters
    ----------
    problem : Problem
    directory : Path
    csv : bool
        Whether R will read the data too.

    Returns
    -------
    dict
        The task, as in the file ``task.json`` of the directory.
    """
    data = problem.data()
    data.to_pickle(directory / "data.pickle")
    if csv:
        data.to_csv(directory / "data.csv", index=False)
    terms = problem.statsmodels
    task = {
        "data": str(directory / "data.pickle"),
        "formula": problem.formula,
        "fixed": parse_formula(problem.formula).fixed,
        "reml": problem.reml,
        "statsmodels": None if terms is None else dataclasses.asdict(terms),
        "factors": [c for c in data if not pd.api.types.is_numeric_dtype(data[c])],
        "warm_below": WARM_BELOW,
    }
    (directory / "task.json").write_text(json.dumps(task))
    return task


def command(package: str, task: dict[str, Any], directory: Path, report: Path) -> list[str]:
    """Return the command line of the process that fits `task` with `package`."""
    if package != "lme4":
        script, files = _HERE / "run_one.py", [directory / "task.json", report]
        return [sys.executable, str(script), package, *map(str, files)]
    return [
        "Rscript",
        str(_HERE / "run_lme4.R"),
        str(directory / "data.csv"),
        ",".join(task["factors"]),
        task["formula"].replace("**", "^"),
        str(task["reml"]),
        str(task["warm_below"]),
        str(report),
    ]


def run(outcome: Outcome, task: dict[str, Any], directory: Path, timeout: float) -> None:
    """Fit in a new process and add its report to `outcome`, or why there is none.

    The clock of the timeout starts when the process has its data. It stops late enough for a second
    fit after a warm-up, so a fit that is stopped has had more than its time.
    """
    report, errors = directory / "report.json", directory / "errors.txt"
    report.unlink(missing_ok=True)
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            command(outcome.package, task, directory, report),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            try:
                process.wait(timeout + WARM_BELOW)
            except subprocess.TimeoutExpired:
                process.kill()
                outcome.failure = f"over {timeout:g} s"
                return
    if process.returncode or not report.exists():
        lines = errors.read_text().strip().splitlines()
        outcome.failure = "failed: " + (lines[-1] if lines else f"exit code {process.returncode}")
        return
    result = json.loads(report.read_text())
    if result["seconds"] > timeout:
        outcome.failure = f"over {timeout:g} s"
    else:
        outcome.reports.append(result)


# --- one problem -----------------------------------------------------------------------------


def compare(
    problem: Problem, packages: Sequence[str], repeat: int, timeout: float
) -> list[Outcome]:
    """Fit one problem with each package that can state it, in turn.

    Parameters
    ----------
    problem : Problem
    packages : sequence of str
    repeat : int
        Processes for each package.
    timeout : float
        Seconds for one fit.

    Returns
    -------
    list of Outcome
    """
    able = [p for p in packages if can_state(p, problem)]
    outcomes = [Outcome(problem, package) for package in able]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        task = write_task(problem, directory, csv="lme4" in able)
        for turn in range(repeat):
            for outcome in outcomes:
                if not outcome.failure:
                    run(outcome, task, directory, timeout)
                    _progress(outcome, turn)
    return outcomes


def can_state(package: str, problem: Problem) -> bool:
    """Say whether a package has a way to write the model down, with matrices worth trying."""
    terms = problem.statsmodels
    if package == "mixedlm_rs":
        return terms is not None and terms.groups is not None
    if package == "gpboost":
        return all(term.expr == "1" for term in parse_formula(problem.formula).random)
    return package != "statsmodels" or terms is not None


def installed(package: str) -> bool:
    """Say whether a package is there to be measured."""
    return importlib.util.find_spec(package) is not None


def _progress(outcome: Outcome, turn: int) -> None:
    """Say on stderr what has just been measured."""
    text = outcome.failure or f"{outcome.reports[-1]['seconds']:.4g} s"
    print(f"{outcome.problem.name} {turn + 1} {outcome.package}: {text}", file=sys.stderr)


# --- the report ------------------------------------------------------------------------------


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the Markdown table of outcomes, grouped by problem."""
    header = (
        "| problem | rows | package | seconds | relative | peak MB | above data MB "
        "| objective | above best | evaluations | note |"
    )
    rule = "|:--|--:|:--|--:|--:|--:|--:|--:|--:|--:|:--|"
    names = dict.fromkeys(o.problem.name for o in outcomes)
    groups = [[o for o in outcomes if o.problem.name == name] for name in names]
    return "\n".join([header, rule, *(line for group in groups for line in _lines(group))])


def _lines(group: Sequence[Outcome]) -> list[str]:
    """Return the lines of one problem."""
    base = group[0].median("seconds")
    reached: dict[str, list[float]] = {}
    for outcome in group:
        found = (outcome.last("objective"), outcome.last("optimum"))
        reached.setdefault(outcome.criterion, []).extend(v for v in found if v is not None)
    best = {criterion: min(values, default=None) for criterion, values in reached.items()}
    return [_line(o, base, best[o.criterion], first=o is group[0]) for o in group]


def _line(outcome: Outcome, base: float | None, best: float | None, first: bool) -> str:
    """Return the line of one package, given the first one's time and the lowest objective."""
    seconds, peak, above = (outcome.median(key) for key in ("seconds", "peak", "above"))
    objective, evaluations = outcome.last("objective"), outcome.last("evaluations")
    times = seconds / base if seconds is not None and base else None
    cells = [
        outcome.problem.name if first else "",
        f"{outcome.problem.rows:,}" if first else "",
        outcome.package,
        _cell(seconds, ".3g") if seconds is not None or not outcome.failure else outcome.failure,
        _cell(times, ".3g"),
        _cell(None if peak is None else peak / 1e6, ".0f"),
        _cell(None if above is None else above / 1e6, ".1f"),
        _cell(objective, ".6f"),
        _cell(None if objective is None or best is None else objective - best, ".1e"),
        _cell(evaluations, ".0f"),
        outcome.note if seconds is not None else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _cell(value: float | None, form: str) -> str:
    """Return a number as text, "-" if there is none."""
    return "-" if value is None else format(value, form)


def circumstances(measured: Sequence[str], r_versions: str | None, repeat: int) -> str:
    """Return machine, versions and date as Markdown."""
    peers = [p for p in measured if p not in ("mixedlm_ext", "statsmodels", "lme4")]
    packages = ("mixedlm_ext", "statsmodels", *peers, "numpy", "scipy", "pandas")
    versions = [f"Python {platform.python_version()}", *map(_version, packages)]
    threads = [f"{k}={v}" for k, v in os.environ.items() if k.endswith("_NUM_THREADS")]
    return "\n".join(
        [
            f"- Machine: {cores()} cores, {cpu()}, {platform.system()}"
            + (f"; {', '.join(threads)}" if threads else ""),
            f"- Versions: {', '.join(versions)}",
            f"- R: {r_versions or 'not used'}",
            f"- Date: {datetime.date.today().isoformat()}",
            f"- Seconds and memory: medians over {repeat} processes for each package.",
        ]
    )


def _version(package: str) -> str:
    """Return name and version of a package."""
    own = getattr(importlib.import_module(package), "__version__", None)
    return f"{package} {own or importlib.metadata.version(package)}"


def cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu() -> str:
    """Return the model of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def r_versions() -> str | None:
    """Return the versions of R and lme4, None if one of them is missing."""
    if shutil.which("Rscript") is None:
        return None
    result = subprocess.run(["Rscript", "-e", _R_VERSIONS], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else None


def left_out(problems: Sequence[Problem], wanted: Sequence[str], measured: Sequence[str]) -> str:
    """Return, as Markdown, which packages are not in the table and why."""
    lines = []
    if "lme4" in wanted and "lme4" not in measured:
        lines.append("- lme4 is left out: there is no Rscript with lme4 on the path.")
    absent = [p for p in wanted if p not in measured and p != "lme4"]
    if absent:
        lines.append(f"- Not installed, and left out: {', '.join(absent)}.")
    unable = [p.name for p in problems if p.statsmodels is None]
    if "statsmodels" in wanted and unable:
        lines.append(
            "- statsmodels' own MixedLM is left out of "
            + ", ".join(unable)
            + ": it states crossed factors only as one group of all rows with dense matrices, "
            "without correlated slopes."
        )
    return "\n".join(lines)


# --- command line ----------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("names", nargs="*", help="problems (see problems.py), or all")
    parser.add_argument("--repeat", type=int, default=5, help="processes for each package")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one fit")
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument(
        "--only", type=partial(str.split, sep=","), default=list(PACKAGES), help="packages"
    )
    arguments = parser.parse_args()
    full_size = [p for p in PROBLEMS.values() if not p.name.endswith("_small")]
    if not arguments.names:
        arguments.names = [p.name for p in full_size if not p.heavy]
    elif arguments.names == ["all"]:
        arguments.names = [p.name for p in full_size]
    for kind, given, known in (
        ("problem", arguments.names, PROBLEMS),
        ("package", arguments.only, PACKAGES),
    ):
        for name in given:
            if name not in known:
                parser.error(f"no {kind} {name!r}; there are {', '.join(known)}")
    if arguments.repeat < 1:
        parser.error("--repeat must be 1 or more")
    return arguments


def main() -> None:
    """Run the comparison and print it."""
    arguments = parse_arguments()
    problems = [PROBLEMS[name] for name in arguments.names]
    versions = r_versions() if "lme4" in arguments.only else None
    packages = [p for p in arguments.only if (versions if p == "lme4" else installed(p))]
    outcomes = []
    for problem in problems:
        outcomes += compare(problem, packages, arguments.repeat, arguments.timeout)
    parts = [
        circumstances(packages, versions, arguments.repeat),
        table(outcomes),
        left_out(problems, arguments.only, packages),
    ]
    text = "\n\n".join(part for part in parts if part)
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
