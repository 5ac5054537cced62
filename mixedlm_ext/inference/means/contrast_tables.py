"""Tables of contrasts of marginal means, by families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedlm_ext.design.messages import list_names
from mixedlm_ext.errors import FitError, shown
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.inference.means.contrast_matrices import (
    DEFAULT_ADJUSTMENTS,
    Contrasts,
    given_contrasts,
    named_contrasts,
    read_kind,
)
from mixedlm_ext.inference.means.linear_functions import LinearFunctions, estimate, mark_lost
from mixedlm_ext.inference.means.multiplicity import (
    Family,
    adjusted_half_widths,
    adjusted_pvalues,
    adjustment_note,
    read_adjustment,
)
from mixedlm_ext.inference.means.response_scale import ResponseScale
from mixedlm_ext.tables import Table

Array = NDArray[np.float64]
Index = NDArray[np.intp]

__all__ = ["Means", "contrast_table", "interaction_table"]

_ROUNDING = 1e-13
"""Sums this much smaller than their largest parts are rounding errors of zero."""


class Means(Protocol):
    """What contrasts read of means; see `MarginalMeans`."""

    @property
    def fitted(self) -> Fitted:
        """The fit."""

    @property
    def levels(self) -> pd.Index:
        """What each mean is of: levels of `by`, then those of the factors."""

    @property
    def by(self) -> tuple[str, ...]:
        """The variables within whose levels contrasts are made."""

    @property
    def rows(self) -> Array:
        """The means are rows times coefficients + offset."""

    @property
    def offset(self) -> Array:
        """See `rows`."""

    @property
    def scale(self) -> ResponseScale | None:
        """The transformation of the response to undo."""


def contrast_table(
    means: Means, kind: Any, reference: Any, adjust: str | None, alpha: float
) -> pd.DataFrame:
    """Return what `MarginalMeans.contrasts` returns."""
    named = read_kind(kind) if isinstance(kind, str) else None
    adjust = _adjustment(adjust, named)
    if reference is not None and named != "reference":
        raise FitError("reference= belongs to kind='reference'. Leave it out, or change kind.")
    own = [_as_tuple(level)[len(means.by) :] for level in means.levels]
    blocks = []
    for group, members in _groups(means).items():
        levels = [own[i] for i in members]
        if named is None:
            plain = [level[0] if len(level) == 1 else level for level in levels]
            found = given_contrasts(kind, plain, _labels(levels))
        else:
            _check_several(levels)
            base = _base(levels, reference) if named == "reference" else 0
            found = named_contrasts(named, _labels(levels), base, _minus(means))
        index = _index(means.by, group, [(name,) for name in found.names], ["contrast"])
        blocks.append((found.C, members, index))
    return _table(means, blocks, adjust, alpha)


def interaction_table(
    means: Means, interaction: Any, reference: Any, adjust: str | None, alpha: float
) -> pd.DataFrame:
    """Return contrasts of contrasts: products of those of each factor."""
    factors = [str(name) for name in list(means.levels.names)[len(means.by) :]]
    kinds = _kind_of_each(interaction, factors)
    adjust = _adjustment(adjust, None)
    if reference is not None and "reference" not in kinds:
        raise FitError("reference= belongs to interaction='reference'. Leave it out.")
    blocks = []
    for group, members in _groups(means).items():
        own = [_as_tuple(means.levels[i])[len(means.by) :] for i in members]
        levels = [list(dict.fromkeys(column)) for column in zip(*own)]
        if own != list(product(*levels)):
            raise FitError(
                f"not all combinations of {list_names(factors)} have a mean, so there are no "
                "contrasts of contrasts. Give their coefficients as kind=."
            )
        parts = [
            _of_factor(one, kind, reference, _minus(means)) for one, kind in zip(levels, kinds)
        ]
        C = parts[0].C
        for part in parts[1:]:
            C = np.asarray(np.kron(C, part.C), dtype=float)
        names = list(product(*(part.names for part in parts)))
        titles = [f"{factor}_{kind}" for factor, kind in zip(factors, kinds)]
        blocks.append((C, members, _index(means.by, group, names, titles)))
    return _table(means, blocks, adjust, alpha)


def _kind_of_each(interaction: Any, factors: Sequence[str]) -> list[str]:
    """Return the kind of contrasts of each factor."""
    if len(factors) < 2:
        raise FitError(
            f"interaction= needs the means of two factors or more, these are of "
            f"{list_names(factors)}. Use emmeans(['a', 'b'])."
        )
    if isinstance(interaction, (str, bool)):
        kinds: list[Any] = ["pairwise" if interaction is True else interaction] * len(factors)
    elif isinstance(interaction, Mapping):
        if set(interaction) != set(factors):
            raise FitError(
                f"interaction= is for {list_names(interaction)}, the means are of "
                f"{list_names(factors)}. Give a kind for each of these."
            )
        kinds = [interaction[factor] for factor in factors]
    else:
        kinds = list(interaction) if hasattr(interaction, "__iter__") else [interaction]
    if len(kinds) != len(factors):
        raise FitError(
            f"interaction= has {len(kinds)} kinds for {len(factors)} factors "
            f"({list_names(factors)}). Give one for each."
        )
    return [read_kind(kind) for kind in kinds]


def _of_factor(levels: list[Any], kind: str, reference: Any, minus: str) -> Contrasts:
    """Return the contrasts of the levels of one factor."""
    own = [(level,) for level in levels]
    _check_several(own)
    base = _base(own, reference) if kind == "reference" else 0
    return named_contrasts(kind, _labels(own), base, minus)


def _table(
    means: Means, blocks: list[tuple[Array, Index, pd.Index]], adjust: str, alpha: float
) -> pd.DataFrame:
    """Return the table of all families: coefficients, positions of the means, names of each."""
    found = [
        estimate(means.fitted, _combine(C, means.rows[m]), _combine(C, means.offset[m]))
        for C, m, _ in blocks
    ]
    index = blocks[0][2].append([names for _, _, names in blocks[1:]])
    estimable = np.concatenate([f.estimable for f in found])
    mark_lost(means.fitted, estimable, index, "contrasts")
    backs = means.scale is not None and means.scale.ratio is not None
    backs = backs and all(np.abs(C.sum(axis=1)).max(initial=0.0) < 1e-10 for C, _, _ in blocks)
    frames = [
        _family_frame(means, one, len(members), names, adjust, alpha, backs)
        for one, (_, members, names) in zip(found, blocks)
    ]
    out = pd.concat(frames)
    note = adjustment_note(adjust)
    if means.scale is not None:
        note += "; tests" if backs else "; contrasts and tests"
        note += f" are on the scale of {means.scale.name}"
    out.attrs["note"] = note
    return out


def _combine(C: Array, values: Array) -> Array:
    """Return C times values, with rounding errors of zero set to zero; nan only where it counts."""
    used = np.where(np.isnan(values), 0.0, values)
    out, size = C @ used, np.abs(C) @ np.abs(used)
    out = np.where(np.abs(out) < _ROUNDING * size, 0.0, out)
    lost = (np.abs(C) @ np.isnan(values).astype(float)) > 0
    return np.where(lost, np.nan, out)


def _family_frame(
    means: Means,
    found: LinearFunctions,
    n_means: int,
    names: pd.Index,
    adjust: str,
    alpha: float,
    backs: bool,
) -> pd.DataFrame:
    """Return the contrasts of one family."""
    family = Family(found.t, found.df, found.cov, n_means)
    half = adjusted_half_widths(family, adjust, alpha) * found.se
    columns = {
        "estimate": found.estimate,
        "se": found.se,
        "df": found.df,
        "t": found.t,
        "pvalue": adjusted_pvalues(family, adjust),
        "ci_lower": found.estimate - half,
        "ci_upper": found.estimate + half,
    }
    frame = Table(columns, index=names)
    if not backs:
        return frame
    scale = means.scale
    assert scale is not None
    for column in ("estimate", "ci_lower", "ci_upper"):
        frame[column] = scale.ratios(frame[column].to_numpy())
    frame["se"] *= frame["estimate"] * abs(scale.ratio_slope())
    ends = frame[["ci_lower", "ci_upper"]].to_numpy()
    frame["ci_lower"], frame["ci_upper"] = ends.min(axis=1), ends.max(axis=1)
    return frame.rename(columns={"estimate": scale.ratio})


def _adjustment(adjust: str | None, kind: str | None) -> str:
    """Return the adjustment of a kind of contrasts; refuse Tukey's for other families."""
    if adjust is None:
        return DEFAULT_ADJUSTMENTS.get(kind or "", "none")
    read = read_adjustment(adjust)
    if read == "tukey" and kind not in ("pairwise", "revpairwise"):
        raise FitError(
            "adjust='tukey' is for all pairs. Use adjust='mvt', exact for any contrasts, or 'holm'."
        )
    return read


