"""
Meta-analysis: thirteen trials of a vaccine
===========================================

Each trial of the BCG vaccine gives a log risk ratio with a known variance. Random-effects
meta-analysis is a mixed model whose residual variances are known: ``weights=`` is one over the
variance and ``sigma=1`` says that nothing else is to be estimated.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM

data = pd.read_csv("../data/bcg.csv", dtype={"trial": str})
data["effect"] = np.log(data["tpos"] / (data["tpos"] + data["tneg"])) - np.log(
    data["cpos"] / (data["cpos"] + data["cneg"])
)
data["variance"] = (
    1 / data["tpos"]
    - 1 / (data["tpos"] + data["tneg"])
    + 1 / data["cpos"]
    - 1 / (data["cpos"] + data["cneg"])
)
data["precision"] = 1 / data["variance"]

result = MixedLM.from_formula("effect ~ 1 + (1 | trial)", data, weights="precision").fit(sigma=1)
print(result.summary())

# %%
# The mean log risk ratio is -0.71: vaccination halves the risk. The variance between trials, often
# called τ², is 0.31. metafor's ``rma(yi, vi)`` gives -0.7145 and 0.3132.
#
# The average risk ratio, and where the effect of a further trial would lie:

new = pd.DataFrame({"trial": ["another"]})
frame = result.get_prediction(new, weights=[1.0]).summary_frame()
average = result.conf_int().loc["Intercept"]
print("average    ", np.exp([average[0], average[1]]).round(2))
print("a new trial", np.exp(frame[["mean_ci_lower", "mean_ci_upper"]].to_numpy()[0]).round(2))

# %%
# The forest plot. Trials' own estimates are grey, those of the model blue.

own = data.assign(
    model=result.fittedvalues,
    low=data["effect"] - 1.96 * np.sqrt(data["variance"]),
    high=data["effect"] + 1.96 * np.sqrt(data["variance"]),
).sort_values("effect")
place = np.arange(len(own))
figure, panel = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
panel.hlines(place, own["low"], own["high"], color="0.7")
panel.plot(own["effect"], place, "s", color="0.6", markersize=5, label="trial")
panel.plot(own["model"], place, "o", color="C0", label="model")
panel.axvline(result.params["Intercept"], color="C0", linewidth=0.8)
panel.set_yticks(place, own["author"] + " " + own["year"].astype(str))
panel.set(xlabel="log risk ratio")
panel.legend(loc="lower right")
figure

# %%
# Farther from the equator the vaccine works better. Latitude explains most of the variance between
# trials.

by_latitude = MixedLM.from_formula("effect ~ ablat + (1 | trial)", data, weights="precision").fit(
    sigma=1
)
print(by_latitude.params, by_latitude.varcorr(), sep="\n\n")
