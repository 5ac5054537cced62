"""statsmodels' container of endog and exog, made to pickle and to be cheap on millions of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import patsy
from statsmodels.base.data import ModelData, PandasData

from mixedlm_ext.caching import cached_property
from mixedlm_ext.design import Design
from mixedlm_ext.errors import DesignError

__all__ = ["model_data"]


def model_data(design: Design, hasconst: bool | None, as_arrays: bool) -> ModelData:
    """Return the container whose results carry pandas' labels, or plain arrays.

    Raises
    ------
    DesignError
        If `hasconst` is neither True, False nor None.
    """
    if not (hasconst is None or isinstance(hasconst, (bool, np.bool_))):
        raise DesignError("hasconst is neither True, False nor None.")
    return (_ArrayData if as_arrays else _FrameData)(design, hasconst)


class _DesignData(ModelData):
    """What both containers do in another way than statsmodels.

    Its constructor is not called, which would read arrays and names off a frame of X that hardly
    anybody asks for: they are those of the design.
    """

    def __init__(self, design: Design, hasconst: bool | None) -> None:
        self._design = design
        self.endog, self.exog = design.y, design.X
        self._handle_constant(hasconst)
        self._cache: dict[str, Any] = {}
        if design.x_names and design.endog_name:
            self._cache.update(xnames=list(design.x_names), ynames=design.endog_name)
        _ = self.xnames, self.ynames  # kept, whatever becomes of the rows
        if design.formula is not None:
            self.formula = design.formula.written_fixed

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

    @property
    def frame(self) -> pd.DataFrame:
        """The columns of the data that the formula uses; a model of arrays has no such thing."""
        if self._design.formula is None or self._design.frame is None:
            raise AttributeError("frame")
        return self._design.frame

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

    @cached_property
    def orig_endog(self) -> pd.Series:
        """The response with its labels."""
        design = self._design
        return pd.Series(design.y, index=design.index, name=design.endog_name, copy=False)

    @cached_property
    def orig_exog(self) -> pd.DataFrame:
        """X with labels and names."""
        design = self._design
        return pd.DataFrame(design.X, index=design.index, columns=list(design.x_names), copy=False)


class _ArrayData(_DesignData):
    """Results are plain arrays; names are still known."""

    @property
    def orig_endog(self) -> Any:
        """The response."""
        return self.endog

    @property
    def orig_exog(self) -> Any:
        """X."""
        return self.exog

    def _get_names(self, arr: Any) -> list[str]:
        return [self._design.endog_name] if arr.ndim == 1 else list(self._design.x_names)
