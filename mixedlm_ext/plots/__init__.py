"""Pictures of fits, by matplotlib, which is imported when the first one is drawn.

Each function returns the matplotlib Figure and takes ``ax=``, the Axes to draw on. pyplot does not
know a new figure: a notebook shows it where it is the value of a cell, and it is gone when nobody
holds it. To see it in a window of a script, draw on axes of pyplot's by ``ax=``; a notebook
shows these by itself, so end such a line with a semicolon. Colours follow the
style in force, light or dark. Where names do not fit around axes that were given, and their figure
has no layout engine, it gets matplotlib's constrained layout.

Examples
--------
>>> from mixedlm_ext import MixedLM, datasets, plots
>>> data = datasets.sleepstudy.load_pandas().data
>>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
>>> plots.caterpillar(result).savefig("modes.png")                          # doctest: +SKIP
"""

from mixedlm_ext.plots.caterpillar import caterpillar, mode_quantiles
from mixedlm_ext.plots.coefficients import coefficients
from mixedlm_ext.plots.correlations import correlations
from mixedlm_ext.plots.dotplot import dotplot
from mixedlm_ext.plots.figure import MatplotlibMissingError, PlotError
from mixedlm_ext.plots.matrices import matrix_image
from mixedlm_ext.plots.profile_pairs import profile_pairs
from mixedlm_ext.plots.profiles import profile_density, profile_zeta
from mixedlm_ext.plots.residual_plots import residual_quantiles, residuals, scale_location
from mixedlm_ext.plots.shrinkage import shrinkage
from mixedlm_ext.plots.spread import residual_spread
from mixedlm_ext.plots.trajectories import trajectories

__all__ = [
    "MatplotlibMissingError",
    "PlotError",
    "caterpillar",
    "coefficients",
    "correlations",
    "dotplot",
    "matrix_image",
    "mode_quantiles",
    "profile_density",
    "profile_pairs",
    "profile_zeta",
    "residual_quantiles",
    "residual_spread",
    "residuals",
    "scale_location",
    "shrinkage",
    "trajectories",
]
