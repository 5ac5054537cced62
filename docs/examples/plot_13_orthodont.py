"""
Orthodont: what a new child will do
===================================

A distance in the head of 27 children was measured at ages 8, 10, 12 and 14. What can be said
about a child that was not in the study, and what about one that was?
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, plots

data = pd.read_csv("../data/orthodont.csv")
data["years"] = data["age"] - 8
result = MixedLM.from_formula("distance ~ years * Sex + (years | Subject)", data).fit()
result.tidy()

# %%
# Predict age 16 for one boy of the study and for a boy and a girl who are new.

new = pd.DataFrame(
    {
        "years": [8, 8, 8],
        "Sex": ["Male", "Male", "Female"],
        "Subject": ["M10", "a new boy", "a new girl"],
    }
)
pd.concat([new, result.get_prediction(new).summary_frame()], axis=1)

# %%
# M10 is large for his age, and the model knows it: his interval lies higher and is shorter. The
# bands of a new boy and of M10:

years = np.linspace(0, 10, 50)
figure, panel = plt.subplots(figsize=(6, 3.6), layout="constrained")
for child, color in [("a new boy", "C0"), ("M10", "C1")]:
    grid = pd.DataFrame({"years": years, "Sex": "Male", "Subject": child})
    frame = result.get_prediction(grid).summary_frame()
    panel.fill_between(
        8 + years, frame["obs_ci_lower"], frame["obs_ci_upper"], alpha=0.25, color=color
    )
    panel.plot(8 + years, frame["mean"], color=color, label=child)
boy = data[data["Subject"] == "M10"]
panel.plot(boy["age"], boy["distance"], "o", color="C1")
panel.set(xlabel="age", ylabel="distance (mm)")
panel.legend()
figure

# %%
# Some children scatter more about their lines than others do. The check sees the long tails, the
# residuals of each child show whose they are.

result.check()

# %%
result.resid.groupby(data["Subject"]).std().nlargest(4)

# %%
plots.residuals(result)
