"""
InstEval: 73,421 ratings of lectures
====================================

2,972 students rated 1,128 lecturers. Both factors are crossed, each student having rated a few
lecturers. This is the large example of lme4's articles.
"""

import time

from mixedlm_ext import MixedLM, datasets, plots

data = datasets.insteval.load_pandas().data
start = time.perf_counter()
result = MixedLM.from_formula("y ~ service + (1 | s) + (1 | d) + (1 | dept:service)", data).fit()
print(f"{time.perf_counter() - start:.2f} seconds, {result.optimization.evaluations} evaluations")
print(result.summary())

# %%
# Ratings go from 1 to 5. Lecturers differ about 1.6 times as much as students do in how they rate.
# Lectures that are a service to another department are rated a little lower, and that may be
# chance.

result.icc()

# %%
# All lecturers, sorted by their conditional modes:

plots.caterpillar(result, "d")

# %%
# The five best and how sure that is:

modes = result.random_effects["d"]["Intercept"].rename("mode")
modes.to_frame().assign(sd=result.random_effects_sd["d"]["Intercept"]).nlargest(5, "mode")
