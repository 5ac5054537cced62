"""
Dyestuff2: a variance of zero
=============================

Box and Tiao made up yields of six batches whose means differ less than chance would have it. What
does a mixed model say?
"""

import warnings

from mixedlm_ext import MixedLM, SingularFitWarning, datasets, plots

data = datasets.dyestuff2.load_pandas().data
with warnings.catch_warnings():
    warnings.simplefilter("ignore", SingularFitWarning)
    result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
print(result.summary())

# %%
# The variance between batches is estimated as zero, exactly. It is the best estimate, not a
# failure: the search ended where the criterion is smallest.

print(result.optimization.verdict, result.singular)

# %%
plots.dotplot(result)

# %%
# Zero is an estimate, no proof. The interval says how large the standard deviation may be:

result.conf_int(method="profile")

# %%
# What it means for the test of the mean: held at zero there are 29 degrees of freedom, and five if
# it is counted that there are six batches.

for method in ("satterthwaite", "kenward-roger", "kenward-roger-full"):
    print(f"{method:20}", result.with_ddf(method).df_resid_inference)
