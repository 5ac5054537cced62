"""Many responses on one design: fitted at once where the structure allows it."""

from mixedlm_ext.many.components import all_values, component_values
from mixedlm_ext.many.refitter import Refitter
from mixedlm_ext.many.similar import fit_similar, start_of, warm_start

__all__ = ["Refitter", "all_values", "component_values", "fit_similar", "start_of", "warm_start"]
