"""From a criterion to the record of a fit, and what that record says.

The stages of a fit, without statsmodels and without warnings; each can be looked at, and gone on
from in another way:

>>> import numpy as np
>>> from mixedlm_ext import datasets
>>> from mixedlm_ext.arguments import read_formula
>>> from mixedlm_ext.estimation.assembled import Assembled
>>> from mixedlm_ext.estimation.estimate import estimate
>>> from mixedlm_ext.estimation.fitted import Fitted
>>> from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
>>> from mixedlm_ext.inference.fixed.wald import t_test
>>> from mixedlm_ext.criteria.gaussian import GaussianCriterion

A formula and data become a design, which has the rows:

>>> data = datasets.sleepstudy.load_pandas().data
>>> design = read_formula("Reaction ~ Days + (Days | Subject)", data, eval_env={})
>>> design.X.shape, [term.name for term in design.terms]
((180, 2), ['Subject'])

Its cross-products are all that the criterion reads, here at one theta:

>>> model = Assembled(design)
>>> criterion = GaussianCriterion(model.problem, reml=True)
>>> theta = model.problem.covariance.standardize(np.array([0.9667, 0.0152, 0.2309]))
>>> round(criterion.at(theta).value, 3)
1743.628

Its minimum is a fit, and with a method of tests what the rest of the package takes:

>>> fit = estimate(design, criterion)
>>> fit.beta.round(3).tolist(), round(fit.sigma, 3), fit.optimization.verdict
([251.405, 10.467], 25.592, 'converged')
>>> fitted = Fitted.by(fit, degrees_of_freedom(fit, "satterthwaite"))
>>> t_test(fitted, "Days = 0").tvalue.round(2).tolist()
[6.77]
"""
