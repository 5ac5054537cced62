"""Whether the data let the variance parameters be told apart, and leave a residual variance."""

from mixedlm_ext.identification.reproduced import check_not_reproduced, is_rounding
from mixedlm_ext.identification.told_apart import (
    check_identified,
    check_told_from_residual,
    redundant_parameters,
)

__all__ = [
    "check_identified",
    "check_not_reproduced",
    "check_told_from_residual",
    "is_rounding",
    "redundant_parameters",
]
