"""
Thousands of responses on one design
====================================

In omics thousands of features are measured on the same animals. The design is the same for all,
so they are fitted together. The features here are simulated, to know the truth: one in ten
differs between the groups.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from mixedlm_ext import MixedLM

animals, repeats, features = 24, 4, 4000
design = pd.DataFrame(
    [(a, "treated" if a % 2 else "control", r) for a in range(animals) for r in range(repeats)],
    columns=["animal", "group", "repeat"],
)
model = MixedLM.from_formula(
    "y ~ group + (1 | animal)", design.assign(y=np.arange(len(design)) % 5)
)
Y = model.simulate(
    {"Intercept": 0, "group[T.treated]": 0}, covariances={"animal": 0.1}, n=features, rng=1
)
changed = np.arange(features) % 10 == 0
Y.loc[design["group"] == "treated", Y.columns[changed]] += 0.9

start = time.perf_counter()
many = model.fit_many(Y)
print(f"{features} fits in {time.perf_counter() - start:.2f} seconds")
many.params.head()

# %%
# The two groups are compared between animals: 22 degrees of freedom, for every feature.

t = many.params["group[T.treated]"] / many.bse["group[T.treated]"]
p = 2 * stats.t.sf(t.abs(), animals - 2)
discovered = stats.false_discovery_control(p) < 0.05
pd.crosstab(pd.Series(changed, name="changed"), pd.Series(discovered, name="discovered"))

# %%
figure, panel = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
panel.plot(many.params["group[T.treated]"], -np.log10(p), ".", markersize=3, alpha=0.5)
panel.set(xlabel="difference", ylabel="-log10 p")
figure

# %%
# The share of features for which the variance between animals is estimated as exactly zero:

print((many.theta.iloc[:, 0] == 0).mean())
