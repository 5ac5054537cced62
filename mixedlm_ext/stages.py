"""The stages of a fit as functions, to stop at any of them, look, and go on in another way.

What `MixedLM.from_formula` and `MixedLM.fit` do in two steps, without statsmodels and without
warnings: text -> formula -> design -> cross-products -> criterion -> fit -> tests.

>>> from mixedlm_ext import datasets, stages
>>> data = datasets.dyestuff.load_pandas().data
>>> design = stages.read_formula("Yield ~ 1 + (1 | Batch)", data, eval_env={})
>>> problem = stages.Assembled(design).problem
>>> criterion = stages.GaussianCriterion(problem, reml=True)
>>> fit = stages.estimate(design, criterion)
>>> fitted = stages.Fitted.by(fit, stages.degrees_of_freedom(fit, "kenward-roger"))
>>> round(float(stages.t_test(fitted, "Intercept = 1500").pvalue), 3)
0.215
"""

from __future__ import annotations

from mixedlm_ext.arguments import read_formula
from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design, RandomTerm, design_from_arrays
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.fixed.anova import anova
from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
from mixedlm_ext.inference.fixed.wald import t_test
from mixedlm_ext.language import MixedFormula, parse_formula

__all__ = [
    "Assembled",
    "Design",
    "Fit",
    "Fitted",
    "GaussianCriterion",
    "MixedFormula",
    "Problem",
    "RandomTerm",
    "anova",
    "degrees_of_freedom",
    "design_from_arrays",
    "estimate",
    "parse_formula",
    "read_formula",
    "t_test",
]
