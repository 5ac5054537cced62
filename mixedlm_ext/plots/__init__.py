"""Pictures of fits, by matplotlib, which is imported when the first one is drawn.

Each function returns the matplotlib Figure and takes ``ax=``, the Axes to draw on.

Examples
--------
>>> from mixedlm_ext import MixedLM, datasets, plots
>>> data = datasets.sleepstudy.load_pandas().data
>>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
>>> plots.caterpillar(result).savefig("modes.png")                          # doctest: +SKIP
"""

from mixedlm_ext.plots.coefficients import coefficients
from mixedlm_ext.plots.figure import MatplotlibMissingError, PlotError
from mixedlm_ext.plots.groups import dotplot, trajectories
from mixedlm_ext.plots.matrices import matrix_image
from mixedlm_ext.plots.profile_pairs import profile_pairs
from mixedlm_ext.plots.profiles import profile_density, profile_zeta
from mixedlm_ext.plots.random_effects import caterpillar, mode_quantiles
from mixedlm_ext.plots.residual_plots import residual_quantiles, residuals, scale_location
from mixedlm_ext.plots.shrinkage import shrinkage

__all__ = [
    "MatplotlibMissingError",
    "PlotError",
    "caterpillar",
    "coefficients",
    "dotplot",
    "matrix_image",
    "mode_quantiles",
    "profile_density",
    "profile_pairs",
    "profile_zeta",
    "residual_quantiles",
    "residuals",
    "scale_location",
    "shrinkage",
    "trajectories",
]
