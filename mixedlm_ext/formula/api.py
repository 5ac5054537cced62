"""``mixedlm`` and ``mixedglm``, in the style of ``statsmodels.formula.api``."""

from mixedlm_ext.generalized.model import MixedGLM
from mixedlm_ext.model import MixedLM

__all__ = ["mixedglm", "mixedlm"]

mixedlm = MixedLM.from_formula
mixedglm = MixedGLM.from_formula
