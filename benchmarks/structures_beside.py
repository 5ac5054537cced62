"""Seconds for models with covariance structures, beside R's nlme and glmmTMB in the same run.

    python benchmarks/structures_beside.py [REPEATS]

Needs ``Rscript`` with nlme and glmmTMB. Every model is fitted by REML from a data frame in memory:
once to warm up, then REPEATS times (5); medians are shown, and how far the criterion of R's fit is
above this package's. Each model runs here and in R one after the other. A peer that fails has no
number. Data are those of the tests.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, datasets

DATA = Path(__file__).parents[1] / "tests" / "data"


@dataclass
class Case:
    """A model here and in R.

    Attributes
    ----------
    data : str
        A data set of the package, or a file of the tests.
    formula : str
    peers : dict of str to str
        The call in R by package; the data are called d there.
    structure : dict
        Arguments of `from_formula`.
    """

    data: str
    formula: str
    peers: dict[str, str]
    structure: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The model in a line."""
        data = self.data.split("/")[-1].removesuffix(".csv")
        return ", ".join([f"{data}: {self.formula}", *self.structure.values()])


def _lme(fixed: str, **more: str) -> str:
    """Write a call of lme."""
    rest = "".join(f", {name} = {value}" for name, value in more.items())
    return f"lme({fixed}, d{rest})"


def _tmb(formula: str) -> str:
    """Write a call of glmmTMB."""
    return f"glmmTMB({formula}, d, REML = TRUE)"


GROWTH = "distance ~ age * Sex"
OWN = "residual/generated.csv"
CASES = [
    Case(
        "machines",
        "score ~ Machine + cs(0 + Machine | Worker, hom=True)",
        {"nlme": _lme("score ~ Machine", random="list(Worker = pdCompSymm(~ Machine - 1))")},
    ),
    Case(
        "machines",
        "score ~ Machine + cs(0 + Machine | Worker)",
        {"glmmTMB": _tmb("score ~ Machine + cs(0 + Machine | Worker)")},
    ),
    Case(
        "machines",
        "score ~ Machine + toep(0 + Machine | Worker)",
        {"glmmTMB": _tmb("score ~ Machine + toep(0 + Machine | Worker)")},
    ),
    Case(
        "sleepstudy",
        "Reaction ~ Days + ar1(0 + C(Days) | Subject)",
        {
            "nlme": "gls(Reaction ~ Days, d, correlation = corExp(form = ~ Days | Subject, "
            "nugget = TRUE))",
            "glmmTMB": _tmb("Reaction ~ Days + ar1(0 + factor(Days) | Subject)"),
        },
    ),
    Case(
        "structured/ar1_gap.csv",
        "y ~ time + ar1(0 + C(time, levels=range(1, 9)) | id)",
        {"glmmTMB": _tmb("y ~ time + ar1(0 + factor(time, levels = 1:8) | id)")},
    ),
    Case(
        "structured/ou.csv",
        "y ~ t + exp(0 + position(t) | id)",
        {
            "nlme": "gls(y ~ t, d, correlation = corExp(c(1.5, 0.3), form = ~ t | id, "
            "nugget = TRUE))",
            "glmmTMB": f"{{d$at <- numFactor(d$t); {_tmb('y ~ t + ou(0 + at | id)')}}}",
        },
    ),
    Case(
        "residual/ovary.csv",
        "follicles ~ sine + cosine + (1 | Mare)",
        {
            "nlme": _lme(
                "follicles ~ sine + cosine",
                random="~ 1 | Mare",
                correlation="corCAR1(0.0001, form = ~ Time)",
            )
        },
        {"correlation": "car1(Time | Mare)"},
    ),
    Case(
        "residual/orthodont.csv",
        f"{GROWTH} + (1 | Subject)",
        {
            "nlme": _lme(GROWTH, random="~ 1 | Subject", weights="varIdent(form = ~ 1 | Sex)"),
            "glmmTMB": f"glmmTMB({GROWTH} + (1 | Subject), d, REML = TRUE, dispformula = ~ Sex)",
        },
        {"variance": "Sex"},
    ),
    Case(
        OWN,
        "y ~ x + time + (1 | id)",
        {
            "nlme": _lme(
                "y ~ x + time", random="~ 1 | id", correlation="corAR1(0.5, form = ~ time | id)"
            )
        },
        {"correlation": "ar1(time | id)"},
    ),
    Case(
        OWN,
        "y ~ x + time + (1 | id)",
        {
            "nlme": _lme(
                "y ~ x + time",
                random="~ 1 | id",
                correlation="corAR1(0.5, form = ~ time | id)",
                weights="varComb(varIdent(form = ~ 1 | arm), varPower(form = ~ z))",
            )
        },
        {"correlation": "ar1(time | id)", "variance": "arm * power(z)"},
    ),
    Case(
        "residual/bodyweight.csv",
        "weight ~ Time * C(Diet) + (Time | Rat)",
        {
            "nlme": _lme(
                "weight ~ Time * factor(Diet)",
                random="~ Time | Rat",
                correlation="corCAR1(0.7, form = ~ Time)",
            )
        },
        {"correlation": "car1(Time | Rat)"},
    ),
]

