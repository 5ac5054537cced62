"""How long inference, simulation and prediction take once a model is fitted.

Run with ``python benchmarks/after_the_fit.py``: a Markdown table of medians.
``after_the_fit.R`` times some of it by lme4 and pbkrtest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

from mixedlm_ext import MixedLM, datasets

REPEAT = 3


def timed(action: Callable[[], object]) -> float:
    """Return the median seconds of a few runs."""
    seconds = []
    for _ in range(REPEAT):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def actions() -> dict[str, Callable[[], object]]:
    """Return what is timed, by name."""
    sleepstudy = datasets.sleepstudy.load_pandas().data
    penicillin = datasets.penicillin.load_pandas().data
    slopes = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy)
    crossed = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin).fit()
    result = slopes.fit()
    flat = MixedLM.from_formula("Reaction ~ 1 + (Days | Subject)", sleepstudy).fit()
    responses = result.simulate(10_000, rng=1)
    predictor = result.to_predictor()
    row = {"Days": [5], "Subject": ["308"]}
    return {
        "sleepstudy: Satterthwaite": lambda: result.with_ddf("satterthwaite").pvalues,
        "sleepstudy: Kenward-Roger": lambda: result.with_ddf("kenward-roger").pvalues,
        "sleepstudy: full profile": result.profile,
        "sleepstudy: 1,000 bootstraps": lambda: result.bootstrap(1000, rng=1),
        "penicillin: 1,000 bootstraps": lambda: crossed.bootstrap(1000, rng=1),
        "sleepstudy: 1,000 bootstraps of a likelihood ratio": lambda: result.compare_bootstrap(
            flat, 1000, rng=1
        ),
        "sleepstudy: 1,000 responses": lambda: slopes.fit_many(responses.iloc[:, :1000]),
        "sleepstudy: 10,000 responses": lambda: slopes.fit_many(responses),
        "sleepstudy: 18 refits without a subject": lambda: result.influence(refit=True),
        "sleepstudy: one row by the predictor": lambda: predictor.predict(row),
    }


def main() -> None:
    """Print the table."""
    print("| what | seconds |")
    print("|:--|--:|")
    for name, action in actions().items():
        print(f"| {name} | {timed(action):.4g} |")


if __name__ == "__main__":
    main()
