"""
Oats: a split plot with a dose
==============================

Three varieties of oats on the whole plots of six blocks, four doses of nitrogen on parts of the
plots. Yates analysed these data in 1935.
"""

import matplotlib.pyplot as plt

from mixedlm_ext import MixedLM, datasets

data = datasets.oats.load_pandas().data
data["dose"] = data["nitro"].astype(str)
result = MixedLM.from_formula("yield ~ dose * Variety + (1 | Block/Variety)", data).fit()
result.anova()

# %%
# Nitrogen matters. The varieties may be alike, and respond alike. How does yield follow the dose?

result.emmeans("dose").contrasts("poly")

# %%
# Up, and a little less with each step: the quadratic contrast is not clearly different from zero.

means = result.emmeans(["dose", "Variety"]).summary_frame().reset_index()
figure, panel = plt.subplots(figsize=(6, 3.5), layout="constrained")
for number, (variety, own) in enumerate(means.groupby("Variety", observed=True)):
    place = own["dose"].astype(float) + 0.012 * (number - 1)
    error = own["mean"] - own["mean_ci_lower"]
    panel.errorbar(place, own["mean"], error, fmt="o-", capsize=3, label=variety)
panel.set(xlabel="nitrogen (cwt per acre)", ylabel="yield")
panel.legend()
figure

# %%
# A line for all varieties is enough to report:

line = MixedLM.from_formula("yield ~ nitro + Variety + (1 | Block/Variety)", data).fit()
line.tidy("fixed", conf_int=True)
