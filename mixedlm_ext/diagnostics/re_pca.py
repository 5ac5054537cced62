"""Principal components of the random effects of each term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from mixedlm_ext.display import page
from mixedlm_ext.estimation.fit import Fit
from mixedlm_ext.tables import Table

__all__ = ["PrincipalComponents", "re_pca"]


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


def re_pca(fit: Fit) -> dict[str, PrincipalComponents]:
    """Principal components of the random effects of each term.

    Returns
    -------
    dict of str to PrincipalComponents
        ``std_dev`` (relative to σ, as lme4's ``rePCA``), ``proportion`` of the variance,
        ``loadings``. A standard deviation of zero says that the term has more columns than
        directions in which its levels differ.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
    >>> result.re_pca()["Subject"].std_dev.round(4).tolist()
    [0.9669, 0.2309]
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
