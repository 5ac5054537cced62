"""Predictions at places that the fit has not seen: the same fit, with columns for them.

A place without rows is a column of zeros. It changes no criterion, and its random effect is known
through its correlations with the others, the best linear unbiased prediction there: what is called
kriging. So nothing else has to know: estimates, their errors and their derivatives are those of the
model with more columns, at the same theta.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.criteria.gaussian import GaussianCriterion
from mixedlm_ext.criteria.pls import Problem
from mixedlm_ext.design import Design, NewData
from mixedlm_ext.errors import DesignError
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.prediction.terms import Chosen
from mixedlm_ext.products.basis import Basis
from mixedlm_ext.products.layout import Place
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.transform import with_random_columns
from mixedlm_ext.structures.covariance import Covariance, TermCovariance

Array = NDArray[np.float64]

__all__ = ["place_in_words", "with_chosen_places", "with_places"]


def with_places(fit: Fit, new: NewData, with_changes: bool = False) -> Fit:
    """Return a fit with columns for the places of new rows that it has not seen.

    Parameters
    ----------
    fit : Fit
    new : NewData
        Its `places` are those of each term.
    with_changes : bool
        Have the derivatives of the products in the parameters of the residuals, too, if these have
        a structure.

    Raises
    ------
    DesignError
        If a term has a variance of its own for each place.
    """
    if not new.places:
        return fit
    for term in fit.design.terms:
        if term.name in new.places and not term.kind.one_variance:
            raise DesignError(
                f"{term.text} has a variance for each place of the fit, and none for the others "
                f"(the first: {place_in_words(new.places[term.name][0])}). Fit with one variance, "
                "hom=True, to predict there."
            )
    design = _with_columns(fit.design, new.places)
    columns = _Columns.of(fit.problem, design)
    problem = Problem(columns.of_products(fit.problem.cp), columns.covariance)
    criterion = GaussianCriterion(problem, fit.reml, fit.held_sigma)
    evaluation = criterion.at(problem.covariance.standardize(fit.theta))
    more = Fit.from_evaluation(design, criterion, evaluation, fit.optimization)
    # σ, and what depends on it, belongs to the fit: another of its kind may have been asked for
    out = replace(
        more,
        fixed_sigma=fit.fixed_sigma,
        sigma=fit.sigma,
        beta=fit.beta,
        unscaled_cov=fit.unscaled_cov,
        z=fit.z,
        restrictions=fit.restrictions,
    )
    if with_changes and fit.z is not None:
        out.shared["noise_changes"] = [columns.of_products(dA) for dA in fit.noise_changes]
    return out


def with_chosen_places(chosen: Chosen, new: NewData) -> Chosen:
    """Return which columns are used when a term has more of them: all or none are places."""
    return {
        name: np.append(mask, np.full(len(new.places.get(name, ())), mask[-1]))
        for name, mask in chosen.items()
    }


def place_in_words(place: Array) -> str:
    """Return coordinates in words."""
    return ", ".join(f"{c:g}" for c in place)


def _with_columns(design: Design, places: Mapping[str, Array]) -> Design:
    """Return the design with columns of zeros."""
    terms, rows = [], []
    for term, (X, codes) in zip(design.spec.terms, design.rows.terms, strict=True):
        added = places.get(term.name)
        if added is not None and term.positions is not None:
            names = (f"{term.variances[0]}[{place_in_words(place)}]" for place in added)
            term = replace(
                term,
                columns=(*term.columns, *names),
                positions=term.positions.with_more(added),
            )
            X = np.column_stack([X, np.zeros((len(X), len(added)))])
        terms.append(term)
        rows.append((X, codes))
    spec = replace(design.spec, terms=tuple(terms))
    return Design(spec, replace(design.rows, terms=tuple(rows)))


@dataclass(frozen=True, eq=False)
class _Columns:
    """What takes the cross-products of a fit to those of a design with columns of zeros.

    Attributes
    ----------
    maps : list of ndarray (k, r)
        Of the columns of each block.
    places : list of Place
        Where the terms are then.
    covariance : Covariance
        Of the templates then.
    """

    maps: list[Array]
    places: list[Place]
    covariance: Covariance

    @classmethod
    def of(cls, problem: Problem, design: Design) -> _Columns:
        """Return the columns of a design that has those of a problem, and others."""
        old = problem.covariance
        maps: list[Array] = [np.zeros((k, 0)) for k in old.block_sizes]
        terms, places = [], []
        for own, place, term in zip(old.terms, problem.cp.layout.places, design.spec.terms):
            whole, k = maps[own.block], len(term.columns)
            whitening = place.whitening
            if k > own.k:
                whitening = whitening[0, 0] * np.eye(k)
            kept = np.zeros((len(whole), k))
            kept[place.own, : own.k] = np.eye(own.k)
            terms.append(TermCovariance(term.kind, own.block, whole.shape[1], whitening))
            first, basis = whole.shape[1], Basis(whitening)
            places.append(replace(place, first=first, basis=basis))
            maps[own.block] = np.column_stack([whole, kept])
        return cls(maps, places, Covariance(terms, [M.shape[1] for M in maps]))

    def of_products(self, cp: CrossProducts) -> CrossProducts:
        """Return the products with columns of zeros."""
        return with_random_columns(cp, dict(enumerate(self.maps)), self.places)
