"""Generalized models: seconds here and, if R is there, by lme4's glmer and by glmmTMB.

    python benchmarks/generalized.py               # VerbAgg, grouseticks, contraception, toenail
    python benchmarks/generalized.py crossed       # also 100,000 rows, 2,000 persons by 200 items
    python benchmarks/generalized.py many          # 10,000 negative-binomial fits of one design
    python benchmarks/generalized.py --no-r

Data are those of tests/data/glmm. Every program runs with one thread of linear algebra, one after
the other in the same run; times are seconds of the processor for the fit with standard errors, the
better of two for this package, one run of R. `objective` is -2 log-likelihood: that of lme4 may be
above the optimum. `many` fits 10,000 genes, negative binomial, on one design.
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


def many_genes(genes: int = 10_000, donors: int = 12, cells: int = 20) -> None:
    """Print the seconds of negative-binomial fits of many genes on one design."""
    import statsmodels.api as sm

    from mixedlm_ext import MixedGLM

    rng = np.random.default_rng(3)
    n = donors * cells
    donor = np.repeat(np.arange(donors), cells)
    frame = pd.DataFrame({"donor": donor, "treated": np.tile([0.0, 1.0], n // 2)})
    level = rng.normal(1.0, 1.0, genes)
    mu = np.exp(level + 0.2 * frame["treated"].to_numpy()[:, None])
    mu = mu * np.exp(0.4 * rng.normal(size=(donors, genes)))[donor]
    Y = rng.poisson(rng.gamma(2.0, mu / 2.0)).astype(float)
    frame["y"] = Y[:, 0]
    family = sm.families.NegativeBinomial(alpha=1.0)
    model = MixedGLM.from_formula("y ~ treated + (1 | donor)", frame, family=family)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = model.fit_many(Y)
    seconds = time.process_time() - start
    lost = int((~found.converged).sum())
    each = f"{1000 * seconds / genes:.1f} ms each"
    print(f"{genes:,} genes, {n} cells: {seconds:.1f} seconds, {each}, {lost} not converged")


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
    options = parser.parse_args()
    with_r = not options.no_r and shutil.which("Rscript") is not None
    if "many" in options.names:
        many_genes()
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
