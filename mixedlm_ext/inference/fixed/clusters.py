"""Clusters of rows that are independent of one another under the model."""

from __future__ import annotations

from typing import Any

from mixedlm_ext.design import Design
from mixedlm_ext.design.grouping import level_codes
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.partition import Partition, is_finer, levels_with_rows
from mixedlm_ext.design.row_values import values_of_rows
from mixedlm_ext.errors import DesignError, FitError, did_you_mean
from mixedlm_ext.geometry.marginal import independent_sets
from mixedlm_ext.products.noise import noise_of

__all__ = ["find_clusters"]


def find_clusters(design: Design, cluster: Any = None) -> Partition:
    """Return the clusters that a user names, or the coarsest grouping factor.

    Parameters
    ----------
    design : Design
    cluster : str or array_like (n,), optional
        A grouping factor, a column that the model uses, or a value for each row (a Series of the
        rows of the user's data is matched by its index).

    Returns
    -------
    Partition

    Raises
    ------
    FitError
        If some random effect is shared between clusters, or there is only one cluster.
    """
    found = _coarsest(design) if cluster is None else _given(design, cluster)
    broken = [t.group for t in design.terms if not is_finer(t.codes, found.codes)]
    related = [t.group for t in design.terms if t.related is not None and not t.related.is_identity]
    if related and not is_finer(independent_sets(design), found.codes):
        raise FitError(
            f"levels of {related[0]!r} are related by a known covariance, also across the clusters "
            f"of {found.name!r}, which are not independent. Use the model's standard errors, or "
            "pass families that are unrelated as cluster=."
        )
    if broken:
        raise FitError(
            f"cluster {found.name!r} splits levels of {list_names(dict.fromkeys(broken))}, so its "
            "clusters are not independent. Pass a coarser one, in which every grouping factor "
            "is nested, as cluster=."
        )
    groups = noise_of(design).groups
    if groups is not None and not is_finer(groups, found.codes):
        raise FitError(
            f"cluster {found.name!r} splits groups of correlated residuals, so its clusters are "
            "not independent. Pass a coarser one as cluster=."
        )
    if found.count < 2:
        raise FitError(
            f"cluster {found.name!r} has one level; a robust covariance needs many. Pass another "
            "as cluster=."
        )
    return found


def _coarsest(design: Design) -> Partition:
    """Return the grouping factor in which all others are nested; that of residuals without any."""
    part = None if design.residual is None else design.residual.correlation
    if not design.terms and part is not None:
        assert design.residual_rows is not None and design.residual_rows.codes is not None
        return Partition(":".join(part.group), design.residual_rows.codes, part.levels)
    if not design.terms:
        raise FitError(
            "the model has no grouping factor, so there are no clusters to find. Pass cluster=, a "
            "factor whose levels are independent."
        )
    for term in design.terms:
        if all(is_finer(other.codes, term.codes) for other in design.terms):
            return levels_with_rows(term)
    names = list_names(dict.fromkeys(term.group for term in design.terms))
    raise FitError(
        f"the grouping factors {names} are crossed: none contains the levels of the others, so "
        "there are no independent clusters to find. Pass cluster=, a factor in which all of them "
        "are nested."
    )


def _given(design: Design, cluster: Any) -> Partition:
    """Return the clusters that were asked for."""
    if isinstance(cluster, str):
        for term in design.terms:
            if cluster in (term.name, term.group):
                return levels_with_rows(term)
        columns = {} if design.frame is None else {str(c): c for c in design.frame}
        if cluster not in columns:
            known = [*columns, *(term.group for term in design.terms)]
            raise FitError(
                f"cluster={cluster!r} is neither a grouping factor nor a column that the model "
                f"uses.{did_you_mean(cluster, known)} Pass the column itself, a value for each row."
            )
        assert design.frame is not None
        name, values = cluster, design.frame[columns[cluster]]
    else:
        name, values = str(getattr(cluster, "name", None) or "cluster"), _aligned(design, cluster)
    codes, levels = level_codes(values, name)
    if codes.min(initial=0) < 0:
        raise FitError(f"cluster {name!r} has missing values. Give every row a cluster.")
    return Partition(name, codes, levels)


def _aligned(design: Design, values: Any) -> Any:
    """Return the values for the rows that were used."""
    try:
        return values_of_rows(design, values, "cluster")
    except DesignError as error:
        raise FitError(str(error)) from None
