"""Formula and data, or arrays -> one frozen `Design`."""

from mixedlm_ext.design.design import Design
from mixedlm_ext.design.from_arrays import design_from_arrays
from mixedlm_ext.design.from_formula import design_from_formula
from mixedlm_ext.design.names import needed_names
from mixedlm_ext.design.records import NewData, RandomTerm, TermDesign

__all__ = [
    "Design",
    "NewData",
    "RandomTerm",
    "TermDesign",
    "design_from_arrays",
    "design_from_formula",
    "needed_names",
]
