"""Formula and data, or arrays -> one frozen `Design`."""

from mixedlm_ext.design.design import Design
from mixedlm_ext.design.formula_code import needed_names
from mixedlm_ext.design.from_arrays import design_from_arrays
from mixedlm_ext.design.from_formula import design_from_formula
from mixedlm_ext.design.records import NewData, RandomTerm, TermDesign
from mixedlm_ext.design.rows import Rows
from mixedlm_ext.design.spec import Spec

__all__ = [
    "Design",
    "NewData",
    "RandomTerm",
    "Rows",
    "Spec",
    "TermDesign",
    "design_from_arrays",
    "design_from_formula",
    "needed_names",
]
