"""
Penicillin: crossed factors
===========================

Six samples of penicillin were tested on each of 24 plates. The response is the diameter of the
zone in which bacteria do not grow. Every sample met every plate: the factors are crossed.
"""

from mixedlm_ext import MixedLM, datasets, plots

data = datasets.penicillin.load_pandas().data
result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
result.varcorr()

# %%
# Samples differ most, then plates; repeated tests hardly.

plots.caterpillar(result, "sample")

# %%
plots.caterpillar(result, "plate")

# %%
# The intervals of plates are shorter than those of samples are far apart. How sure is the ranking
# of samples? Their conditional modes with standard deviations:

result.random_effects["sample"].assign(
    sd=result.random_effects_sd["sample"]["Intercept"]
).sort_values("Intercept")

# %%
# Both factors are needed.

result.ranova()

# %%
# The factor that the fit computes with. Plates, the larger factor, come first and are not joined
# to one another, so that their part is diagonal.

plots.matrix_image(result, "L")
