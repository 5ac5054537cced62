"""The search for the minimum of the criterion: starts, Newton's method, the verdict on the end."""

from mixedlm_ext.search.minimum import METHODS, check_maxiter, check_optimizer, optimize
from mixedlm_ext.search.sampled import Sampling, optimize_with_samples
from mixedlm_ext.search.verdict import Optimization

__all__ = [
    "METHODS",
    "Optimization",
    "Sampling",
    "check_maxiter",
    "check_optimizer",
    "optimize",
    "optimize_with_samples",
]
