"""statsmodels' container of endog and exog, made to pickle and to be cheap on millions of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import patsy
from statsmodels.base.data import ModelData, PandasData

from mixedlm_ext.design import Design

__all__ = ["model_data"]


def model_data(
    endog: pd.Series, exog: pd.DataFrame, hasconst: bool | None, design: Design, as_arrays: bool
) -> ModelData:
    """Return the container whose results carry pandas' labels, or plain arrays."""
    kind = _ArrayData if as_arrays else _FrameData
    return kind(endog, exog, hasconst=hasconst, design=design)


class _DesignData(ModelData):
    """What both containers do in another way than statsmodels."""

    def __init__(self, endog: Any, exog: Any, hasconst: bool | None, design: Design) -> None:
        self._design = design
        super().__init__(endog, exog, hasconst=hasconst)
        _ = self.xnames, self.ynames  # read off the data when first asked, and kept
        if design.formula is not None:
            self.formula = design.formula.fixed
            self.frame = design.frame

    def attach_rows(self, result: Any) -> Any:
        """Label values for the rows; those of all rows of the data with ``missing="exclude"``."""
        if self._design.full_index is None:
            return super().attach_rows(result)
        values, index = self._design.aligned(np.asarray(result))
        return pd.Series(values, index=index) if isinstance(self, PandasData) else values

    def drop_rows(self, design: Design) -> None:
        """Keep only what a design without rows has."""
        self._design = design
        self._cache = {k: v for k, v in vars(self)["_cache"].items() if k != "row_labels"}
        if design.formula is not None:
            self.frame = design.frame

    @property
    def model_spec(self) -> patsy.DesignInfo | None:
        """patsy's description of the fixed part; rebuilt when needed, it cannot be pickled."""
        return self._design.fixed_info

    @property
    def design_info(self) -> patsy.DesignInfo | None:
        """`model_spec` by the name that statsmodels 0.14 knows."""
        return self.model_spec

    def _handle_constant(self, hasconst: bool | None) -> None:
        """Find a constant column, or one that the columns of X imply, from X'X."""
        self.const_idx = None
        self.k_constant = int(bool(hasconst))
        X, elsewhere = self.exog, self._design.rows.elsewhere
        if elsewhere is not None:
            self.const_idx = elsewhere.constant if hasconst is not False else None
            self.k_constant = int(elsewhere.has_constant if hasconst is None else bool(hasconst))
            return
        if hasconst is False or 0 in X.shape:  # without columns, or after remove_data
            return
        constant = np.flatnonzero((X[0] == X).all(axis=0) & (X[0] != 0))
        if len(constant):
            self.const_idx, self.k_constant = int(constant[0]), 1
        elif hasconst is None:
            largest = np.abs(X).max(axis=0)  # whose squares may overflow
            X = X / np.where(largest > 0.0, largest, 1.0)
            sums = X.sum(axis=0)
            implied = sums @ np.linalg.lstsq(X.T @ X, sums, rcond=None)[0]
            self.k_constant = int(abs(implied - len(X)) < 1e-8 * len(X))

    def __getstate__(self) -> dict[str, Any]:
        return dict(vars(self))

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class _FrameData(_DesignData, PandasData):
    """Labels come from pandas."""


class _ArrayData(_DesignData):
    """Results are plain arrays; names are still known."""

    def __init__(self, endog: Any, exog: Any, hasconst: bool | None, design: Design) -> None:
        super().__init__(np.asarray(endog), np.asarray(exog), hasconst, design)

    def _get_names(self, arr: Any) -> list[str]:
        return [self._design.endog_name] if arr.ndim == 1 else list(self._design.x_names)
