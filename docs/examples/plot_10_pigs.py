"""
Pigs: a longitudinal trial
==========================

72 pigs from 21 litters were fed with three doses of vitamin E and three of copper, and weighed in
twelve weeks. Does the feed change how fast they grow?
"""

import pandas as pd

from mixedlm_ext import MixedLM, anova, plots

data = pd.read_csv("../data/dietox.csv", dtype={"Pig": str, "Litter": str})
data["week"] = data["Time"] - 1
data.groupby(["Evit", "Cu"])["Pig"].nunique().unstack()

# %%
# Every pig has its own line. Pigs of one litter are alike.

line = "Weight ~ week * (Evit + Cu) + (week | Litter/Pig)"
result = MixedLM.from_formula(line, data).fit()
result.anova()

# %%
# The question of the trial is whether the slopes differ: the terms ``week:Evit`` and ``week:Cu``.
# They do not, here. The slopes in kilograms a week:

result.emtrends("Evit", "week").summary_frame()

# %%
# Growth is not quite a line. A curve of the third degree for the mean fits much better, and the
# answer stays the same.

curve = MixedLM.from_formula(
    "Weight ~ (week + I(week**2) + I(week**3)) * (Evit + Cu) + (week | Litter/Pig)", data
).fit()
anova(result, curve)

# %%
plots.residuals(curve)

# %%
# Means at the end of the trial, compared with the feed without vitamin:

curve.emmeans("Evit", at={"week": 11}).contrasts("trt.vs.ctrl", reference="Evit000")
