"""The second pass, of a residual structure: the terms of its short sum, batch by batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.matrices import BatchRows
from mixedlm_ext.batches.residual_levels import LearntResiduals
from mixedlm_ext.batches.residual_links import Followers, Key, Matrix, joined_rows
from mixedlm_ext.design.messages import quoted
from mixedlm_ext.design.residual_checks import check_neighbours, check_told_apart, check_varies
from mixedlm_ext.design.residual_rows import evaluated, new_residual_rows
from mixedlm_ext.design.scope import Scope
from mixedlm_ext.errors import DataError, DesignError
from mixedlm_ext.linalg.keys import distinct_rows
from mixedlm_ext.products.batches import RunningSum
from mixedlm_ext.products.layout import Layout
from mixedlm_ext.products.noise import Noise
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.products.residual_moves import (
    SparseSum,
    cells_of,
    change_of_layout,
    matrix_of,
)
from mixedlm_ext.products.residual_short import ShortSums, Terms
from mixedlm_ext.products.residual_sums import MOST_TERMS
from mixedlm_ext.products.responses import columns_in_layout
from mixedlm_ext.residual.structure import ResidualRows, ResidualStructure

__all__ = ["RunningResiduals", "rows_of_structure"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.intp]

_MOST_NUMBERS = 250_000_000
"""Numbers that all terms together may hold: 2 GB."""


class RunningResiduals:
    """The terms of the batches so far, in the layout of the second pass.

    Parameters
    ----------
    learnt : LearntResiduals
    layout : Layout
    """

    def __init__(self, learnt: LearntResiduals, layout: Layout) -> None:
        self._learnt, self._layout = learnt, layout
        width = sum(k * levels for k, levels in layout.shapes) + layout.p + 1
        self._joined = joined_rows(learnt, width)
        self._classes: dict[bytes, int] = {}
        self._x: list[Floats] = []
        self._rows: list[int] = []
        self._alone: list[RunningSum] = []
        self._sums: dict[Key, SparseSum] = {}
        self._categories: pd.Index | None = None
        self._same: list[_SameGroups] = []

    def add(self, rows: BatchRows, y: Floats, noise: Noise) -> None:
        """Add the rows of a batch.

        Parameters
        ----------
        rows : BatchRows
        y : ndarray (m,)
            Response less offset.
        noise : Noise
            Of the weights.
        """
        own = self._residual_rows(rows)
        self._compare_groups(rows, own)
        classes = self._class_of(own.x)
        for number in np.unique(classes).tolist():
            at = np.flatnonzero(classes == number)
            terms = [replace(term, X=term.X[at], codes=term.codes[at]) for term in rows.terms]
            self._alone[number].add(y[at], rows.X[at], terms, noise.take(at))
            self._rows[number] += len(at)
        if self._learnt.structure.kind is not None:
            assert own.codes is not None
            root_w = noise.root_times(np.ones(len(y)))
            H = columns_in_layout(rows.terms, rows.X, y, self._layout, root_w)
            self._joined.add(H, own.codes, classes, own.positions, self._add)

    def _add(self, key: Key, S: Matrix) -> None:
        """Add to a term."""
        if key not in self._sums:
            self._sums[key] = SparseSum()
            if len(self._sums) + len(self._alone) > MOST_TERMS:
                raise self._too_many()
        self._sums[key].add(S)

    def _too_many(self) -> DesignError:
        """Return what a sum that is not short is refused by."""
        structure = self._learnt.structure
        return DesignError(
            f"the residuals have {structure.text}, and rows in batches have too many different "
            f"{'times between neighbours, or variances' if structure.n_rho else 'variances'}, for "
            f"sums over them to be kept: {MOST_TERMS} at most. Pass a frame, round the column, or "
            "take strata of it."
        )

    def _compare_groups(self, rows: BatchRows, own: ResidualRows) -> None:
        """Compare the levels of the terms with the groups of residuals that are all alike."""
        kind = self._learnt.structure.kind
        if kind is None or kind.by_distance:
            return
        assert own.codes is not None
        if not self._same:
            groups = len(self._learnt.sizes)
            self._same = [_SameGroups(len(term.levels), groups) for term in rows.terms]
        for same, term in zip(self._same, rows.terms, strict=True):
            same.see(term.X, term.codes, own.codes)

    def alike_terms(self) -> tuple[Floats | None, ...]:
        """Return what `Elsewhere.alike` is."""
        return tuple(same.ones() for same in self._same)

    # --- what rows have to do with the structure --------------------------------------------------

    def _residual_rows(self, rows: BatchRows) -> ResidualRows:
        """Evaluate the structure in the rows of a batch."""
        structure, frame, scope = self._learnt.structure, rows.used.frame, self._learnt.scope
        own = rows_of_structure(structure, frame, scope)
        part = structure.correlation
        if part is not None:
            assert own.codes is not None
            new = np.flatnonzero(own.codes >= len(part.levels))
            if len(new):
                raise DataError(
                    f"{rows.used.batch.place} has a level of {':'.join(part.group)} at row "
                    f"{quoted(frame.index[int(new[0])])} that was not there when the data were "
                    "read first. A source must yield the same rows each time."
                )
            if part.position is not None:
                self._check_categories(part.position, frame)
        return own

    def _check_categories(self, code: str, frame: pd.DataFrame) -> None:
        """Refuse positions that are categories, if these differ between batches."""
        dtype = getattr(evaluated(code, frame, self._learnt.scope), "dtype", None)
        if not isinstance(dtype, pd.CategoricalDtype):
            return
        if self._categories is None:
            self._categories = dtype.categories
        elif not self._categories.equals(dtype.categories):
            raise DesignError(
                f"{code!r} has other categories in some batches than in others, so that its "
                "levels have no positions. Write a column of numbers."
            )

    def _class_of(self, x: Floats) -> Codes:
        """Return the class of each row: rows of one class have the same variance."""
        found, which = distinct_rows(x)
        numbers = np.empty(len(found), np.intp)
        for i, values in enumerate(found):
            key = values.tobytes()
            if key not in self._classes:
                if len(self._sums) + len(self._alone) >= MOST_TERMS:
                    raise self._too_many()
                self._classes[key] = len(self._x)
                self._x.append(values)
                self._rows.append(0)
                self._alone.append(RunningSum(self._layout))
            numbers[i] = self._classes[key]
        return numbers[which]

    # --- when all rows were summed ----------------------------------------------------------------

    def finished(
        self, cp: CrossProducts, kept: Codes, logdet_weights: float
    ) -> tuple[ResidualStructure, ShortSums]:
        """Return the structure and its sums.

        Parameters
        ----------
        cp : CrossProducts
            Of all rows, in the layout to have.
        kept : ndarray of intp
            The columns of X that it has.
        logdet_weights : float

        Raises
        ------
        DesignError
            If positions have a common factor, a covariate is constant, or the factors of the
            variances are not told apart.
        """
        structure = self._structure()
        unit = 1.0 if structure.kind is None else structure.kind.unit
        counted, places = self._joined.counted(unit)
        own: list[tuple[int, int, int, Matrix]] = [
            (0, s, s, matrix_of(total.products())) for s, total in enumerate(self._alone)
        ]
        for (kind, number, s, t), total in self._sums.items():
            own.append((places[kind, number], s, t, total.total()))
        T = change_of_layout(self._layout, cp.layout, kept)
        matrices = [T.T @ S @ T for *_, S in own]
        cells = cells_of(matrices, cp.layout)
        if len(matrices) * len(cells) > _MOST_NUMBERS:
            raise DesignError(
                f"the residuals have {structure.text}, of which {len(matrices)} sums of "
                f"{len(cells):,} numbers each would have to be kept. Take fewer strata, or fewer "
                "levels in the random effects."
            )
        numbers = np.array([cells.take(S) for S in matrices])
        which, one, two = (np.array([entry[k] for entry in own], np.intp) for k in range(3))
        sums = ShortSums(
            cp.layout,
            structure,
            cp.n,
            counted,
            np.array(self._x),
            np.array(self._rows, dtype=float),
            Terms(numbers, which, one, two),
            cells,
            logdet_weights,
            int((self._learnt.sizes.astype(float) ** 2).sum()),
        )
        return structure, sums

    def _structure(self) -> ResidualStructure:
        """Return the structure in the units of all rows."""
        text, part = self._learnt.text, self._learnt.structure.correlation
        if part is not None and isinstance(self._joined, Followers):
            gaps = self._joined.gaps
            assert text.correlation is not None
            if part.kind.word == "ar1":
                check_neighbours(text.correlation, gaps)
            else:
                part = replace(part, kind=replace(part.kind, unit=float(gaps.min())))
        x, counts = np.array(self._x), np.array(self._rows, dtype=float)
        variances, first = [], 0
        for own, made in zip(text.variances, self._learnt.structure.variances, strict=True):
            if made.levels is None:
                column = x[:, first]
                mean = counts @ column / counts.sum()
                scale = float(np.sqrt(counts @ (column - mean) ** 2 / counts.sum()))
                check_varies(own, scale, float(np.abs(column).max()))
                made = replace(made, scales=(scale,))
            variances.append(made)
            first += len(made.scales)
        check_told_apart(text.variances, x, counts)
        return ResidualStructure(part, tuple(variances))


def rows_of_structure(
    structure: ResidualStructure, frame: pd.DataFrame, scope: Scope
) -> ResidualRows:
    """Return what rows of a fit have to do with the structure of its residuals."""
    own = new_residual_rows(structure, frame, scope)
    if structure.kind is not None and structure.kind.word == "ar1" and own.positions is not None:
        return replace(own, positions=np.rint(own.positions))
    return own


class _SameGroups:
    """Whether a term has a level for each group, and a combination of its columns is one.

    Parameters
    ----------
    levels, groups : int
        Of the term, and of the residuals.
    """

    def __init__(self, levels: int, groups: int) -> None:
        self._level = np.full(groups, -1, np.intp)
        self._same = levels == groups
        self._first = np.zeros(0)
        self._constant, self._indicator, self._nonzero = (np.zeros(0, bool) for _ in range(3))
        self._sums_to_one = True

    def see(self, X: Floats, codes: Codes, groups: Codes) -> None:
        """Compare the rows of a batch."""
        if not self._same:
            return
        unknown = self._level[groups] < 0
        self._level[groups[unknown]] = codes[unknown]
        self._same = bool((self._level[groups] == codes).all())
        if not len(self._first):
            self._first = X[0].copy()
            self._constant, self._indicator = self._first != 0, np.ones(X.shape[1], bool)
            self._nonzero = np.zeros(X.shape[1], bool)
        self._constant &= (self._first == X).all(axis=0)
        still = self._indicator & ((X == 0) | (X == 1)).all(axis=0)
        self._sums_to_one &= not (self._nonzero & self._indicator & ~still).any()
        self._indicator = still
        self._nonzero |= (X != 0).any(axis=0)
        self._sums_to_one &= bool((X[:, still].sum(axis=1) == 1.0).all())

    def ones(self) -> Floats | None:
        """Return the combination of the columns that is one, if the levels are the groups."""
        if not self._same or len(np.unique(self._level)) < len(self._level):
            return None
        if self._constant.any():
            j = int(np.flatnonzero(self._constant)[0])
            return np.asarray((np.arange(len(self._first)) == j) / self._first[j])
        return self._indicator.astype(float) if self._sums_to_one else None
