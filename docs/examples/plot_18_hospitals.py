"""
Three hospitals that share no rows
==================================

Three hospitals measured the same outcome in patients of their doctors. Rows may not leave a
hospital; sums of them may. Each hospital writes its cross-products to a file, and the fit of the
sum is the fit of all patients.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, Summary, combine, plots, summarize

rng = np.random.default_rng(20)


def patients(hospital: str, doctors: int, each: int, level: float) -> pd.DataFrame:
    """Draw the rows of a hospital."""
    doctor = np.repeat(np.arange(doctors), each)
    age = rng.normal(50, 10, len(doctor))
    treated = rng.integers(0, 2, len(doctor))
    effects = rng.normal(0, 1.5, doctors)
    y = level + effects[doctor] + 0.1 * age - 1.2 * treated + rng.normal(0, 2, len(doctor))
    names = [f"{hospital} {d + 1}" for d in doctor]
    return pd.DataFrame(
        {"hospital": hospital, "doctor": names, "age": age, "treated": treated, "y": y}
    )


hospitals = {
    "north": patients("north", 12, 9, 100.0),
    "east": patients("east", 7, 15, 104.0),
    "west": patients("west", 20, 6, 101.5),
}

# %%
# At each hospital. A doctor with fewer than five patients would be refused.

folder = Path(tempfile.mkdtemp())
formula = "y ~ age + treated + (1 | hospital) + (1 | doctor)"
for name, data in hospitals.items():
    summarize(formula, data, min_count=5).save(folder / f"{name}.npz")

# %%
# Where the files are collected.

total = combine(*sorted(folder.glob("*.npz")))
total

# %%

result = MixedLM.from_summary(total).fit()
print(result.summary())

# %%
# The rows of all patients together, which nobody has outside this example, give the same:

pooled = MixedLM.from_formula(formula, pd.concat(hospitals.values())).fit()
result.objective - pooled.objective

# %%
# Random effects of hospitals and doctors are there without their rows.

plots.caterpillar(result, "doctor")

# %%
# One hospital withdraws: its sums are subtracted, and its doctors are gone.

left = total - Summary.load(folder / "east.npz")
MixedLM.from_summary(left).fit().n_groups
