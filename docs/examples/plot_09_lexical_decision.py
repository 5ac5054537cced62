"""
Words and people: a crossed psycholinguistic experiment
=======================================================

25 persons decided whether letter strings are words. Every person saw many strings, and every
string was seen by many persons: both are samples, so both are random. Half of the strings were
made up from words by changing a letter; the frequency of such a string is that of the word it
came from.
"""

import numpy as np
import pandas as pd

from mixedlm_ext import MixedLM, anova, plots

data = pd.read_csv("../data/lexdec.csv.gz")
data.groupby(["stimulus", "frequency"])["rt"].agg(["count", "median"])

# %%
# What may vary? Persons saw words and made-up strings, so the difference may vary between persons:
# ``(stimulus | id)``. A string is a word or it is not, so strings have an intercept only: ``(1 |
# item)``. Times are skewed; their logarithm is better.

formula = "np.log(rt) ~ stimulus * frequency + (stimulus | id) + (1 | item)"
result = MixedLM.from_formula(formula, data).fit()
print(result.summary())

# %%
# Both samples count for the degrees of freedom, and each effect gets its own: differences between
# kinds of strings within persons have hundreds, the difference of words and others has about 30.

result.anova()

# %%
# Ratios of times, frequent to rare, among words and among others:

result.emmeans("frequency", by="stimulus", type="response").contrasts()

# %%
# If strings were not random, the effect of frequency would look surer than it is. That is what
# happens when times are averaged for each person.

ignored = MixedLM.from_formula("np.log(rt) ~ stimulus * frequency + (stimulus | id)", data).fit()
plots.coefficients({"strings random": result, "strings ignored": ignored})

# %%
anova(ignored, result)

# %%
# Does the effect of frequency differ between persons? A term of its own tells: its variance is
# small, and the models fit alike.

data["fast"] = np.where(data["frequency"] == "high", 0.5, -0.5)
richer = result.update("~ . + (0 + fast | id)", data=data)
anova(result, richer)

# %%
result.check()
