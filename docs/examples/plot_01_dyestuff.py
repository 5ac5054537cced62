"""
Dyestuff: how much do batches differ?
=====================================

Six batches of an intermediate product were each used to make five preparations of a dyestuff. How
much of the variation in yield comes from the batches? This is the first example of lme4's
vignette.
"""

from mixedlm_ext import MixedLM, datasets, plots

data = datasets.dyestuff.load_pandas().data
data.groupby("Batch", observed=True)["Yield"].agg(["count", "mean", "std"])

# %%
# One mean, and a random intercept for each batch.

result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
print(result.summary())

# %%
# The vignette's figure: each preparation, batches ordered by their mean yield.

plots.dotplot(result)

# %%
# Batches have a standard deviation of 42, preparations of one batch 50. As a share of the
# variance:

result.icc()

# %%
# With six batches this share is known badly. The profile says how badly for each parameter: the
# standard deviation between batches may be anything from 12 to 84.

profile = result.profile()
profile.conf_int()

# %%
# The curve for the batches bends: an interval of the form "estimate ± 2 standard errors" would be
# wrong.

plots.profile_zeta(profile)

# %%
# Is there any difference between batches at all?

result.ranova(boundary="mixture")
