"""What stands in for the rows of a site: sums, levels, extremes, and how all of it was coded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mixedlm_ext.batches.levels import GroupCoder
from mixedlm_ext.batches.summing import Summed
from mixedlm_ext.design.from_formula import unique_name
from mixedlm_ext.design.records import TermSpec
from mixedlm_ext.sites.coding import Coding, parsed

__all__ = ["Groups", "SiteSums", "specs_of"]

Floats = npt.NDArray[np.float64]
Groups = dict[tuple[str, ...], GroupCoder]


@dataclass(frozen=True, eq=False)
class SiteSums:
    """The sums of the rows of a site, or of several.

    Attributes
    ----------
    coding : dict
        How the rows were written as numbers, the same at all sites.
    groups : dict of tuple of str to GroupCoder
        Levels of each grouping.
    summed : Summed
        Cross-products, counts and extremes.
    roots : list of ndarray
        Triangles of the columns of X and of each random term.
    """

    coding: Coding
    groups: Groups
    summed: Summed
    roots: list[Floats]

    @property
    def terms(self) -> list[TermSpec]:
        """The random terms with their levels."""
        return specs_of(self.coding, self.groups)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The grouping of each random term."""
        return [spec.group for spec in parsed(self.coding).random]


def specs_of(coding: Coding, groups: Groups) -> list[TermSpec]:
    """Return the random terms of a coding, with their levels."""
    specs: list[TermSpec] = []
    for term, spec in zip(coding["terms"], parsed(coding).random, strict=True):
        name = unique_name(spec.name or spec.group_name, [s.name for s in specs])
        levels, columns = groups[spec.group].levels, tuple(term["columns"])
        specs.append(
            TermSpec(name, term["group"], columns, levels, term["structure"], term["text"])
        )
    return specs
