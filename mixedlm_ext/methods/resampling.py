"""Methods of `MixedLMResults` that draw other responses or fit again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from mixedlm_ext.arguments import FIT_ARGUMENTS, FORMULA_ARGUMENTS, refuse_unknown
from mixedlm_ext.fit import Fit
from mixedlm_ext.fit_warnings import warn_of_fit
from mixedlm_ext.inference.bootstrap import Bootstrap, bootstrap
from mixedlm_ext.inference.bootstrap_test import BootstrapTest, bootstrap_test
from mixedlm_ext.many import fit_similar
from mixedlm_ext.prediction.new_levels import warn_of_new_levels
from mixedlm_ext.simulation.new_rows import fit_simulator, new_simulator
from mixedlm_ext.simulation.simulate import check_count, draw, fit_parameters, spawn_seeds
from mixedlm_ext.update import updated_model

if TYPE_CHECKING:
    from mixedlm_ext.model import MixedLM
    from mixedlm_ext.results import MixedLMResults, MixedLMResultsWrapper

__all__ = ["ResamplingMethods"]


class ResamplingMethods:
    """Simulation, refits and the bootstrap."""

    def simulate(
        self,
        n: int = 1,
        rng: Any = None,
        conditional: bool = False,
        exog: Any = None,
        params: Mapping[str, Any] | None = None,
        offset: Any = None,
        weights: Any = None,
    ) -> pd.DataFrame:
        """Draw responses from the fitted model.

        Parameters
        ----------
        n : int
            Number of responses.
        rng : None, int or numpy.random.Generator
            Source of random numbers. Each column has a stream of its own: the first columns do
            not depend on n.
        conditional : bool
            Keep the random effects at their conditional modes; they are drawn anew by default.
        exog : DataFrame, polars.DataFrame or dict, optional
            New data to simulate for; the data of the fit by default. Levels of grouping factors
            that the fit has not seen get new random effects, also when `conditional`.
        params : mapping, optional
            Other parameters than the estimates: any of "beta", "sigma", and "theta" or
            "covariances" (see `MixedLM.simulate`).
        offset : str or array_like, optional
            Of the new data, as for `predict`.
        weights : str or array_like, optional
            Precision weights of the new data, if the fit had weights; the column that the fit
            used by default.

        Returns
        -------
        DataFrame (rows, n)
            With the index of the data; missing where the new data are incomplete. On the scale of
            the model's response: of log(y) for ``log(y) ~ ...``.

        Raises
        ------
        FitError
            If n < 1, or a parameter is unknown or impossible.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> result.simulate(2, rng=42).shape
        (30, 2)
        """
        fit = _own(self).fit_record
        n = check_count(n)
        parameters = fit_parameters(fit, params)
        if exog is None:
            simulator = fit_simulator(fit, parameters, conditional)
            index = fit.design.index
        else:
            simulator, new = new_simulator(fit, parameters, conditional, exog, offset, weights)
            index = new.index
            if conditional:
                warn_of_new_levels(fit.design, new, new.terms, "are drawn")
        return pd.DataFrame(draw(simulator, spawn_seeds(rng, n)), index=index)

    def bootstrap(
        self,
        n: int = 1000,
        kind: str = "parametric",
        statistic: Callable[[Any], Any] | None = None,
        rng: Any = None,
        n_jobs: int = 1,
        progress: bool = False,
        use_u: bool = False,
    ) -> Bootstrap:
        """Refit the model to bootstrap responses.

        Parameters
        ----------
        n : int
            Number of replicates.
        kind : {"parametric", "residual", "wild"}
            Responses drawn from the fitted model; put together from residuals and conditional
            modes drawn with replacement (rescaled to their estimated variances); or marginal
            residuals times one random number for each independent group, which needs no model of
            the variances.
        statistic : callable, optional
            Takes a result and returns a number, a vector, a Series or a dict. By default all
            parameters: standard deviations, correlations, sigma, fixed effects.
        rng : None, int or numpy.random.Generator
            Source of random numbers. With the same seed the replicates are the same, whatever
            n_jobs; those of the parametric bootstrap have the responses of
            ``simulate(n, rng, conditional=use_u)``.
        n_jobs : int
            Processes (joblib).
        progress : bool
            Show a bar (tqdm).
        use_u : bool
            Keep the random effects at their conditional modes and draw residuals only, for
            statements about the groups at hand, as ``use.u`` of lme4's ``bootMer``. Not for "wild".

        Returns
        -------
        Bootstrap
            ``replicates``, ``bse``, ``bias``, ``failures``, ``conf_int(alpha, kind)``,
            ``save(path)``.

        Raises
        ------
        FitError
            If n < 1, all refits fail, or the statistic raises (names the replicate and its seed).

        Warns
        -----
        ConvergenceWarning
            If some refits failed; they are left out and counted.

        Notes
        -----
        Residual bootstrap: Carpenter, Goldstein & Rasbash (2003), Applied Statistics 52, 431-443.
        Wild bootstrap: Modugno & Giannerini (2015), Communications in Statistics 44, 4812-4825.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> boot = result.bootstrap(200, rng=1)
        >>> boot
        <Bootstrap: 200 parametric replicates, 0 failed>
        >>> list(boot.replicates)[:3]
        ['sd(Subject, Intercept)', 'sd(Subject, Days)', 'cor(Subject, Intercept, Days)']
        >>> bool(boot.conf_int().loc["Days"].between(5, 15).all())
        True
        """
        return bootstrap(_own(self), n, kind, statistic, rng, n_jobs, progress, use_u)

    def compare_bootstrap(
        self, other: Any, n: int = 1000, rng: Any = None, n_jobs: int = 1, progress: bool = False
    ) -> BootstrapTest:
        """Test two nested models by the simulated distribution of their likelihood ratio.

        Parameters
        ----------
        other : MixedLMResults
            The larger or the smaller model, on the same data.
        n : int
            Number of responses simulated from the smaller model.
        rng : None, int or numpy.random.Generator
        n_jobs : int
            Processes (joblib); the result does not depend on it.
        progress : bool
            Show a bar (tqdm).

        Returns
        -------
        BootstrapTest
            ``pvalue``, ``statistic``, ``replicates``, ``summary_frame()``.

        Raises
        ------
        FitError
            If the models are not nested or not of the same data.

        Notes
        -----
        Both models are fitted by ML, as pbkrtest's PBmodcomp does (Halekoh & Højsgaard 2014,
        Journal of Statistical Software 59(9)). Unlike there, replicates with a statistic of zero,
        which are common when variances are tested, are counted.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> large = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> small = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
        >>> large.compare_bootstrap(small, n=99, rng=1).pvalue
        0.01
        """
        return bootstrap_test(_own(self), other, n, rng, n_jobs, progress)

    def refit(self, new_endog: Any) -> MixedLMResultsWrapper:
        """Fit the same model to another response, starting from these estimates.

        Parameters
        ----------
        new_endog : array_like (n,)
            As the model sees it (after any transformation in the formula), for the rows of the fit
            or for all rows of the data. The index of a Series must be that of the data.

        Returns
        -------
        MixedLMResults

        Raises
        ------
        DesignError
            If its length or index is another, or it is not numeric, finite and variable.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> round(result.refit(2 * data["Yield"] + 1).sigma / result.sigma, 6)
        2.0
        """
        refitted = self.fit_again(_own(self).model.with_response(new_endog))
        warn_of_fit(refitted.fit_record)
        return refitted

    def refit_ml(self) -> MixedLMResultsWrapper:
        """Fit the same model by maximum likelihood, starting from these estimates.

        Returns
        -------
        MixedLMResults
            With Satterthwaite's degrees of freedom in place of Kenward and Roger's, which are of
            REML fits only.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.dyestuff.load_pandas().data
        >>> result = MixedLM.from_formula("Yield ~ 1 + (1 | Batch)", data).fit()
        >>> round(result.refit_ml().objective, 4)
        327.3271
        """
        refitted = self.fit_again(_own(self).model, reml=False)
        warn_of_fit(refitted.fit_record)
        return refitted

    def update(
        self, formula: str = "~ .", data: Any = None, **kwargs: Any
    ) -> MixedLMResultsWrapper:
        """Fit a changed model.

        Parameters
        ----------
        formula : str
            ``"~ . - x"``, ``"log(y) ~ ."``, ``"~ . - (x | g) + (1 | g)"``: a dot stands for what
            was there; fixed terms, random terms and offset(...) are added and taken away.
        data : DataFrame, polars.DataFrame or dict, optional
            Other data. By default the rows and the columns that this model uses: a variable that
            it does not use needs `data`.
        **kwargs
            Arguments of `MixedLM.from_formula` (weights, offset, subset, ...) to change. Others
            stay, weights and offset among them; with new data they must be columns of it. And of
            `MixedLM.fit` (reml, ddf, sigma, method, ...).

        Returns
        -------
        MixedLMResults
            Fitted by the same criterion, with the same ddf, if they are not given.

        Raises
        ------
        FormulaError
            If the formula cannot be read.
        DesignError
            If the model was made from arrays, or the data do not support the new one.

        Examples
        --------
        >>> from mixedlm_ext import MixedLM, datasets
        >>> data = datasets.sleepstudy.load_pandas().data
        >>> result = MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data).fit()
        >>> result.update("~ . - (Days | Subject) + (Days || Subject)").model.formula_full
        'Reaction ~ Days + (Days || Subject)'
        """
        own = _own(self)
        caller = sys._getframe(1)
        scope = {**caller.f_globals, **caller.f_locals}
        known = (*FORMULA_ARGUMENTS, *FIT_ARGUMENTS)
        refuse_unknown("update", {name: None for name in kwargs if name not in known}, known)
        of_model = {name: value for name, value in kwargs.items() if name in FORMULA_ARGUMENTS}
        model = updated_model(own.model, formula, data, of_model, scope)
        fit = own.fit_record
        ddf = "satterthwaite" if own.cov_type == "cluster" else own.ddf
        same = {"reml": fit.reml, "sigma": fit.fixed_sigma, "ddf": ddf}
        of_fit = {name: value for name, value in kwargs.items() if name not in of_model}
        return model.fit(**{**same, **of_fit})

    def fit_again(
        self, model: MixedLM, reml: bool | None = None, robust: bool = True
    ) -> MixedLMResultsWrapper:
        """Fit a model of the same parameters from these estimates; unlike `fit`, it never warns.

        Parameters
        ----------
        model : MixedLM
            Of another response, or of other rows.
        reml : bool, optional
            The criterion; that of this fit by default.
        robust : bool
            Keep the robust covariance if this fit has one; its clusters are those of this fit's
            rows.

        Returns
        -------
        MixedLMResults
        """
        own = _own(self)
        fit = own.fit_record
        criterion = fit.reml if reml is None else reml
        return self.results_like(
            model, fit_similar(fit, model.design, model.problem, criterion), robust
        )

    def results_like(self, model: MixedLM, fit: Fit, robust: bool = True) -> MixedLMResultsWrapper:
        """Return results of a fit of another model, inference as in these.

        Parameters
        ----------
        model : MixedLM
        fit : Fit
            Of that model.
        robust : bool
            As for `fit_again`.

        Returns
        -------
        MixedLMResults
        """
        own = _own(self)
        if own.cov_type == "cluster":
            clustered = ("cluster", own.cov_kwds) if robust else ()
            return model.results_of(fit, "satterthwaite", *clustered)
        lost = own.ddf.startswith("kenward-roger") and not fit.reml
        return model.results_of(fit, "satterthwaite" if lost else own.ddf)


def _own(methods: ResamplingMethods) -> MixedLMResults:
    """Return the results that the methods belong to."""
    return cast("MixedLMResults", methods)
