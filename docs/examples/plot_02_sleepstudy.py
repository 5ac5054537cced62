"""
Sleep study: every subject has a line
=====================================

Reaction times of 18 people over ten days with three hours in bed.
"""

from mixedlm_ext import MixedLM, anova, datasets, plots

data = datasets.sleepstudy.load_pandas().data
result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
result.tidy()

# %%
# Reaction time rises by 10.5 ms a day on average. Subjects' slopes have a standard deviation of
# 5.9: most people slow down, a few do not.

plots.trajectories(result, "Days")

# %%
# The lines of the subjects are drawn towards the average, the more so the less their own data say.

plots.shrinkage(result)

# %%
# Are intercept and slope correlated? The models with and without say no.

uncorrelated = result.update("~ . - (Days | Subject) + (Days || Subject)")
anova(uncorrelated, result)

# %%
# Is the line straight? A squared term adds nothing.

result.update("~ . + I(Days**2)").anova()

# %%
# Which subjects decide? Leave out one after the other.

influence = result.influence("Subject", refit=True)
influence.params.sort_values("Days").iloc[[0, 1, -2, -1]]
