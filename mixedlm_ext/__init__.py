"""Linear and generalized mixed models with lme4's formulas, as a statsmodels extension."""

from typing import TYPE_CHECKING, Any

from mixedlm_ext import absent, datasets
from mixedlm_ext.design import RandomTerm
from mixedlm_ext.design.pedigree import pedigree
from mixedlm_ext.errors import (
    DataError,
    DesignError,
    DesignWarning,
    FitError,
    FormulaError,
    MixedLMError,
    SingularFitWarning,
)
from mixedlm_ext.generalized.model import MixedGLM
from mixedlm_ext.generalized.results import MixedGLMResults
from mixedlm_ext.inference.bootstrap.record import Bootstrap
from mixedlm_ext.inference.compare.compare import anova
from mixedlm_ext.model import MixedLM
from mixedlm_ext.prediction.predictor import Predictor
from mixedlm_ext.results import MixedLMResults
from mixedlm_ext.sites import Summary, combine, summarize

__version__ = "0.1.0"

__all__ = [
    "Bootstrap",
    "DataError",
    "DesignError",
    "DesignWarning",
    "FitError",
    "FormulaError",
    "MixedGLM",
    "MixedGLMResults",
    "MixedLM",
    "MixedLMError",
    "MixedLMResults",
    "Predictor",
    "RandomTerm",
    "SingularFitWarning",
    "Summary",
    "anova",
    "combine",
    "datasets",
    "pedigree",
    "summarize",
]

if not TYPE_CHECKING:  # unknown names stay errors for type checkers

    def __getattr__(name: str) -> Any:
        raise absent.no_attribute(f"module {__name__!r}", name, __all__, absent.R_FUNCTIONS)
