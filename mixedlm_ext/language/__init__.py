"""The formula language: a patsy formula plus parenthesised random terms, read without any data."""

from mixedlm_ext.language.mixed_formula import MixedFormula, RandomTermSpec
from mixedlm_ext.language.parser import parse_formula
from mixedlm_ext.language.translate import translate_statsmodels

__all__ = ["MixedFormula", "RandomTermSpec", "parse_formula", "translate_statsmodels"]
