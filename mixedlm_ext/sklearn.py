"""`MixedLMRegressor`: a mixed model as an estimator of scikit-learn, which this module needs.

Examples
--------
>>> from mixedlm_ext import datasets
>>> from mixedlm_ext.sklearn import MixedLMRegressor
>>> data = datasets.sleepstudy.load_pandas().data
>>> regressor = MixedLMRegressor(slopes=["Days"])
>>> regressor = regressor.fit(data[["Days"]], data["Reaction"], groups=data["Subject"])
>>> regressor.predict(data[["Days"]].head(2), groups=data["Subject"].head(2)).round(2)
array([253.66, 273.33])
>>> regressor.predict(data[["Days"]].head(2)).round(2)
array([251.41, 261.87])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from mixedlm_ext.design import RandomTerm
from mixedlm_ext.errors import DesignError
from mixedlm_ext.model import MixedLM
from mixedlm_ext.results import MixedLMResults

Array = NDArray[np.float64]

__all__ = ["MixedLMRegressor"]

_RESPONSE = "response"


class MixedLMRegressor(RegressorMixin, BaseEstimator):
    """Linear mixed model with scikit-learn's interface.

    Parameters
    ----------
    formula : str, optional
        The right side of a formula over the columns of X, which has to be a frame then, and
        ``groups`` if they are given: ``"x * f + (x | groups)"``. By default a coefficient for each
        column of X and an intercept for each group.
    slopes : sequence of str or int, optional
        Columns of X, by name or position, whose slopes differ between groups. Not with `formula`.
    reml : bool
        The criterion, as of `MixedLM.fit`.
    new_levels : {"population", "error", "nan"}
        What to predict for groups that the fit has not seen.
    correlation, variance : str, optional
        With `formula`, the structure of the residuals as `MixedLM.from_formula` takes it:
        ``"ar1(week | groups)"``, ``"sex"``.

    Attributes
    ----------
    result_ : MixedLMResults
        The fit, with all that it offers.
    coef_ : ndarray (p,)
        Fixed effects without the intercept; of all columns of the fixed part with `formula`.
    intercept_ : float
        Zero where the formula has none.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X was a frame.

    Notes
    -----
    ``groups`` is metadata that `fit`, `predict` and `score` ask for: after
    ``sklearn.set_config(enable_metadata_routing=True)`` it is passed as
    ``cross_validate(..., params={"groups": g})``. Without groups, predictions have random effects
    of zero.

    Examples
    --------
    >>> from sklearn import config_context
    >>> from sklearn.model_selection import KFold, cross_val_score
    >>> from mixedlm_ext import datasets
    >>> from mixedlm_ext.sklearn import MixedLMRegressor
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> X, y, groups = data[["Days"]], data["Reaction"], {"groups": data["Subject"]}
    >>> regressor = MixedLMRegressor(slopes=["Days"])
    >>> cv = KFold(5, shuffle=True, random_state=0)
    >>> with config_context(enable_metadata_routing=True):
    ...     scores = cross_val_score(regressor, X, y, cv=cv, params=groups)
    >>> round(float(scores.mean()), 2)
    0.72
    """

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __init__(
        self,
        formula: str | None = None,
        slopes: Sequence[str | int] | None = None,
        reml: bool = True,
        new_levels: str = "population",
        correlation: str | None = None,
        variance: str | None = None,
    ) -> None:
        self.formula = formula
        self.slopes = slopes
        self.reml = reml
        self.new_levels = new_levels
        self.correlation = correlation
        self.variance = variance

    def fit(self, X: Any, y: Any, groups: Any = None) -> MixedLMRegressor:
        """Fit the model.

        Parameters
        ----------
        X : array_like or DataFrame (n, p)
        y : array_like (n,)
        groups : array_like (n,), optional
            The grouping factor; needed unless the formula has random terms of its own.

        Returns
        -------
        MixedLMRegressor

        Raises
        ------
        DesignError
            If there are no groups, or X is no frame and there is a formula.
        """
        make = self._from_arrays if self.formula is None else self._named
        model = make(X, y, groups)
        self.result_: MixedLMResults = model.fit(reml=self.reml)
        params = np.asarray(self.result_.params)
        first = [name in ("Intercept", "const") for name in model.exog_names]
        self.intercept_ = float(params[first].sum())
        self.coef_ = params[~np.array(first, dtype=bool)]
        return self

    def predict(self, X: Any, groups: Any = None) -> Array:
        """Predict the response.

        Parameters
        ----------
        X : array_like or DataFrame (n, p)
        groups : array_like (n,), optional
            The groups of the rows. Without them random effects are zero.

        Returns
        -------
        ndarray (n,)
        """
        check_is_fitted(self, "result_")
        if self.formula is not None:
            data = self._table(X, groups, fitting=False)
            used = "conditional" if self._has_groups(data) else "population"
            return np.asarray(self.result_.predict(data, which=used, new_levels=self.new_levels))
        X = validate_data(self, X, reset=False)
        exog = np.column_stack([np.ones(len(X)), X])
        if groups is None:
            return np.asarray(self.result_.predict(exog, which="population"))
        check_consistent_length(X, groups)
        term = [RandomTerm(np.asarray(groups), exog[:, self._random], name="groups")]
        return np.asarray(self.result_.predict(exog, random=term, new_levels=self.new_levels))

    def score(self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> float:
        """Return R² of the predictions; see `predict`."""
        return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def _from_arrays(self, X: Any, y: Any, groups: Any) -> MixedLM:
        """Return the model of numeric columns and one grouping factor."""
        if self.correlation is not None or self.variance is not None:
            raise DesignError(
                "correlation= and variance= name columns, which is what a formula is for: write "
                "MixedLMRegressor('x + (1 | groups)', correlation='ar1(week | groups)')."
            )
        X, y = validate_data(self, X, y, y_numeric=True, ensure_min_samples=2)
        if groups is None:
            raise DesignError(
                "MixedLMRegressor needs groups: fit(X, y, groups=...), or a formula with a random "
                "term over the columns of X, such as MixedLMRegressor('x + (1 | g)')."
            )
        check_consistent_length(X, groups)
        names = [str(name) for name in getattr(self, "feature_names_in_", range(X.shape[1]))]
        self._random = [0, *(1 + self._position(slope, names) for slope in self.slopes or ())]
        exog = np.column_stack([np.ones(len(X)), X])
        term = RandomTerm(np.asarray(groups), exog[:, self._random], name="groups")
        return MixedLM(y, exog, [term])

    def _position(self, slope: str | int, names: list[str]) -> int:
        """Return the position of a column of X given by name or position."""
        if isinstance(slope, str) and slope in names:
            return names.index(slope)
        if not isinstance(slope, str) and 0 <= slope < len(names):
            return int(slope)
        raise DesignError(f"slopes has {slope!r}; X has the columns {', '.join(names)}.")

    def _named(self, X: Any, y: Any, groups: Any) -> MixedLM:
        """Return the model of a formula."""
        if self.slopes is not None:
            raise DesignError(
                "slopes= and a formula exclude each other: write (x | groups) into it."
            )
        data = self._table(X, groups, fitting=True)
        check_consistent_length(data, y)
        data[_RESPONSE] = np.asarray(y)
        structure: dict[str, Any] = {"correlation": self.correlation, "variance": self.variance}
        return MixedLM.from_formula(f"{_RESPONSE} ~ {self.formula}", data, **structure)

    def _table(self, X: Any, groups: Any, fitting: bool) -> pd.DataFrame:
        """Return the columns that a formula may name."""
        if not hasattr(X, "columns"):
            raise DesignError(
                f"X is {type(X).__name__}; a formula names columns, so X has to be a DataFrame."
            )
        validate_data(self, X, reset=fitting, skip_check_array=True)
        data = pd.DataFrame({name: X[name] for name in X.columns})
        for name in ("groups", _RESPONSE):
            if name in data and (name == _RESPONSE or groups is not None):
                raise DesignError(f"X has a column {name!r}; rename it, since the name is taken.")
        if groups is not None:
            check_consistent_length(X, groups)
            data["groups"] = np.asarray(groups)
        return data

    def _has_groups(self, data: pd.DataFrame) -> bool:
        """Tell whether the rows have the groups that `fit` was given."""
        used = {name for term in self.result_.n_groups for name in term.split(":")}
        return "groups" not in used or "groups" in data
