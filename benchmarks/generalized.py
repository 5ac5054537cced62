"""Generalized models: seconds here and, if R is there, by lme4's glmer and by glmmTMB.

    python benchmarks/generalized.py               # VerbAgg, grouseticks, contraception, toenail
    python benchmarks/generalized.py crossed       # also 100,000 rows, 2,000 persons by 200 items
    python benchmarks/generalized.py many          # 10,000 negative-binomial fits of one design
    python benchmarks/generalized.py --no-r

Data are those of tests/data/glmm. Every program runs with one thread of linear algebra, one after
the other in the same run; times are seconds of the processor for the fit with standard errors, the
better of two for this package, one run of R. `objective` is -2 log-likelihood: that of lme4 may be
above the optimum. `many` fits 10,000 genes, negative binomial, on one design with donors and
library sizes; single fits, glmmTMB and glmer.nb get 20 of them that have counts in 20 cells.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS)]

NAMES = ("verbagg", "grouseticks", "contraception_slope", "toenail", "epil_nbinom2")
R_FORMULAS = {
    "verbagg": "r01 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
    "grouseticks": "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
    "contraception_slope": "use01 ~ age + I(age^2) + urban + livch + (urban | district)",
    "toenail": "severe ~ treatment * time + (1 | patientID)",
    "epil_nbinom2": "y ~ lbase * trt + lage + V4 + (1 | subject)",
    "crossed": "y ~ x + f + (1 | s) + (1 | i)",
}
R_FAMILIES = {"grouseticks": "poisson", "epil_nbinom2": "nbinom2"}
R_SCRIPT = """
suppressMessages({library(lme4); library(glmmTMB)})
d <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
for (name in c("YEAR", "BROOD", "INDEX", "LOCATION", "district", "patientID", "s", "i", "id"))
  if (name %in% names(d)) d[[name]] <- factor(d[[name]])
f <- as.formula(commandArgs(TRUE)[2]); fam <- commandArgs(TRUE)[3]
say <- function(who, fit) {
  t <- system.time(m <- tryCatch(suppressWarnings(fit()), error = function(e) NULL))[["user.self"]]
  cat(who, t, if (is.null(m)) NA else format(-2 * as.numeric(logLik(m)), digits = 12), "\\n")
}
if (fam == "nbinom2") say("glmer", function() suppressMessages(glmer.nb(f, d))) else
  say("glmer", function() suppressMessages(glmer(f, d, family = fam)))
say("glmmTMB", function() glmmTMB(f, d, family = fam))
"""


def crossed(n: int = 100_000, persons: int = 2000, items: int = 200) -> pd.DataFrame:
    """Return answers of persons to items, neither nested nor all combined."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "s": rng.integers(0, persons, n),
            "i": rng.integers(0, items, n),
            "x": rng.normal(size=n).round(3),
            "f": rng.choice(list("abc"), n),
        }
    )
    eta = 0.3 + 0.5 * frame["x"] + frame["f"].map({"a": 0.0, "b": 0.4, "c": -0.3})
    eta = (
        eta + 0.9 * rng.normal(size=persons)[frame["s"]] + 0.6 * rng.normal(size=items)[frame["i"]]
    )
    frame["y"] = rng.binomial(1, 1.0 / (1.0 + np.exp(-eta)))
    return frame


def single_cell(genes: int, donors: int = 16, cells: int = 20) -> tuple[pd.DataFrame, np.ndarray]:
    """Return cells of donors, half of them treated, with library sizes, and counts of genes."""
    rng = np.random.default_rng(3)
    donor = np.repeat(np.arange(donors), cells)
    frame = pd.DataFrame({"donor": donor, "treated": (donor % 2).astype(float)})
    frame["library"] = np.exp(rng.normal(9.0, 0.4, donors * cells))
    level, effect = rng.normal(-9.0, 1.5, genes), 0.3 * rng.normal(size=genes)
    mu = np.exp(level + effect * frame["treated"].to_numpy()[:, None])
    mu *= frame["library"].to_numpy()[:, None]
    sd = 0.4 * rng.uniform(size=genes)
    mu *= np.exp(sd * rng.normal(size=(donors, genes)))[donor]
    size = np.exp(rng.normal(0.7, 0.8, genes))
    return frame, rng.poisson(rng.gamma(size, mu / size)).astype(float)


