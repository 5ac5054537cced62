"""`fit_many`: thousands of responses (voxels, genes, traits) on the design of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from statsmodels.tools.sm_exceptions import ConvergenceWarning

from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.design import Design
from mixedlm_ext.design.checks import number_vector
from mixedlm_ext.design.column import is_labelled, is_polars, one_column
from mixedlm_ext.design.messages import list_names
from mixedlm_ext.design.removed import require_rows
from mixedlm_ext.design.row_values import positions
from mixedlm_ext.design.values import row_shape
from mixedlm_ext.display import page
from mixedlm_ext.errors import DesignError, FitError, warn_caller
from mixedlm_ext.estimation.assembled import Assembled
from mixedlm_ext.estimation.estimate import estimate
from mixedlm_ext.estimation.estimates import Estimates
from mixedlm_ext.estimation.fit_warnings import warn_of_fit
from mixedlm_ext.estimation.fitted import Fitted
from mixedlm_ext.identification import is_rounding
from mixedlm_ext.inference.fixed.ddf import degrees_of_freedom
from mixedlm_ext.inference.parameters import RESIDUAL_KINDS, model_parameters
from mixedlm_ext.inference.restrictions import read_restrictions
from mixedlm_ext.many import Refitter, component_values
from mixedlm_ext.parallel import pieces, run

Array = NDArray[np.float64]

__all__ = ["ManyFits", "fit_many", "place_of", "responses_of"]

_SMALLEST = 1e-150


class ManyFits:
    """Fits of many responses on one design; every frame has a row for each response.

    Attributes
    ----------
    params, bse : DataFrame (r, p)
        Fixed effects and their standard errors.
    theta : DataFrame (r, m)
        Relative covariance parameters.
    components : DataFrame (r, c)
        Standard deviations and correlations of the random effects, sigma, and parameters of a
        residual structure.
    sigma, objective : Series (r,)
        Residual standard deviation; REML criterion or minus twice the log-likelihood.
    converged : Series of bool (r,)
    failures : Series
        Why, for the responses that could not be fitted; their rows are missing values.
    """

    def __init__(
        self, model: Assembled, refitter: Refitter, Y: Array, names: pd.Index, e: Estimates
    ) -> None:
        self._model, self._Y = model, Y
        self._reml, self._sigma = refitter.reml, refitter.sigma
        self._restrictions = refitter.restrictions
        parameters = model_parameters(model.design, sigma=False)
        columns = [p.name for p in parameters if p.kind in ("sd", "cor", "range")]
        residual = [p.name for p in parameters if p.kind in RESIDUAL_KINDS]
        x_names = list(model.design.x_names)
        self.params = pd.DataFrame(e.beta, index=names, columns=x_names)
        self.bse = pd.DataFrame(e.bse, index=names, columns=x_names)
        self.theta = pd.DataFrame(e.theta, index=names)
        self.components = pd.DataFrame(
            np.column_stack(
                [component_values(refitter.problem.covariance, e), e.sigma, e.residual]
            ),
            index=names,
            columns=[*columns, "sigma", *residual],
        )
        self.sigma = pd.Series(e.sigma, index=names, name="sigma")
        self.objective = pd.Series(e.objective, index=names, name="objective")
        self.converged = pd.Series(e.converged, index=names, name="converged")
        failures = {names[r]: why for r, why in e.failures.items()}
        self.failures = pd.Series(failures, dtype=object, name="failure")

    def __len__(self) -> int:
        return len(self.sigma)

    def __repr__(self) -> str:
        return f"<ManyFits: {len(self)} responses, {int((~self.converged).sum())} not converged>"

    def _repr_html_(self) -> str:
        return page(repr(self)[1:-1], [self.params], ["The fixed effects of each response."])

    @property
    def tvalues(self) -> pd.DataFrame:
        """Fixed effects divided by their standard errors."""
        return self.params / self.bse

    def result(self, name: Any, ddf: str = "satterthwaite") -> Any:
        """Return the whole result of one response.

        Parameters
        ----------
        name : label
            The response's.
        ddf : str
            As for `MixedLM.fit`.

        Returns
        -------
        MixedLMResults
        """
        place = place_of(name, self.params.index)
        model = self._model.with_response(self._Y[:, place], str(name))
        theta = self.theta.iloc[place].to_numpy()
        covariance = model.problem.covariance
        start = covariance.standardize(theta) if np.isfinite(theta).all() else None
        if model.problem.residual is not None:
            start = None
        criterion = criterion_of(model.problem, self._reml, self._sigma, self._restrictions)
        fit = estimate(model.design, criterion, start)
        warn_of_fit(fit)
        return Fitted.by(fit, degrees_of_freedom(fit, ddf), model.face).result()


def fit_many(
    model: Assembled,
    Y: Any,
    reml: bool = True,
    sigma: float | None = None,
    n_jobs: int = 1,
    progress: bool = False,
    fix: Mapping[str, float] | None = None,
    equal: Sequence[Sequence[str]] | None = None,
) -> ManyFits:
    """Fit many responses on the design of this model.

    Parameters
    ----------
    Y : DataFrame or array_like (nobs, r)
        A column for each response, as the model sees it (after any transformation in the
        formula); a row for each row of the fit, or for each row of the data.
    reml, sigma
        As for `fit`.
    n_jobs : int
        Processes (joblib); the result does not depend on it.
    progress : bool
        Show a bar (tqdm).
    fix, equal
        As for `fit`.

    Returns
    -------
    ManyFits
        Frames ``params``, ``bse``, ``theta``, ``components``, ``sigma``, ``objective``,
        ``converged`` with a row for each response; ``result(name)`` is the whole result of one.

    Raises
    ------
    DesignError
        If Y has other rows, or responses with missing values or without variation (named).

    Warns
    -----
    ConvergenceWarning
        If some fits failed.

    Notes
    -----
    The estimates are those of single fits. With one grouping factor all responses are fitted
    at once; with several, each has its own search on shared cross-products.

    Examples
    --------
    >>> import numpy as np
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.sleepstudy.load_pandas().data
    >>> model = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)
    >>> Y = data[["Reaction"]].assign(speed=1000 / data["Reaction"])
    >>> many = model.fit_many(Y)
    >>> many.params.round(3)
              Intercept    Days
    Reaction    251.405  10.467
    speed         3.966  -0.111
    """
    values, names = responses_of(model.design, Y)
    _refuse_constant(values, names, model.design)
    restrictions, sigma = read_restrictions(
        model.design, model.problem.covariance, fix, equal, sigma
    )
    refitter = Refitter(model.design, model.problem, bool(reml), sigma, restrictions=restrictions)
    chunks = pieces(values.shape[1], refitter.chunk)
    work = [values[:, c] for c in chunks]
    done = run(refitter.fit, work, n_jobs, progress, [part.shape[1] for part in work])
    estimates = Estimates.join(done)
    if sigma is None:
        _strike_reproduced(estimates, np.abs(values).max(axis=0))
    lost = names[~estimates.converged]
    if len(lost):
        warn_caller(
            f"{len(lost)} of {len(names)} responses did not converge: {list_names(lost)}. "
            "See .converged and .failures.",
            ConvergenceWarning,
        )
    return ManyFits(model, refitter, values, names, estimates)


def _strike_reproduced(e: Estimates, sizes: Array) -> None:
    """Take out the responses that the model reproduces: their sigma is rounding error."""
    why = "the model reproduces the response exactly, so that no residual variance is left."
    e.strike(np.flatnonzero(is_rounding(e.sigma, sizes)).tolist(), why)


def place_of(name: Any, names: pd.Index) -> int:
    """Return the position of a response that was fitted."""
    if name not in names:
        raise FitError(f"no response {name!r} was fitted. See .params.index.")
    place = names.get_loc(name)
    if not isinstance(place, int):
        raise FitError(f"several responses are called {name!r}. Rename the columns.")
    return place


def responses_of(design: Design, Y: Any) -> tuple[Array, pd.Index]:
    """Return the responses (n, r) and their names, or say what is wrong with them."""
    require_rows(design)
    frame = Y
    if is_polars(Y) and hasattr(Y, "get_columns"):
        frame = pd.DataFrame({c.name: one_column(c, c.name) for c in Y.get_columns()})
    shape = () if sparse.issparse(frame) else row_shape(frame, "Y")
    if len(shape) != 2 or not shape[1]:
        raise DesignError(
            f"Y has shape {shape}; it needs a row for each row of the data and a column for each "
            "response: a DataFrame, or an array of two dimensions."
        )
    labels: Any = getattr(frame, "column_names", None) or getattr(frame, "columns", range(shape[1]))
    names = pd.Index(labels)
    chosen = positions(design, frame.index if is_labelled(Y) else None, shape[0], "Y")
    values = np.array(_numbers(frame, names)[chosen], dtype=np.float64, order="F")
    _check(values, names)
    return values, names


def _numbers(Y: Any, names: pd.Index) -> Array:
    """Return the columns as numbers (rows, r), missing values as nan."""
    if isinstance(Y, pd.DataFrame):
        if all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in Y.dtypes):
            return Y.to_numpy(dtype=np.float64)
        columns = [Y.iloc[:, j] for j in range(len(names))]
    else:
        array = np.asarray(Y)
        if array.dtype.kind in "iuf":
            return np.asarray(array, dtype=np.float64)
        columns = list(array.T)
    parts = [
        number_vector(column, f"response {name!r}", len(column))
        for name, column in zip(names, columns)
    ]
    return np.column_stack(parts)


def _check(values: Array, names: pd.Index) -> None:
    """Refuse missing and infinite responses by name."""
    lost = names[np.flatnonzero(~np.isfinite(values).all(axis=0))]
    if len(lost):
        raise DesignError(
            f"{len(lost)} of {len(names)} responses have missing or infinite values: "
            f"{list_names(lost)}. All responses share the rows of the model: fit these one by one, "
            "or leave the rows out for all."
        )
    size = np.abs(values).max(axis=0)
    extreme = names[np.flatnonzero((size > 0.0) & ~((size > _SMALLEST) & (size < 1 / _SMALLEST)))]
    if len(extreme):
        raise DesignError(
            f"{len(extreme)} of {len(names)} responses have values whose squares leave the range "
            f"of floating point: {list_names(extreme)}. Give them another unit."
        )


def _refuse_constant(values: Array, names: pd.Index, design: Design) -> None:
    """Refuse responses without variation by name."""
    rest = values if design.offset is None else values - design.offset[:, None]
    constant = names[np.flatnonzero((rest == rest[0]).all(axis=0))]
    if len(constant):
        raise DesignError(
            f"{len(constant)} of {len(names)} responses are constant: {list_names(constant)}. "
            "Drop these columns."
        )