def _groups(means: Means) -> dict[tuple[Any, ...], Index]:
    """Return the positions of the means of each level of `by`."""
    keys = [_as_tuple(level)[: len(means.by)] for level in means.levels]
    return {
        key: np.array([i for i, other in enumerate(keys) if other == key])
        for key in dict.fromkeys(keys)
    }


def _index(
    by: Sequence[str], group: tuple[Any, ...], names: list[tuple[str, ...]], titles: list[str]
) -> pd.Index:
    """Return the names of contrasts, below the level of `by`."""
    if not by and len(titles) == 1:
        return pd.Index([name for (name,) in names])
    return pd.MultiIndex.from_tuples([(*group, *name) for name in names], names=[*by, *titles])


def _check_several(levels: Sequence[tuple[Any, ...]]) -> None:
    """Refuse contrasts of a single mean."""
    if len(levels) < 2:
        raise FitError(
            f"there is only one mean, {', '.join(_labels(levels))!r}, and none to compare it with."
        )


def _base(levels: list[tuple[Any, ...]], reference: Any) -> int:
    """Return the position of the reference among the means."""
    wanted = levels[0] if reference is None else _as_tuple(reference)
    single = all(pd.api.types.is_scalar(part) and not pd.isna(part) for part in wanted)
    if not single or wanted not in levels:
        known = [level[0] if len(level) == 1 else level for level in levels]
        raise FitError(f"reference={shown(reference)} is no level; there are {list_names(known)}.")
    return levels.index(wanted)


def _labels(levels: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return levels as text."""
    return [", ".join(str(part) for part in level) for level in levels]


def _minus(means: Means) -> str:
    """Return what stands between two levels: differences of logarithms are ratios."""
    return " / " if means.scale is not None and means.scale.ratio is not None else " - "


def _as_tuple(level: Any) -> tuple[Any, ...]:
    """Return a level of one or several factors as a tuple."""
    return level if isinstance(level, tuple) else (level,)
