"""
Pastes: nested factors
======================

Ten batches of a chemical paste were delivered in casks. Three casks of each were sampled and each
sample was tested twice. Where does the variation in strength come from: batches, casks or the
test?
"""

from mixedlm_ext import MixedLM, anova, datasets, plots

data = datasets.pastes.load_pandas().data
result = MixedLM.from_formula("strength ~ 1 + (1 | batch/cask)", data).fit()
print(result.summary())

# %%
# Most of it comes from the casks within a batch.

plots.caterpillar(result, "batch:cask")

# %%
# Do batches differ beyond their casks? The estimate is 1.3, but its interval reaches zero.

result.profile("theta").conf_int()

# %%

without = MixedLM.from_formula("strength ~ 1 + (1 | batch:cask)", data).fit()
anova(without, result)

# %%
# The chi-squared distribution is only a rough guide when a variance is tested. By simulation:

result.compare_bootstrap(without, n=500, rng=1).summary_frame()
