"""
Stools: a randomized block design
=================================

Nine persons rose from each of four types of stools. The effort is on Borg's scale. Which stool is
easiest?
"""

import pandas as pd

from mixedlm_ext import MixedLM, plots

data = pd.read_csv("../data/stools.csv", dtype={"Subject": str})
result = MixedLM.from_formula("effort ~ Type + (1 | Subject)", data).fit()
result.anova()

# %%
# The stools differ. Means, and all differences with p values by Tukey's method:

means = result.emmeans("Type")
means.summary_frame()

# %%
means.contrasts()

# %%
# T1 and T4 are easiest and not told apart. T2 is hardest.
#
# Persons differ about as much as repeated efforts of one person would:

result.profile("theta").conf_int()

# %%
plots.caterpillar(result)
