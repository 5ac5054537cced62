"""Simulators for rows that the fit has not seen, and with the random effects of the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mixedlm_ext.design import Design, NewData
from mixedlm_ext.design.formula_code import code_names
from mixedlm_ext.design.frame import Table, read_table
from mixedlm_ext.design.grouping import combine_codes, level_codes
from mixedlm_ext.design.known import KnownMatrix
from mixedlm_ext.design.members import MemberRows
from mixedlm_ext.design.row_arguments import new_weights
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.means import mark_not_estimable
from mixedlm_ext.prediction.new_levels import warn_of_new_levels
from mixedlm_ext.prediction.places import with_places
from mixedlm_ext.prediction.residual_rows import new_noise
from mixedlm_ext.products.noise import Precisions
from mixedlm_ext.simulation.simulate import (
    Parameters,
    RandomPart,
    Simulator,
    check_count,
    design_simulator,
    draw,
    fit_parameters,
    spawn_seeds,
)

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["fit_simulator", "new_simulator", "simulate"]


def fit_simulator(fit: Fit, parameters: Parameters, conditional: bool) -> Simulator:
    """Return the simulator of the rows of a fit.

    Parameters
    ----------
    fit : Fit
    parameters : Parameters
    conditional : bool
        Keep the conditional modes of the random effects instead of drawing new ones.
    """
    simulator = design_simulator(fit.design, parameters)
    if not conditional:
        return simulator
    mean = simulator.mean
    for term, b in zip(fit.design.terms, fit.b):
        mean = mean + term.times(b)
    return replace(simulator, mean=mean, parts=[])


def new_simulator(
    fit: Fit,
    params: Mapping[str, Any] | None,
    conditional: bool,
    data: Any,
    offset: Any,
    weights: Any,
) -> tuple[Simulator, NewData]:
    """Return the simulator of other rows, and these rows.

    Random effects are drawn for each level of the new data; when `conditional`, only for the levels
    that the fit has not seen. Rows that are incomplete or have no weight give nan.
    """
    design = fit.design
    if design.formula is None:
        raise DesignError(
            "exog needs a model made from a formula. Make a MixedLM of the new arrays and use "
            "its simulate(beta, theta=..., sigma=...)."
        )
    new = design.new_data(data, offset=offset)
    fit = with_places(fit, new)
    parameters = fit_parameters(fit, params)
    table = read_table(data)
    mark_not_estimable(new.estimable, new.index)
    mean = np.where(new.complete & new.estimable, new.X @ parameters.beta + new.offset, np.nan)
    parts = []
    for i, term in enumerate(design.terms):
        X, seen = new.terms[term.name]
        if term.has_members:
            rows = new.members[term.name]
            X = np.where(new.complete[:, None], X, 0.0)
            if conditional:
                mean = mean + np.einsum("nk,nk->n", X, np.asarray(rows.W @ fit.b[i]))
                rows = replace(rows, W=sparse.csr_array(rows.W.shape))
            parts += _members_parts(X, rows, parameters.roots[i], term.related)
            continue
        codes, levels = _group_codes(design, i, table, new)
        X = np.where(new.complete[:, None], X, 0.0)
        if conditional:
            modes = fit.b[i][np.maximum(seen, 0)]
            mean = mean + np.where(seen >= 0, np.einsum("nk,nk->n", X, modes), 0.0)
            X = np.where(seen[:, None] >= 0, 0.0, X)
        parts.append(RandomPart(X, codes, levels, parameters.roots[i], term.related))
    w = new_weights(design.spec.weights, weights, table.index, table.index, table)
    w = np.where(w > 0, w, np.nan)
    noise = Precisions(w) if design.residual is None else new_noise(design, data, w)
    return Simulator(mean, parts, parameters.sigma, noise), new


def _members_parts(
    X: Array, rows: MemberRows, root: Array, related: KnownMatrix | None
) -> list[RandomPart]:
    """Return the random parts of rows of several members, of the fit and of others."""
    m = len(X)
    among = None if related is None else related.among
    parts = [(rows.W, among), (rows.beyond, None)]
    known = [KnownMatrix.of_members(pd.RangeIndex(W.shape[1]), W, K) for W, K in parts if W.nnz]
    return [RandomPart(X, np.arange(m), m, root, own) for own in known]


def _group_codes(design: Design, i: int, table: Table, new: NewData) -> tuple[Index, int]:
    """Number the levels of one term among the complete new rows; 0 in the others.

    Levels of the fit keep their numbers, in whatever type the new rows spell them.
    """
    matrices = design.matrices
    pieces = [p for p in matrices.pieces("group") if p.term == i]
    used = sorted({n for p in pieces for n in code_names(p.code).values} & set(design.spec.columns))
    columns = {name: table.column(name).array for name in used}
    frame = pd.DataFrame(columns, index=table.index)[new.complete]
    codes = np.zeros(len(table), dtype=np.intp)
    if len(frame) == 0:
        return codes, 1
    prepared = matrices.new_data(frame, pieces)
    factors = [level_codes(matrices.evaluate(p, prepared, frame)) for p in pieces]
    own, levels = combine_codes(factors)
    term = design.terms[i]
    seen = new.terms[term.name][1][new.complete]
    codes[new.complete] = np.where(seen >= 0, seen, len(term.levels) + own)
    return codes, len(term.levels) + len(levels)


def simulate(
    fit: Fit,
    n: int = 1,
    rng: Any = None,
    conditional: bool = False,
    exog: Any = None,
    params: Mapping[str, Any] | None = None,
    offset: Any = None,
    weights: Any = None,
) -> pd.DataFrame:
    """Draw responses from the fitted model.

    Parameters
    ----------
    n : int
        Number of responses.
    rng : None, int or numpy.random.Generator
        Source of random numbers. Each column has a stream of its own: the first columns do
        not depend on n.
    conditional : bool
        Keep the random effects at their conditional modes; they are drawn anew by default.
    exog : DataFrame, polars.DataFrame or dict, optional
        New data to simulate for; the data of the fit by default. Levels of grouping factors
        that the fit has not seen get new random effects, also when `conditional`.
    params : mapping, optional
        Other parameters than the estimates: any of "beta", "sigma", and "theta" or
        "covariances" (see `MixedLM.simulate`).
    offset : str or array_like, optional
        Of the new data, as for `predict`.
    weights : str or array_like, optional
        Precision weights of the new data, if the fit had weights; the column that the fit
        used by default.

    Returns
    -------
    DataFrame (rows, n)
        With the index of the data; missing where the new data are incomplete. On the scale of
        the model's response: of log(y) for ``log(y) ~ ...``.

    Raises
    ------
    FitError
        If n < 1, or a parameter is unknown or impossible.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
    >>> result.simulate(2, rng=42).shape
    (30, 2)
    """
    n = check_count(n)
    if exog is None:
        simulator = fit_simulator(fit, fit_parameters(fit, params), conditional)
        index = fit.design.index
    else:
        simulator, new = new_simulator(fit, params, conditional, exog, offset, weights)
        index = new.index
        if conditional:
            warn_of_new_levels(fit.design, new, new.terms, "are drawn")
    return pd.DataFrame(draw(simulator, spawn_seeds(rng, n)), index=index)
