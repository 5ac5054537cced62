"""
Chicks: growth curves with splines
==================================

50 chicks on four diets were weighed every other day. Growth is no line: let a spline follow it,
and let each chick differ in level and slope.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, anova

data = pd.read_csv("../data/chicks.csv", dtype={"Chick": str, "Diet": str})
data["day"] = data["Time"].astype(float)
formula = "np.log(weight) ~ bs(day, df=4) * Diet + (day | Chick)"
result = MixedLM.from_formula(formula, data).fit()
result.anova()

# %%
# The logarithm of the weight, since a chick that is twice as heavy also varies twice as much. The
# diets' curves, on the scale of grams:

days = np.linspace(0, 21, 60)
figure, panels = plt.subplots(1, 4, figsize=(9, 3), sharey=True, layout="constrained")
for panel, diet in zip(panels, "1234"):
    for _, chick in data[data["Diet"] == diet].groupby("Chick"):
        panel.plot(chick["day"], chick["weight"], color="0.8", linewidth=0.8)
    grid = pd.DataFrame({"day": days, "Diet": diet})
    frame = result.get_prediction(grid, which="population").summary_frame()
    panel.fill_between(
        days, np.exp(frame["mean_ci_lower"]), np.exp(frame["mean_ci_upper"]), alpha=0.3
    )
    panel.plot(days, np.exp(frame["mean"]))
    panel.set(title=f"diet {diet}", xlabel="day", yscale="log")
panels[0].set_ylabel("weight (g)")
figure

# %%
# Ratios of the weights on the last day:

result.emmeans("Diet", at={"day": 21}, type="response").contrasts("trt.vs.ctrl", reference="1")

# %%
# Do the curves differ in shape, or only by a factor?

parallel = MixedLM.from_formula("np.log(weight) ~ bs(day, df=4) + Diet + (day | Chick)", data).fit()
anova(parallel, result)
