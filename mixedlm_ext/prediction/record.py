"""What a predictor has to know, from a fit, in terms of JSON.

Matrices come from the formula: each expression is kept as code together with the memory of its
stateful transforms, each side of the formula as the list of products that make its columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import patsy

from mixedlm_ext.design import Design
from mixedlm_ext.design.formula_code import Piece, code_names
from mixedlm_ext.design.matrices import FormulaMatrices
from mixedlm_ext.design.member_terms import has_members, only_of_members
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.portable import encode, encode_keys
from mixedlm_ext.prediction.predictor import FORMAT, MARK
from mixedlm_ext.prediction.terms import Chosen
from mixedlm_ext.structures.positions import range_of_correlation

Record = dict[str, Any]

__all__ = ["predictor_record"]


def predictor_record(fit: Fit, chosen: Chosen, link: Record | None = None) -> Record:
    """Return the record of a fit that `Predictor` takes.

    Parameters
    ----------
    fit : Fit
        Of a formula.
    chosen : Chosen
        The random effects to keep.
    link : dict, optional
        The link of a generalized model, as `mixedlm_ext.families.curves.link_record` has it.

    Raises
    ------
    DesignError
        If the model has no formula, or its formula uses what cannot be saved.
    """
    design = fit.design
    if design.formula is None:
        raise DesignError(
            "a predictor needs a model made from a formula, which says how to read new data. "
            "Keep result.params and result.random_effects, or pickle the results."
        )
    matrices = design.matrices
    positions = [i for i, term in enumerate(design.terms) if term.name in chosen]
    pieces = _pieces(matrices, positions)
    beta = np.zeros(len(design.all_x_names))
    beta[design.column_map] = fit.beta
    return {
        MARK: FORMAT,
        "formula": design.formula.written,
        "response": design.endog_name,
        "columns": _columns(design, pieces),
        "expressions": _expressions(matrices, positions, pieces),
        "scope": _scope(design, matrices, positions, pieces),
        "factors": _factors([matrices.infos[i] for i in (0, *(i + 1 for i in positions))]),
        "fixed": {"sides": _side(matrices.infos[0]), "beta": beta.tolist(), **_null(design)},
        "offsets": [piece.code for piece in pieces if piece.role == "offset"],
        "offset_name": design.spec.offset.column,
        "array_offset": design.spec.offset.as_array,
        "terms": [_term(fit, i, chosen) for i in positions],
        **({} if link is None else {"link": link}),
    }


def _null(design: Design) -> Record:
    """Return what makes rows not estimable, if X has not full rank."""
    if design.null is None:
        return {}
    scale = [s if np.isfinite(s) else None for s in design.null.scale.tolist()]
    return {"null": {"basis": design.null.basis.tolist(), "scale": scale}}


def _pieces(matrices: FormulaMatrices, positions: Sequence[int]) -> list[Piece]:
    """Return the expressions that predictions need."""
    return [
        piece
        for piece in matrices.code.pieces
        if piece.role in ("fixed", "offset") or piece.term in positions
    ]


def _columns(design: Design, pieces: Iterable[Piece]) -> Record:
    """Return for each column of the data where it stands, how it is used, and its type."""
    matrices = design.matrices
    assert design.formula is not None
    out: dict[str, Record] = {}
    free = only_of_members(design.formula)
    for piece in pieces:
        for name in sorted(code_names(piece.code).values & set(design.spec.columns)):
            entry = out.setdefault(name, {"place": piece.place, "random_only": True})
            entry["random_only"] &= piece.term >= 0
            kind = matrices._types.get(name)
            if kind is not None:
                entry["use"], entry["kind"], entry["dtype"] = (
                    matrices._uses[name], kind.kind, kind.dtype,
                )  # fmt: skip
                if kind.categories is not None:
                    entry["categories"] = encode_keys(kind.categories.tolist(), f"column {name!r}")
            entry["key"] = name in matrices.keys
            entry |= {"may_miss": True} if name in free else {}
    return out


def _states(
    matrices: FormulaMatrices, positions: Sequence[int], pieces: Iterable[Piece]
) -> dict[str, Record]:
    """Return patsy's memory of each expression that is evaluated."""
    states: dict[str, Record] = {}
    for i in (0, *(i + 1 for i in positions)):
        for factor, info in matrices.infos[i].factor_infos.items():
            states[factor.code] = info.state
    for piece in pieces:
        if piece.code in matrices._expressions:
            states[piece.code] = matrices._expressions[piece.code].state
    return states


