"""Principal components of the random effects of each term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixedlm_ext.display import page
from mixedlm_ext.fit import Fit
from mixedlm_ext.tables import Table

__all__ = ["PrincipalComponents", "principal_components"]


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """Principal components of one term's random effects, largest first.

    Attributes
    ----------
    std_dev : Series (k,)
        Standard deviations relative to σ. A zero says that the effects vary in fewer directions
        than the term has columns.
    proportion : Series (k,)
        Share of the variance.
    loadings : DataFrame (k, k)
        A column for each component.
    """

    std_dev: pd.Series
    proportion: pd.Series
    loadings: pd.DataFrame

    def summary_frame(self) -> pd.DataFrame:
        """Standard deviation, proportion and cumulative proportion of each component."""
        return Table(
            {
                "std_dev": self.std_dev,
                "proportion": self.proportion,
                "cumulative": self.proportion.cumsum(),
            }
        )

    def _repr_html_(self) -> str:
        return page("Principal components of the random effects", [self.summary_frame()])

    def __repr__(self) -> str:
        return f"{self.summary_frame().round(6)}\n\nLoadings\n{self.loadings.round(6)}"


def principal_components(fit: Fit) -> dict[str, PrincipalComponents]:
    """Return the components of each term: the singular value decomposition of its template T.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    dict of str to PrincipalComponents
    """
    out = {}
    for term, T in zip(fit.design.terms, fit.templates):
        vectors, sd, _ = np.linalg.svd(T)
        largest = np.abs(vectors).argmax(axis=0)
        vectors = vectors * np.sign(vectors[largest, np.arange(len(T))])
        names = [f"PC{i + 1}" for i in range(len(T))]
        total = float(sd @ sd)
        share = sd**2 / total if total > 0 else np.full(len(T), np.nan)
        out[term.name] = PrincipalComponents(
            pd.Series(sd, index=names, name="std_dev"),
            pd.Series(share, index=names, name="proportion"),
            pd.DataFrame(vectors, index=list(term.columns), columns=names),
        )
    return out
