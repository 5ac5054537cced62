"""
A power study: how many people, how many days?
==============================================

A new study of sleep is planned, with two kinds of coffee. The fit of the old one says how much
people differ.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, datasets

old = MixedLM.from_formula(
    "Reaction ~ Days + (Days | Subject)", datasets.sleepstudy.load_pandas().data
).fit()
covariances = {"Subject": old.cov_re}
old.cov_re


# %%
# The plan: each person drinks one kind. The hope is that the other kind takes 4 ms a day away.


def plan(people, days):
    """Return a row for each measurement; the response is a placeholder."""
    rows = [(person, person % 2, day) for person in range(people) for day in range(days)]
    table = pd.DataFrame(rows, columns=["Subject", "other", "Days"])
    return table.assign(Reaction=np.arange(len(table)) % 7)


truth = {"Intercept": 250, "Days": 10.5, "other": 0, "Days:other": -4}
found = []
for days in (5, 10):
    for people in (20, 40, 60, 80):
        model = MixedLM.from_formula(
            "Reaction ~ Days * other + (Days | Subject)", plan(people, days)
        )
        power = model.power(
            "Days:other = 0", truth, covariances=covariances, sigma=old.sigma, n=300, rng=1
        )
        found.append((days, people, power.power, power.ci_lower, power.ci_upper))
table = pd.DataFrame(found, columns=["days", "people", "power", "low", "high"])
table.pivot(index="people", columns="days", values="power")

# %%
# Read each column downwards. With ten days about 80 people are needed for a power of 80 %. Five
# more days are worth more than twice the people, since a slope is known much better from ten days
# than from five.

figure, panel = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
for days, own in table.groupby("days"):
    panel.fill_between(own["people"], own["low"], own["high"], alpha=0.2)
    panel.plot(own["people"], own["power"], "o-", label=f"{days} days")
panel.axhline(0.8, color="0.6", linewidth=0.8)
panel.set(xlabel="people", ylabel="power", ylim=(0, 1))
panel.legend()
figure
