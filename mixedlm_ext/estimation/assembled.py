"""A model before it is fitted: the design, its cross-products, and the face it has for users."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedlm_ext.caching import cached_property
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.criteria.pls import Problem, problem_with
from mixedlm_ext.design import Design
from mixedlm_ext.design.row_values import check_new_response
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.estimation.fitted import PLAIN, Face
from mixedlm_ext.identification import check_identified
from mixedlm_ext.products.responses import Reduction

Array = NDArray[np.float64]

__all__ = ["Assembled"]


@dataclass(frozen=True, eq=False)
class Assembled:
    """What fits, refits and simulations read of a model.

    Attributes
    ----------
    design : Design
    face : Face
        What users see of its fits.
    known : Problem or None
        What the design was assembled to, if that is known.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.dyestuff.load_pandas().data
    >>> model = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data)
    >>> Assembled(model.design).problem.cp.n
    30
    """

    design: Design
    face: Face = PLAIN
    known: Problem | None = None

    def __repr__(self) -> str:
        return f"<Assembled: {self.design!r}>"

    @cached_property
    def problem(self) -> Problem:
        """Cross-products and the pattern of the factor: all that a fit reads.

        Raises
        ------
        DesignError
            If some parameters cannot be told apart by any data of this design.
        """
        if self.known is not None:
            return self.known
        problem = assemble(self.design)
        check_identified(self.design, problem)
        return problem

    @cached_property
    def reml_fit(self) -> Fit:
        """The fit by REML, made when it is first asked for."""
        return estimate(self.design, criterion_of(self.problem, reml=True))

    def with_design(self, design: Design) -> Assembled:
        """Return the same model with its rows, or without them."""
        return replace(self, design=design, known=self.problem)

    def with_response(
        self, endog: Any, name: str | None = None, reduction: Reduction | None = None
    ) -> Assembled:
        """Return the same with another response; all that does not depend on it is shared.

        Parameters
        ----------
        endog : array_like (n,)
            As the model sees it, for the rows of the fit or for all rows of the data.
        name : str, optional
        reduction : Reduction, optional
            That of this design, where many responses follow one another.
        """
        design = self.design
        y = check_new_response(design, endog)
        if design.residual is not None:  # all of its sums over the rows have the response
            other = design.with_response(y, name)
            return replace(self, design=other, known=assemble(other))
        reduce = Reduction(design, self.problem.cp.layout) if reduction is None else reduction
        return replace(
            self,
            design=design.with_response(y, name),
            known=problem_with(self.problem, reduce(y[:, None])),
        )