def many_genes(genes: int, with_r: bool, sample: int = 20) -> None:
    """Print the seconds of fits of many genes on one design, and of single fits."""
    import statsmodels.api as sm

    from mixedlm_ext import MixedGLM

    frame, Y = single_cell(genes)
    family = sm.families.NegativeBinomial(alpha=1.0)
    formula = "y ~ treated + (1 | donor)"
    most = int(np.argmax(Y.sum(axis=0)))
    model = MixedGLM.from_formula(formula, frame.assign(y=Y[:, most]), family, exposure="library")
    seconds, found = {}, {}
    for jobs in (1, 2):
        processor, wall = time.process_time(), time.perf_counter()
        found[jobs] = model.fit_many(Y, n_jobs=jobs)
        seconds[jobs] = (time.process_time() - processor, time.perf_counter() - wall)
    fits = found[1]
    reasons = fits.failures.str.extract(r"(constant|separate|level)", expand=False)
    print(f"{genes:,} genes, {len(frame)} cells of {frame['donor'].nunique()} donors")
    print(f"one process:   {seconds[1][0]:.1f} s of the processor, {seconds[1][1]:.1f} s, "
          f"{1000 * seconds[1][0] / genes:.2f} ms a gene")  # fmt: skip
    print(f"two processes: {seconds[2][1]:.1f} s")
    print(f"without an estimate: {len(fits.failures)} {reasons.value_counts().to_dict()}")
    usual = np.flatnonzero((Y > 0).sum(axis=0) >= 20)
    chosen = np.random.default_rng(1).choice(usual, sample, replace=False)
    start, llf = time.process_time(), []
    for j in chosen:
        own = frame.assign(y=Y[:, j])
        llf.append(MixedGLM.from_formula(formula, own, family, exposure="library").fit().llf)
    each = 1000 * (time.process_time() - start) / sample
    off = np.abs(np.array(llf) - fits.llf.iloc[chosen]).max()
    print(f"{sample} single fits: {each:.0f} ms a gene, log-likelihoods within {off:.1e}")
    if with_r:
        _genes_in_r(frame, Y[:, chosen], fits.llf.iloc[chosen].to_numpy())


R_GENES = """
suppressMessages({library(lme4); library(glmmTMB)})
d <- read.csv(commandArgs(TRUE)[1]); d$donor <- factor(d$donor)
for (g in grep("^gene", names(d), value = TRUE)) {
  d$y <- d[[g]]
  f <- y ~ treated + (1 | donor) + offset(log(library))
  say <- function(who, fit) {
    t <- system.time(m <- tryCatch(suppressMessages(suppressWarnings(fit())), error = function(e)
      NULL))
    cat(who, sum(t[1:2]), if (is.null(m)) NA else format(as.numeric(logLik(m)), digits = 12), "\\n")
  }
  say("glmmTMB", function() glmmTMB(f, d, family = nbinom2))
  say("glmer.nb", function() glmer.nb(f, d))
}
"""


def _genes_in_r(frame: pd.DataFrame, Y: np.ndarray, llf: np.ndarray) -> None:
    """Print the seconds of glmmTMB and glmer.nb a gene, and how far their likelihoods are off."""
    names = [f"gene{j}" for j in range(Y.shape[1])]
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "d.csv", Path(folder) / "fit.R"
        frame.join(pd.DataFrame(Y, columns=names)).to_csv(path, index=False)
        script.write_text(R_GENES)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = ["Rscript", str(script), str(path)]
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line.split() for line in run.stdout.splitlines()]
    for who in ("glmmTMB", "glmer.nb"):
        own = [(float(t), float(value)) for name, t, value in lines if name == who]
        times, values = np.array(own).T
        below = llf - values
        print(f"{who}: {1000 * times.mean():.0f} ms a gene; log-likelihood below by "
              f"{np.nanmedian(below):.1e}, at most {np.nanmax(below):.1e}")  # fmt: skip


def own_fit(name: str, frame: pd.DataFrame | None) -> tuple[float, Any]:
    """Return the better of two times, and the result."""
    import statsmodels.api as sm
    from glmm_reference import MODELS, table

    from mixedlm_ext import MixedGLM

    if name == "crossed":
        formula, data, family = R_FORMULAS[name], frame, sm.families.Binomial()
    else:
        formula, source, family, _ = MODELS[name]
        data = table(source)
    times, result = [], None
    for _ in range(2):
        start = time.process_time()
        result = MixedGLM.from_formula(formula, data, family=family).fit()
        times.append(time.process_time() - start)
    return min(times), result


def r_fits(name: str, frame: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return seconds and objective of glmer and glmmTMB."""
    with tempfile.TemporaryDirectory() as folder:
        path, script = Path(folder) / "d.csv", Path(folder) / "fit.R"
        frame.to_csv(path, index=False)
        script.write_text(R_SCRIPT)
        family = R_FAMILIES.get(name, "binomial")
        command = ["Rscript", str(script), str(path), R_FORMULAS[name], family]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    out = {}
    for line in run.stdout.splitlines():
        who, seconds, objective = line.split()
        out[who] = (float(seconds), float(objective))
    return out


def main() -> None:
    """Print a line for each model and program."""
    from glmm_reference import MODELS, table

    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", help="crossed, many, or models of the list")
    parser.add_argument("--no-r", action="store_true", help="this package alone")
    parser.add_argument("--genes", type=int, default=10_000, help="of `many`")
    options = parser.parse_args()
    with_r = not options.no_r and shutil.which("Rscript") is not None
    if "many" in options.names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            many_genes(options.genes, with_r)
        options.names.remove("many")
        if not options.names:
            return
    names = [*NAMES, *options.names] if "crossed" in options.names else options.names or NAMES
    print(f"{'model':20} {'program':12} {'seconds':>8} {'times':>7}  objective")
    for name in names:
        frame = crossed() if name == "crossed" else table(MODELS[name][1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, result = own_fit(name, frame)
        count = f"{result.optimization.evaluations} evaluations"
        print(
            f"{name:20} {'mixedlm_ext':12} {seconds:8.3f} {'':7}  {result.objective:.6f}  {count}"
        )
        for who, (other, objective) in (r_fits(name, frame) if with_r else {}).items():
            print(f"{'':20} {who:12} {other:8.3f} {other / seconds:7.1f}  {objective:.6f}")


if __name__ == "__main__":
    main()