def _expressions(
    matrices: FormulaMatrices, positions: Sequence[int], pieces: Iterable[Piece]
) -> Record:
    """Return the code of each expression and the memory of its stateful transforms."""
    out = {}
    for code, state in _states(matrices, positions, pieces).items():
        transforms = {
            name: encode(transform, f"the stateful transform in {code!r}")
            for name, transform in state["transforms"].items()
        }
        out[code] = {"code": state["eval_code"], "transforms": transforms}
    return out


def _scope(
    design: Design,
    matrices: FormulaMatrices,
    positions: Sequence[int],
    pieces: Iterable[Piece],
) -> Record:
    """Return the functions, modules and constants of the caller's scope that the code uses."""
    used: set[str] = set()
    for state in _states(matrices, positions, pieces).values():
        names = code_names(state["eval_code"])
        used |= names.values | names.called
    values = design.scope.values
    return {
        name: encode(values[name], f"{name!r}, which the formula uses,")
        for name in sorted(used & set(values))
    }


def _factors(infos: Iterable[patsy.DesignInfo]) -> Record:
    """Return the categories of the categorical expressions."""
    return {
        factor.code: encode_keys(
            pd.Index(list(info.categories)).tolist(), f"a level of {factor.code!r}"
        )
        for one in infos
        for factor, info in one.factor_infos.items()
        if info.type == "categorical"
    }


def _side(info: patsy.DesignInfo) -> list[Any]:
    """Return the products that make the columns: expressions, with contrasts if categorical."""
    out = []
    for subterms in info.term_codings.values():
        for subterm in subterms:
            contrasts = subterm.contrast_matrices
            out.append(
                [
                    [f.code, contrasts[f].matrix.tolist() if f in contrasts else None]
                    for f in subterm.factors
                ]
            )
    return out


def _term(fit: Fit, i: int, chosen: Chosen) -> Record:
    """Return one random term: its columns, its groups, its levels and their modes."""
    design = fit.design
    assert design.formula is not None
    term = design.terms[i]
    what = f"a level of {term.group!r}"
    codes = [piece.code for piece in design.matrices.pieces("group") if piece.term == i]
    levels = [encode_keys(part, what) for part in _level_parts(term.levels)]
    if term.positions is not None:
        return {**_placed(fit, i), "groups": codes, "levels": levels,
                "side": _side(design.matrices.infos[i + 1])}  # fmt: skip
    return {
        "name": term.name,
        "columns": list(term.columns),
        "side": _side(design.matrices.infos[i + 1]),
        "groups": codes,
        "levels": levels,
        "b": (fit.b[i] * chosen[term.name]).tolist(),
        **_members(design, i),
    }


def _members(design: Design, i: int) -> Record:
    """Return how rows are read that belong to several levels of a term."""
    assert design.formula is not None
    spec = design.formula.random[i]
    if not has_members(spec) or spec.call is None:
        return {}
    texts = [piece.text for piece in design.matrices.pieces("group") if piece.term == i]
    count = len(spec.group)
    own = {"text": spec.group_name, "names": texts[:count], "normalize": spec.call.normalize}
    return {"members": own}


def _placed(fit: Fit, i: int) -> Record:
    """Return a term of places: where they are, the range, and C⁻¹b.

    At any place the effect is c'C⁻¹b, c its correlations with those of the fit: there it is b.
    """
    term = fit.design.terms[i]
    kind, positions = term.kind, term.positions
    assert positions is not None
    if not kind.one_variance:
        raise DesignError(
            f"a predictor cannot hold {term.text}, which has a variance for each place. Keep the "
            "results, or leave the term out, with terms=."
        )
    pair = positions.nearest
    T = kind.template(np.concatenate([[1.0], fit.theta[fit.problem.covariance.slices[i]][1:]]))
    span = float(range_of_correlation((T @ T.T)[pair], positions.distances[pair]))
    return {
        "name": term.name,
        "columns": list(term.columns),
        "places": positions.coordinates.tolist(),
        "range": span if np.isfinite(span) else None,
        "b": (fit.b[i] @ np.linalg.pinv(T @ T.T, hermitian=True)).tolist(),
    }


def _level_parts(levels: pd.Index) -> list[Any]:
    """Return for each factor of the grouping the values of all levels."""
    if isinstance(levels, pd.MultiIndex):
        return [levels.get_level_values(j).tolist() for j in range(levels.nlevels)]
    return [levels.tolist()]
