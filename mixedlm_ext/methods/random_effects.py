"""Methods of `MixedLMResults` about the random effects: variances, modes, group coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from mixedlm_ext.compat import cache_readonly
from mixedlm_ext.fit import Fit
from mixedlm_ext.random_effects import (
    conditional_covariances,
    conditional_modes,
    conditional_sds,
    group_coefficients,
)
from mixedlm_ext.tables import Table
from mixedlm_ext.varcorr import varcorr_frame

__all__ = ["RandomEffectsMethods"]


class RandomEffectsMethods:
    """Variance components, conditional modes and their covariances."""

    fit_record: Fit

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of each grouping factor."""
        return {term.group: len(term.levels) for term in self.fit_record.design.terms}

    def varcorr(self) -> pd.DataFrame:
        """Variances, standard deviations and correlations of the random effects.

        Returns
        -------
        DataFrame
            A row for each random-effects column and one for the residual; columns ``group``,
            ``name``, ``variance``, ``std_dev``, and ``corr_1``, ``corr_2``, ...: correlations with
            the first, second, ... column of the term.
        """
        return varcorr_frame(self.fit_record)

    @cache_readonly
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of the random effects: for each term a frame of levels by columns."""
        return conditional_modes(self.fit_record)

    @cache_readonly
    def random_effects_sd(self) -> dict[str, pd.DataFrame]:
        """Conditional standard deviations of the random effects, the rest as known."""
        return conditional_sds(self.fit_record)

    @cache_readonly
    def random_effects_cov(self) -> dict[Any, Any]:
        """Conditional covariances of the random effects.

        For each term, by the names of `random_effects`, a dict of level to covariance frame. Where
        there is one term, its levels are found directly as well, as in statsmodels:
        ``random_effects_cov["308"]``.
        """
        return conditional_covariances(self.fit_record)

    def group_coefs(self) -> dict[str, pd.DataFrame]:
        """Coefficients of each level of each grouping factor: fixed effects plus conditional modes.

        Returns
        -------
        dict of str to DataFrame
            For each grouping factor a frame of levels by coefficients. Random-effects columns that
            are no fixed effects have a fixed part of zero.
        """
        return group_coefficients(self.fit_record)

    @cache_readonly
    def cov_re(self) -> pd.DataFrame:
        """Covariance matrix of the random effects of the only grouping factor."""
        design = self.fit_record.design
        if len(self.n_groups) > 1:
            raise AttributeError(
                "cov_re is defined for one grouping factor; this model has "
                f"{', '.join(self.n_groups)}. Use varcorr()."
            )
        names = [c for term in design.terms for c in term.columns]
        out = np.zeros((len(names), len(names)))
        start = 0
        for cov in self.fit_record.random_cov:
            stop = start + len(cov)
            out[start:stop, start:stop] = cov
            start = stop
        return Table(out, index=names, columns=names)

    @cache_readonly
    def vcomp(self) -> pd.Series:
        """Variances of all random-effects columns, indexed by term and column."""
        frame = self.varcorr().iloc[:-1].dropna(subset="variance")  # correlations have none
        return frame.set_index(["group", "name"])["variance"]
