"""What a formula remembers of the data of the fit, without the data: a form that pickles.

patsy's descriptions of matrices hold knots, means and categories, which is all that new data need,
but refuse to be pickled or copied. They are taken apart here, and put together again.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import patsy
import patsy.builtins
from patsy.design_info import FactorInfo, SubtermInfo

from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DesignError

__all__ = ["ExpressionMemory", "SideMemory"]


@dataclass(frozen=True)
class ExpressionMemory:
    """One expression: the code that evaluates it, and its stateful transforms.

    Attributes
    ----------
    code, eval_code : str
        As written, and with patsy's names in place of stateful transforms.
    transforms : dict of str to (type, dict)
        Class and attributes of each stateful transform.
    lost : bool
        Whether pickle refused a class of the user's.
    """

    code: str
    eval_code: str
    transforms: Mapping[str, tuple[type, dict[str, Any]]]
    lost: bool = False

    @classmethod
    def of(cls, code: str, state: Mapping[str, Any]) -> ExpressionMemory:
        """Take patsy's state of an expression apart."""
        transforms = {name: (type(t), dict(vars(t))) for name, t in state["transforms"].items()}
        return cls(code, state["eval_code"], transforms)

    def state(self, scope: Scope) -> dict[str, Any]:
        """Return patsy's state again."""
        if self.lost:
            raise DesignError(
                f"the stateful transform in {self.code!r} could not be pickled with the model. "
                "Define its class in a module (not within a function) and refit."
            )
        made: dict[str, Any] = {}
        for name, (kind, attributes) in self.transforms.items():
            made[name] = kind.__new__(kind)  # type: ignore[call-overload]
            made[name].__dict__.update(attributes)
        used = code_names(self.eval_code)
        env = scope.environment(used.values | used.called).with_outer_namespace(_BUILT_IN)
        return {"transforms": made, "eval_code": self.eval_code, "eval_env": env}

    def __getstate__(self) -> dict[str, Any]:
        state = dict(vars(self))
        try:
            pickle.dumps(self.transforms)
        except Exception:  # pickle fails in any way that a class likes
            state.update(transforms={}, lost=True)
        return state


_BUILT_IN = {name: getattr(patsy.builtins, name) for name in patsy.builtins.__all__}


@dataclass(frozen=True)
class _Factor:
    """One factor of a side: its expression, and its categories or number of columns."""

    expression: ExpressionMemory
    type: str
    columns: int | None
    categories: tuple[Any, ...] | None


@dataclass(frozen=True)
class _Product:
    """A product of factors that makes columns: positions of factors, contrasts of some."""

    factors: tuple[int, ...]
    contrasts: Mapping[int, tuple[npt.NDArray[np.float64], list[str]]]
    columns: int


@dataclass(frozen=True)
class SideMemory:
    """One side of a formula: its columns' names, its factors, and the products of each term."""

    names: tuple[str, ...]
    factors: tuple[_Factor, ...]
    terms: tuple[tuple[tuple[int, ...], tuple[_Product, ...]], ...]

    @classmethod
    def of(cls, info: patsy.DesignInfo) -> SideMemory:
        """Take patsy's description of a side apart."""
        place = {factor: i for i, factor in enumerate(info.factor_infos)}
        factors = tuple(
            _Factor(
                ExpressionMemory.of(factor.code, about.state),
                about.type,
                about.num_columns,
                None if about.categories is None else tuple(about.categories),
            )
            for factor, about in info.factor_infos.items()
        )
        terms = tuple(
            (tuple(place[f] for f in term.factors), tuple(_product(s, place) for s in subterms))
            for term, subterms in info.term_codings.items()
        )
        return cls(tuple(info.column_names), factors, terms)

    @classmethod
    def of_numbers(cls, names: tuple[str, ...], codes: tuple[str, ...]) -> SideMemory:
        """Return the memory of a constant, if there is one name more than codes, and of columns."""
        factors = tuple(_Factor(ExpressionMemory(c, c, {}), "numerical", 1, None) for c in codes)
        constant = [((), (_Product((), {}, 1),))] * (len(names) - len(codes))
        others = [((i,), (_Product((i,), {}, 1),)) for i in range(len(codes))]
        return cls(names, factors, (*constant, *others))

    def info(self, scope: Scope) -> patsy.DesignInfo:
        """Return patsy's description again."""
        made = []
        for memory in self.factors:
            code = memory.expression.code
            factor = patsy.EvalFactor(code, patsy.Origin(code, 0, len(code)))
            state = memory.expression.state(scope)
            made.append(FactorInfo(factor, memory.type, state, memory.columns, memory.categories))
        at = [about.factor for about in made]
        codings = OrderedDict(
            (patsy.Term([at[i] for i in factors]), [_subterm(product, at) for product in products])
            for factors, products in self.terms
        )
        return patsy.DesignInfo(list(self.names), {about.factor: about for about in made}, codings)


def _product(subterm: Any, place: Mapping[Any, int]) -> _Product:
    """Take one subterm of patsy's apart."""
    contrasts = {
        place[factor]: (np.array(c.matrix), list(c.column_suffixes))
        for factor, c in subterm.contrast_matrices.items()
    }
    return _Product(tuple(place[f] for f in subterm.factors), contrasts, subterm.num_columns)


def _subterm(product: _Product, factors: list[Any]) -> Any:
    """Put one subterm together again."""
    contrasts = {
        factors[i]: patsy.ContrastMatrix(matrix, suffixes)
        for i, (matrix, suffixes) in product.contrasts.items()
    }
    return SubtermInfo([factors[i] for i in product.factors], contrasts, product.columns)
