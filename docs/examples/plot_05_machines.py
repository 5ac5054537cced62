"""
Machines: slopes of a factor
============================

Six workers tried three machines, three times each. Which machine is best, and for everybody?
"""

from mixedlm_ext import MixedLM, anova, datasets, plots

data = datasets.machines.load_pandas().data
data.pivot_table(index="Worker", columns="Machine", values="score", observed=True)

# %%
# Worker 6 does badly on machine B. A model with random intercepts only has no place for that.

same = MixedLM.from_formula("score ~ Machine + (1 | Worker)", data).fit()
result = MixedLM.from_formula("score ~ Machine + (Machine | Worker)", data).fit()
anova(same, result)

# %%
result.varcorr()

# %%
# The means of the machines and their differences, with Kenward and Roger's degrees of freedom, as
# there are only six workers.

careful = result.with_ddf("kenward-roger")
careful.emmeans("Machine").contrasts()

# %%
# Machine C beats A for sure. B lies between, and how far depends on the worker.

plots.coefficients({"intercepts": same, "slopes": result})