_R = """
suppressMessages(library({package})); d <- read.csv("{path}")
for (v in c("Subject", "Worker", "id", "Mare", "Rat", "Machine", "Sex", "arm"))
  if (v %in% names(d)) d[[v]] <- factor(d[[v]])
f <- function() suppressWarnings({call}); m <- f()
s <- sapply(1:{repeats}, function(i) system.time(f(), gcFirst = FALSE)[["elapsed"]])
cat(median(s), format(-2 * as.numeric(logLik(m)), digits = 15))
"""


def frame_of(case: Case) -> pd.DataFrame:
    """Return the data."""
    if case.data.endswith(".csv"):
        frame = pd.read_csv(DATA / case.data)
        if "Mare" in frame:
            angle = 2 * np.pi * frame["Time"]
            frame = frame.assign(sine=np.sin(angle), cosine=np.cos(angle))
        return frame
    own: pd.DataFrame = getattr(datasets, case.data).load_pandas().data
    return own


def here(case: Case, data: pd.DataFrame, repeats: int) -> tuple[float, float]:
    """Return the median of the seconds of a fit, and its criterion."""
    seconds, objective = [], 0.0
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            objective = MixedLM.from_formula(case.formula, data, **case.structure).fit().objective
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), float(objective)


def in_r(package: str, call: str, path: Path, repeats: int) -> tuple[float, float] | None:
    """Return the same of a fit in R, None if it fails."""
    code = _R.format(package=package, path=path, call=call, repeats=repeats)
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(done.stderr.strip().splitlines()[-1:], file=sys.stderr)
        return None
    seconds, objective = map(float, done.stdout.split())
    return seconds, objective


def main() -> None:
    """Print a line for each model and peer."""
    if shutil.which("Rscript") is None:
        sys.exit("Rscript is not on the path: there is nothing to compare with.")
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{'here':>8} {'R':>8} {'ratio':>6} {'R above':>9}  model")
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            data, path = frame_of(case), Path(folder) / "d.csv"
            data.to_csv(path, index=False)
            for package, call in case.peers.items():
                own = here(case, data, repeats)
                peer = in_r(package, call, path, repeats)
                if peer is None:
                    print(f"{own[0]:8.4f} {'fails':>8} {'':16}  {case.name}, {package}")
                    continue
                ratio, above = peer[0] / own[0], peer[1] - own[1]
                line = f"{own[0]:8.4f} {peer[0]:8.4f} {ratio:6.1f} {above:9.1e}"
                print(f"{line}  {case.name}, {package}", flush=True)


if __name__ == "__main__":
    main()
