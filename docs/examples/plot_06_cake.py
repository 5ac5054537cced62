"""
Cake: a split plot
==================

Three recipes of chocolate cake, six temperatures of the oven. A batch of batter of one recipe was
divided into six cakes, one for each temperature. So recipes were compared between batches,
temperatures within.
"""

from mixedlm_ext import MixedLM, anova, datasets, plots

data = datasets.cake.load_pandas().data
result = MixedLM.from_formula("angle ~ recipe * temperature + (1 | recipe:replicate)", data).fit()
result.anova()

# %%
# The denominator's degrees of freedom show the two strata: 42 for recipes, 210 for temperatures.
# Nobody had to name them.
#
# Temperature matters. Is its effect a straight line?

line = MixedLM.from_formula("angle ~ recipe + temp + (1 | recipe:replicate)", data).fit()
full = MixedLM.from_formula("angle ~ recipe + temperature + (1 | recipe:replicate)", data).fit()
anova(line, full)

# %%
# Four more parameters do not help: the line will do. Polynomial contrasts say the same.

full.emmeans("temperature").contrasts("poly")

# %%
# Degrees more of the oven, degrees more of the angle:

line.emtrends(None, "temp").summary_frame()

# %%
plots.residuals(line)
