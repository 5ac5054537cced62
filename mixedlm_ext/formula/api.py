"""``mixedlm``, in the style of ``statsmodels.formula.api``."""

from mixedlm_ext.model import MixedLM

__all__ = ["mixedlm"]

mixedlm = MixedLM.from_formula
