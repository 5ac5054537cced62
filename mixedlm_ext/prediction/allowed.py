"""What the code in a predictor's file may use without being asked for: pure functions of values.

Nothing here reads or writes files, imports, evaluates text, or hands out the interpreter.
"""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import patsy.builtins

from mixedlm_ext.design.scope import FALLBACK_FUNCTIONS

__all__ = ["BUILTINS", "CLASSES", "FORMULA", "FUNCTIONS", "METHODS", "MODULES", "SIZED"]

MODULES = frozenset({"numpy", "pandas", "math"})
"""Modules of which the names in `FUNCTIONS` are allowed."""

BUILTINS: dict[str, Any] = {
    name: getattr(builtins, name)
    for name in ("abs", "bool", "float", "int", "len", "max", "min", "round", "str", "sum")
}

FORMULA: dict[str, Any] = {
    **{name: getattr(patsy.builtins, name) for name in patsy.builtins.__all__},
    **FALLBACK_FUNCTIONS,
}
"""The formula language's own functions."""

_NUMPY = """
    all amax amin angle any around array asarray astype average bool_ clip column_stack concatenate
    cumprod cumsum datetime64 diff digitize e euler_gamma fix float32 float64 hstack i0 imag inf
    int16 int32 int64 int8 interp isclose isin isneginf isposinf max mean median min nan nan_to_num
    nanmax nanmean nanmedian nanmin nanpercentile nanquantile nanstd nansum nanvar newaxis ones_like
    percentile pi polyval prod ptp quantile ravel real round searchsorted select sinc size sort
    squeeze stack std str_ sum timedelta64 transpose uint16 uint32 uint64 uint8 unwrap var vstack
    where zeros_like
"""
_PANDAS = """
    Categorical Interval NA NaT Period Series Timedelta Timestamp cut isna isnull notna notnull qcut
    to_datetime to_numeric to_timedelta
"""
_MATH = "cos e exp expm1 fabs inf log log10 log1p log2 nan pi sin sqrt tan tau"

_CONTRASTS = "ContrastMatrix Diff Helmert Poly Sum Treatment"
_MEMORIES = """
    patsy.state.Center patsy.state.Standardize patsy.splines.BS patsy.mgcv_cubic_splines.CC
    patsy.mgcv_cubic_splines.CR patsy.mgcv_cubic_splines.TE
"""

FUNCTIONS = frozenset(
    {f"numpy.{name}" for name, value in vars(np).items() if isinstance(value, np.ufunc)}
    | {f"numpy.{name}" for name in _NUMPY.split()}
    | {f"pandas.{name}" for name in _PANDAS.split()}
    | {f"math.{name}" for name in _MATH.split()}
    | {f"patsy.{name}" for name in _CONTRASTS.split()}
)
"""Functions, types and constants by the names they are imported by."""

CLASSES = frozenset([*_MEMORIES.split(), *(f"patsy.{name}" for name in _CONTRASTS.split())])
"""Classes whose objects a file may hold: the memories of stateful transforms, and contrasts."""

_METHODS = """
    T abs add all any astype between cat categories ceil clip codes contains count cummax cummin
    cumprod cumsum date day dayofweek dayofyear days diff div dt endswith eq extract fillna find
    floor floordiv ge get gt hour imag isin isna isnull item left len lower lstrip lt le map mask
    match max mean median mid min minute mod month mul ne normalize notna notnull ordered pow prod
    quantile quarter rank ravel real removeprefix removesuffix replace reshape right round rstrip
    second shape shift size slice slice_replace split squeeze startswith std str strftime strip sub
    sum swapcase time title to_numpy to_period to_timestamp tolist total_seconds truediv tz_convert
    tz_localize upper values var week weekday where year zfill
"""
_SIZED = """
    array bs cc cr cut digitize ones_like poly qcut reshape shift slice_replace split te zfill
"""

METHODS = frozenset(_METHODS.split())
"""Attributes of columns and of what is made of them."""

SIZED = frozenset(_SIZED.split())
"""Functions and methods whose numbers say how much memory they take."""
