"""Covariance structures of random effects, by name: a structure is a file here and a line below."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

from mixedlm_ext.structures.ar1 import Autoregressive
from mixedlm_ext.structures.base import Structure
from mixedlm_ext.structures.correlated import CorrelatedStructure
from mixedlm_ext.structures.cs import CompoundSymmetry
from mixedlm_ext.structures.diag import Diagonal, OneVariance
from mixedlm_ext.structures.exp import Exponential
from mixedlm_ext.structures.linear import LinearStructure
from mixedlm_ext.structures.positions import Positions
from mixedlm_ext.structures.toep import Toeplitz
from mixedlm_ext.structures.us import Unstructured

__all__ = ["KEYWORDS", "STRUCTURES", "LinearStructure", "Positions", "Structure", "structure_of"]

_CORRELATED: tuple[type[CorrelatedStructure], ...] = (
    CompoundSymmetry,
    Autoregressive,
    Toeplitz,
    Exponential,
)
"""Standard deviations and correlations, each with a variance for every column or with one."""

STRUCTURES: dict[str, Callable[..., Structure]] = {
    "us": Unstructured,
    "diag": Diagonal,
    "iid": OneVariance,
}
"""What makes a structure, by the name that `RandomTerm(structure=)` takes."""

KEYWORDS: dict[str, dict[bool | None, str]] = {
    "us": {None: "us"},
    "diag": {None: "diag", False: "diag", True: "iid"},
}
"""Those names by the word of the formula and what it says of ``hom=``."""

for _kind in _CORRELATED:
    _words: dict[bool | None, str] = {None: _kind.word}
    for _one in (False, True):
        _default = _one == _kind.hom_by_default
        _name = _kind.word if _default else ("hom" if _one else "het") + _kind.word
        STRUCTURES[_name] = partial(_kind, one_variance=_one)
        _words[_one] = _name
    KEYWORDS[_kind.word] = _words


@cache
def _of_size(name: str, k: int) -> Structure:
    return STRUCTURES[name](k, name)


def structure_of(name: str, k: int, positions: Positions | None = None) -> Structure:
    """Return the structure of k columns, which lie somewhere if it needs to know.

    Examples
    --------
    >>> structure_of("us", 2).n_theta, structure_of("ar1", 10).n_theta
    (3, 2)
    """
    if positions is None:
        return _of_size(name, k)
    return STRUCTURES[name](k, name, positions=positions)
