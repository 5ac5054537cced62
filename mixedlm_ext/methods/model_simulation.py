"""Methods of `MixedLM` for other responses: simulate, power, fit many."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from mixedlm_ext.design import Design
from mixedlm_ext.design.row_values import check_new_response
from mixedlm_ext.fit_many import ManyFits, fit_many
from mixedlm_ext.inference.ddf import check_method
from mixedlm_ext.inference.power import Power, power
from mixedlm_ext.pls import Problem, problem_with
from mixedlm_ext.products.responses import Reduction
from mixedlm_ext.simulation.simulate import (
    Parameters,
    check_count,
    design_simulator,
    draw,
    given_parameters,
    spawn_seeds,
)

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM

__all__ = ["ModelSimulationMethods"]


class ModelSimulationMethods:
    """What a model does with responses that are not its own."""

    def with_design(self, design: Design, problem: Problem | None = None) -> MixedLM:
        """Return a model like this one, of another design, whose problem may be there already."""
        old = cast("MixedLM", self)
        new = type(old).__new__(type(old))
        new._set_up(design, bool(old.k_constant), old._as_arrays)
        if problem is not None:
            new.__dict__["problem"] = problem
        return new

    def with_response(self, endog: Any, name: str | None = None) -> MixedLM:
        """Return a model of another response on the same design.

        Parameters
        ----------
        endog : array_like (n,)
            The response as the model sees it (after any transformation in the formula), for the
            rows of the fit or for all rows of the data.
        name : str, optional
            Of the response; that of this model's by default.

        Returns
        -------
        MixedLM
            It shares all of this model's cross-products that do not depend on the response.
        """
        old = cast("MixedLM", self)
        y = check_new_response(old.design, endog)
        named = old.design.endog_name if name is None else name
        reduce = Reduction(old.design, old.problem.cp.layout)
        problem = problem_with(old.problem, reduce(y[:, None]))
        return self.with_design(replace(old.design, y=y, endog_name=named), problem)

    def simulate(
        self,
        beta: Any,
        theta: Any = None,
        covariances: Any = None,
        sigma: float = 1.0,
        n: int = 1,
        rng: Any = None,
    ) -> pd.DataFrame:
        """Draw responses from parameters, without a fit.

        Parameters
        ----------
        beta : array_like (p,) or mapping of name to number
            Fixed effects, in the order of ``exog_names`` or by name.
        theta : array_like (m,), optional
            Relative covariance parameters, as `MixedLMResults.theta`; or
        covariances : mapping of term name to array_like, or sequence of array_like
            The covariance matrix of the random effects of each term, in the units of the response;
            a variance for a term of one column, variances for uncorrelated columns.
        sigma : float
            Residual standard deviation (of a row with weight one).
        n : int
            Number of responses.
        rng : None, int or numpy.random.Generator
            Source of random numbers. Each column has a stream of its own.

        Returns
        -------
        DataFrame (nobs, n)
            With the index of the data.

        Raises
        ------
        FitError
            If a parameter is missing, unknown or impossible, or n < 1.

        Notes
        -----
        y = Xβ + offset + Zb + e with b ~ N(0, Σ) and e ~ N(0, σ²W⁻¹). A model is made with a
        response; when planning a study that has none yet, put any numbers that are not all equal
        into its column. They play no part here.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from mixedlm_ext import MixedLM
        >>> plan = pd.DataFrame({"g": np.repeat(range(20), 5), "x": np.tile(range(5), 20)})
        >>> plan["y"] = plan["x"]  # a placeholder
        >>> model = MixedLM.from_formula("y ~ x + (1 | g)", plan)
        >>> y = model.simulate({"Intercept": 0, "x": 0.5}, covariances={"g": 1.0}, n=3, rng=1)
        >>> y.shape
        (100, 3)
        """
        design = cast("MixedLM", self).design
        simulator = design_simulator(design, self._given(beta, theta, covariances, sigma))
        values = draw(simulator, spawn_seeds(rng, check_count(n)))
        return pd.DataFrame(values, index=design.index)

    def power(
        self,
        hypothesis: Any,
        beta: Any,
        theta: Any = None,
        covariances: Any = None,
        sigma: float = 1.0,
        n: int = 1000,
        alpha: float = 0.05,
        reml: bool = True,
        ddf: str = "satterthwaite",
        rng: Any = None,
        n_jobs: int = 1,
        progress: bool = False,
    ) -> Power:
        """Estimate the power of a test by simulation.

        Parameters
        ----------
        hypothesis : str, array_like or tuple
            As `MixedLMResults.t_test` takes it, such as ``"x = 0"``; several are tested together.
        beta, theta, covariances, sigma
            The truth, as for `simulate`.
        n : int
            Number of simulated responses.
        alpha : float
            Level of the test.
        reml, ddf
            How each is fitted and tested, as for `fit`.
        rng : None, int or numpy.random.Generator
        n_jobs : int
            Processes (joblib); the result does not depend on it.
        progress : bool
            Show a bar (tqdm).

        Returns
        -------
        Power
            Its ``power``, ``ci_lower``, ``ci_upper`` (binomial), ``n_failed``, ``pvalues``.

        Raises
        ------
        FitError
            If the hypothesis names no fixed effect, or an argument is impossible.

        Examples
        --------
        >>> import numpy as np, pandas as pd
        >>> from mixedlm_ext import MixedLM
        >>> plan = pd.DataFrame({"g": np.repeat(range(10), 5), "x": np.tile(range(5), 10)})
        >>> plan["y"] = plan["x"]  # a placeholder
        >>> model = MixedLM.from_formula("y ~ x + (1 | g)", plan)
        >>> found = model.power("x = 0", [0, 0.5], covariances=[1.0], n=50, rng=1)
        >>> found.n_rejected, round(found.ci_lower, 3)
        (50, 0.929)
        """
        check_method(ddf)
        parameters = self._given(beta, theta, covariances, sigma)
        return power(self, hypothesis, parameters, n, alpha, reml, ddf, rng, n_jobs, progress)

    def fit_many(
        self,
        Y: Any,
        reml: bool = True,
        sigma: float | None = None,
        n_jobs: int = 1,
        progress: bool = False,
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
        return fit_many(cast("MixedLM", self), Y, bool(reml), sigma, n_jobs, progress)

    def _given(self, beta: Any, theta: Any, covariances: Any, sigma: Any) -> Parameters:
        """Return parameters that a user wrote down."""
        model = cast("MixedLM", self)
        return given_parameters(
            model.design, model.problem.covariance, beta, sigma, theta, covariances
        )
