"""`MixedLMResults` means by each of statsmodels' names what statsmodels means."""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.formula.api as statsmodels_smf
from numpy.testing import assert_allclose
from scipy import stats

import mixedlm_ext.formula.api as smf
from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError, FormulaError
from mixedlm_ext.results import MixedLMResults

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
NESTED = "score ~ Machine + (1 | Worker / Machine)"


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, name: str = "sleepstudy", **arguments: Any) -> Any:
    """A fit that is shared: tests must not change it."""
    return MixedLM.from_formula(formula, load(name)).fit(**arguments)


def arrays() -> tuple[MixedLM, np.ndarray, list[RandomTerm]]:
    """Sleepstudy by the array interface, with its X and random terms."""
    X = np.column_stack([np.ones(180), load()["Days"]])
    random = [RandomTerm(load()["Subject"].to_numpy(), X, columns=["Intercept", "Days"])]
    return MixedLM(load()["Reaction"].to_numpy(), X, random), X, random


def refused(message: str, kind: type[Exception] = DesignError) -> Any:
    return pytest.raises(kind, match=re.escape(message))


# ---------------------------------------------------------------- names and their meaning

ATTRIBUTES = """params bse tvalues pvalues llf aic bic nobs df_model df_resid df_modelwc scale
fittedvalues resid fe_params bse_fe cov_re random_effects random_effects_cov vcomp converged reml
method theta sigma objective deviance singular random_effects_sd optimization use_t"""
METHODS = """conf_int cov_params predict summary summary2 varcorr group_coefs t_test f_test
wald_test wald_test_terms t_test_pairwise remove_data save load with_ddf"""


@pytest.mark.parametrize("name", [*ATTRIBUTES.split(), *METHODS.split()])
def test_names(name: str) -> None:
    assert callable(getattr(fit(), name)) == (name in METHODS.split())
    assert name in dir(fit())
    assert getattr(MixedLMResults, name, None).__doc__ or name in MixedLMResults.__doc__


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_definitions(reml: bool) -> None:
    r = fit(reml=reml)
    k = 2 + 3 + 1  # β, θ, σ
    assert (r.nobs, r.df_model, r.df_resid, r.df_modelwc) == (180, 1, 178, k)
    assert (r.reml, r.method, r.converged, r.singular) == (reml, "REML" if reml else "ML", 1, 0)
    assert_allclose(r.llf, -r.objective / 2)
    assert_allclose(r.aic, r.objective + 2 * k)
    assert_allclose(r.bic, r.objective + np.log(180) * k)
    assert_allclose(r.scale, r.sigma**2)
    assert_allclose(r.bse, np.sqrt(np.diag(r.cov_params())))
    assert_allclose(r.tvalues, r.params / r.bse)
    assert_allclose(r.pvalues, 2 * stats.t.sf(abs(r.tvalues), r.df_resid_inference))
    half = stats.t.ppf(0.95, r.df_resid_inference) * r.bse
    assert_allclose(r.conf_int(alpha=0.1), np.column_stack([r.params - half, r.params + half]))
    assert_allclose(r.fittedvalues + r.resid, load()["Reaction"])
    assert_allclose(r.fe_params, r.params)
    assert_allclose(r.bse_fe, r.bse)
    assert_allclose(r.deviance, r.model.objective(r.theta, reml=False))
    assert_allclose(r.objective, r.model.objective(r.theta, reml=reml))
    assert_allclose(r.deviance, 1751.98585325 if reml else 1751.93934446, rtol=1e-8)
    T = np.array([[r.theta[0], 0], [r.theta[1], r.theta[2]]])
    assert_allclose(r.cov_re, r.scale * T @ T.T)
    assert_allclose(r.vcomp, np.diag(r.cov_re))


def test_labels_of_the_parameters() -> None:
    r = fit()
    names = ["Intercept", "Days"]
    for series in (r.params, r.bse, r.tvalues, r.pvalues, r.fe_params, r.bse_fe):
        assert isinstance(series, pd.Series)
        assert list(series.index) == names
    assert list(r.conf_int().index) == list(r.cov_params().index) == names
    assert list(r.cov_params().columns) == list(r.cov_re.index) == list(r.cov_re.columns) == names
    assert r.vcomp.index.tolist() == [("Subject", "Intercept"), ("Subject", "Days")]
    assert list(r.varcorr().columns) == ["group", "name", "variance", "std_dev", "corr_1"]
    assert r.varcorr()["group"].tolist() == ["Subject", "Subject", "Residual"]
    modes, sd = r.random_effects["Subject"], r.random_effects_sd["Subject"]
    assert list(modes.columns) == list(sd.columns) == names
    assert modes.index.name == "Subject"
    assert list(modes.index) == list(sd.index) == sorted(load()["Subject"].unique())
    assert_allclose(np.sqrt(np.diag(r.random_effects_cov["308"])), sd.loc["308"])


@pytest.mark.parametrize("index", [np.resize(["a", "b"], 180), np.arange(180)[::-1] * 7])
def test_index_of_the_data_is_kept(index: np.ndarray) -> None:
    data = load().set_axis(index).copy()
    data.iloc[[3, 50], 0] = np.nan
    r = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data).fit()
    expected = np.delete(index, [3, 50]).tolist()
    assert r.nobs == 178
    for series in (r.fittedvalues, r.resid, r.predict(), r.predict(which="population")):
        assert isinstance(series, pd.Series)
        assert series.index.tolist() == expected
    assert r.predict(data).index.tolist() == index.tolist()


def test_several_grouping_factors() -> None:
    r = fit(NESTED, "machines")
    assert list(r.random_effects) == list(r.random_effects_cov) == ["Worker", "Worker:Machine"]
    assert r.n_groups == {"Worker": 6, "Worker:Machine": 18}
    assert isinstance(r.random_effects["Worker:Machine"].index, pd.MultiIndex)
    with refused("cov_re is defined for one grouping factor; this model has", AttributeError):
        _ = r.cov_re
    assert not hasattr(r, "cov_re")
    assert_allclose(r.vcomp, r.varcorr()["variance"][:-1])


def test_array_interface_returns_arrays() -> None:
    model, X, random = arrays()
    r, labelled = model.fit(), fit()
    for name in ("params", "bse", "tvalues", "pvalues", "fe_params", "fittedvalues", "resid"):
        assert type(getattr(r, name)) is np.ndarray, name
        assert_allclose(getattr(r, name), getattr(labelled, name), rtol=1e-6)
    for values in (r.conf_int(), r.cov_params(), r.predict(), r.predict(X, random=random)):
        assert type(values) is np.ndarray
    assert_allclose(r.predict(X, random=random), r.fittedvalues)
    assert_allclose(r.predict(X[:3], which="population"), X[:3] @ r.params)
    frame = pd.DataFrame(X[:2], index=["u", "v"])
    assert r.predict(frame, which="population").index.tolist() == ["u", "v"]
    with refused("the random terms of the new rows are missing. Pass random=[RandomTerm(groups)"):
        r.predict(X)
    with refused("random= is for models made from arrays"):
        labelled.predict(load(), random=random)


def test_array_model_is_created_again() -> None:
    w, o = np.linspace(1, 2, 180), np.linspace(0, 9, 180)
    _, X, random = arrays()
    model = MixedLM(load()["Reaction"].to_numpy(), X, random, weights=w, offset=o)
    again = model.__class__(model.endog, model.exog, **model._get_init_kwds())
    assert_allclose(again.fit().params, model.fit().params, rtol=1e-12)
    assert again.random[0].columns == ("Intercept", "Days")


# ---------------------------------------------------------------- against statsmodels' MixedLM


@pytest.mark.filterwarnings("ignore")  # of statsmodels' optimizer
@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("re_formula", [None, "~ Days"])
def test_statsmodels_own_mixedlm(re_formula: str | None, reml: bool) -> None:
    arguments = {"groups": "Subject", "re_formula": re_formula}
    theirs = statsmodels_smf.mixedlm("Reaction ~ Days", load(), **arguments).fit(reml=reml)
    ours = smf.mixedlm("Reaction ~ Days", load(), **arguments).fit(reml=reml)
    assert ours.llf >= theirs.llf - 1e-7
    assert_allclose(ours.llf, theirs.llf, rtol=1e-7)
    assert_allclose(ours.params, theirs.fe_params, rtol=1e-6)
    assert_allclose(ours.bse, theirs.bse_fe, rtol=1e-3)
    assert_allclose(ours.cov_re, theirs.cov_re, rtol=2e-3, atol=0.05)
    assert_allclose(ours.scale, theirs.scale, rtol=1e-3)
    assert_allclose(ours.fittedvalues, theirs.fittedvalues, rtol=1e-3)
    assert (ours.nobs, ours.method) == (theirs.nobs, theirs.method)
    for subject, modes in theirs.random_effects.items():
        assert_allclose(ours.random_effects["Subject"].loc[subject], modes, atol=0.05)
        cov = theirs.random_effects_cov[subject]
        assert_allclose(ours.random_effects_cov[subject], cov, rtol=3e-3, atol=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("formula", "name", "groups", "re_formula", "vc_formula", "parenthesised"),
    [
        ("Reaction ~ Days", "sleepstudy", "Subject", "~ Days", None, SLEEPSTUDY),
        ("Reaction ~ Days", "sleepstudy", "Subject", None, {"a": "1", "b": "0 + Days"},
         "Reaction ~ Days + (Days || Subject)"),
        ("score ~ Machine", "machines", "Worker", "1", {"m": "0 + C(Machine)"}, NESTED),
        ("strength ~ 1", "pastes", "batch", "1", {"cask": "0 + C(cask)"},
         "strength ~ 1 + (1 | batch / cask)"),
    ],
)  # fmt: skip
def test_statsmodels_spelling(
    formula: str, name: str, groups: str, re_formula: Any, vc_formula: Any, parenthesised: str
) -> None:
    arguments = {"groups": groups, "re_formula": re_formula, "vc_formula": vc_formula}
    ours = MixedLM.from_formula(formula, load(name), **arguments).fit()
    assert_allclose(ours.objective, fit(parenthesised, name).objective, rtol=1e-12)
    assert_allclose(ours.params, fit(parenthesised, name).params, rtol=1e-6)
    theirs = statsmodels_smf.mixedlm(formula, load(name), **arguments).fit(method="lbfgs")
    assert_allclose(ours.llf, theirs.llf, rtol=1e-5)
    assert_allclose(ours.params, theirs.fe_params, rtol=1e-4)


def test_groups_may_be_values() -> None:
    r = smf.mixedlm("Reaction ~ Days", load(), groups=load()["Subject"].to_numpy()).fit()
    assert_allclose(r.objective, fit("Reaction ~ Days + (1 | Subject)").objective, rtol=1e-12)
    assert list(r.random_effects) == ["groups"]
    with refused("re_formula and vc_formula need groups="):
        smf.mixedlm("Reaction ~ Days", load(), re_formula="1")
    with refused("the formula has random terms and groups= is given too", FormulaError):
        smf.mixedlm(SLEEPSTUDY, load(), groups="Subject")


# ---------------------------------------------------------------- copies, files, removed data

MODULE = "def halve(x):\n    return x / 2\n"
READER = """
import pickle, sys, warnings
from pathlib import Path
warnings.simplefilter("error")
for name in sys.argv[1:]:
    result, new, expected = pickle.loads(Path(name).read_bytes())
    assert abs(result.predict(new) - expected).max() < 1e-9, name
    assert "Linear Mixed Model" in str(result.summary()), name
    assert abs(result.resid).max() > 0 and result.model.formula in result.model.formula_full
    refitted = result.model.fit()
    assert abs(refitted.objective - result.objective) < 1e-9, name
    result.remove_data()
    again = pickle.loads(pickle.dumps(result))
    assert abs(again.predict(new) - expected).max() < 1e-9, name
print(len(sys.argv) - 1, "results")
"""
STATEFUL = [
    "np.log(Reaction) ~ center(Days) + (1 | Subject)",
    "Reaction ~ bs(Days, df=4) + (0 + standardize(Days) | Subject)",
    "halve(Reaction) ~ np.log(Days + 1) + C(Days > 4) + (halve(Days) || C(Subject))",
    "Reaction ~ Days + offset(2 * Days) + (center(Days) | Subject)",
]


def test_pickle_in_a_fresh_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halves.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    scope = {"np": np, "halve": importlib.import_module("halves").halve}
    names = []
    for i, formula in enumerate(STATEFUL):
        r = MixedLM.from_formula(formula, load(), eval_env=scope).fit()
        new = load().tail(15).drop(columns="Reaction")
        names.append(str(tmp_path / f"{i}.pickle"))
        Path(names[-1]).write_bytes(pickle.dumps((r, new, r.predict(new))))
    run = subprocess.run(
        [sys.executable, "-c", READER, *names],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    assert run.stdout == f"{len(STATEFUL)} results\n"


@pytest.mark.parametrize("formula", [SLEEPSTUDY, *STATEFUL[:2]])
def test_copies(formula: str, tmp_path: Path) -> None:
    r = MixedLM.from_formula(formula, load()).fit()
    r.save(tmp_path / "result.pickle")
    copies = (copy.deepcopy(r), pickle.loads(pickle.dumps(r)), r.load(tmp_path / "result.pickle"))
    for other in copies:
        assert_allclose(other.params, r.params)
        assert_allclose(other.fittedvalues, r.fittedvalues)
        assert_allclose(other.predict(load()), r.fittedvalues)
        assert_allclose(other.random_effects["Subject"], r.random_effects["Subject"])
        assert str(other.varcorr()) == str(r.varcorr())
        assert_allclose(other.model.fit().objective, r.objective)


@pytest.mark.parametrize("interface", ["formula", "arrays"])
def test_remove_data(interface: str, tmp_path: Path) -> None:
    model = arrays()[0] if interface == "arrays" else MixedLM.from_formula(SLEEPSTUDY, load())
    r = model.fit()
    lines = str(r.summary()).splitlines()
    whole = pickle.dumps(r)
    r.remove_data()
    assert len(pickle.dumps(r)) < 0.7 * len(whole)
    kept = [line for line in lines if "Time:" not in line and "Date:" not in line]
    for other in (r, pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        assert set(kept) <= set(str(other.summary()).splitlines())
        if interface == "formula":
            assert_allclose(other.predict(load().tail(3)), fit().fittedvalues[-3:], rtol=1e-6)
        assert_allclose(other.f_test([[0, 1]]).fvalue, fit().tvalues["Days"] ** 2, rtol=1e-6)
        assert len(next(iter(other.random_effects.values()))) == 18
        for name in ("fittedvalues", "resid"):
            with refused("the data of the fit were removed by remove_data()", FitError):
                getattr(other, name)
        with refused("Predict at new data, or fit the model again.", FitError):
            other.predict()
    r.save(tmp_path / "r.pickle", remove_data=True)
    assert_allclose(MixedLMResults.load(tmp_path / "r.pickle").params, fit().params, rtol=1e-6)


# ---------------------------------------------------------------- the formula and its scope


def test_formula_of_the_model() -> None:
    model = fit().model
    assert (model.formula, model.formula_full) == ("Reaction ~ Days", SLEEPSTUDY)
    assert model.data.formula == "Reaction ~ Days"
    assert list(model.data.model_spec.column_names) == model.exog_names == ["Intercept", "Days"]
    assert (model.endog_names, smf.mixedlm) == ("Reaction", MixedLM.from_formula)


def twice(x: Any) -> Any:
    return 2 * x


def test_variables_of_the_callers_scope() -> None:
    def helper(eval_env: int) -> Any:
        return smf.mixedlm(formula, load(), eval_env=eval_env).fit()

    formula = "Reaction ~ power(Days) + twice(Days) + (1 | Subject)"
    power = np.square
    expected = fit("Reaction ~ I(Days**2) + Days + (1 | Subject)").objective - 2 * np.log(2)
    assert_allclose(smf.mixedlm(formula, load()).fit().objective, expected + 4 * np.log(2))
    assert_allclose(helper(1).objective, expected + 4 * np.log(2))
    scope = {"power": power, "twice": twice}
    assert_allclose(MixedLM.from_formula(formula, load(), eval_env=scope).fit().llf, helper(1).llf)
    with refused("'power' in the fixed part is neither"):
        helper(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(remll=False), "fit() got an unexpected keyword argument 'remll'. Did you "
         "mean 'reml'?"),
        (lambda m: m.fit(verbose=0), "fit() got an unexpected keyword argument 'verbose'."),
        (lambda m: smf.mixedlm(SLEEPSTUDY, load(), weight="w"), "from_formula() got an unexpected "
         "keyword argument 'weight'. Did you mean 'weights'?"),
        (lambda m: MixedLM(m.endog, m.exog, m.random, ofset=1), "MixedLM() got an unexpected "
         "keyword argument 'ofset'. Did you mean 'offset'?"),
        (lambda m: MixedLM.from_formula(SLEEPSTUDY, load(), family="poisson"), "Other families are "
         "those of MixedGLM.from_formula(formula, data, family=...)."),
        (lambda m: MixedLM.from_formula(SLEEPSTUDY, load(), REML=False), "REML or ML is chosen by "
         "fit(reml=...)."),
        (lambda m: m.fit().bootstrap(nsim=9), "bootstrap() got an unexpected keyword argument "
         "'nsim'. Did you mean 'n'? It takes n, kind, statistic, rng, n_jobs, progress, use_u."),
        (lambda m: m.fit().simulate(seed=1), "Did you mean 'rng'?"),
        (lambda m: m.fit().predict(load(), allow_new_levels=True), "Did you mean 'new_levels'?"),
        (lambda m: m.fit().predict(load(), se_fit=True), "those of get_prediction(...)"),
        (lambda m: m.fit().anova(ddf="kr"), "by with_ddf('kenward-roger') of a result. It takes "
         "type."),
        (lambda m: m.fit().residuals(type="pearson"), "Did you mean 'kind'?"),
        (lambda m: m.fit().varcorr(x=1), "It takes none."),
        (lambda m: m.fit().conf_int(level=0.9), "conf_int() got an unexpected keyword argument "
         "'level'. Did you mean 'alpha'?"),
        (lambda m: m.fit().conf_int(parm="Days"), "Did you mean 'cols'?"),
        (lambda m: m.fit().conf_int(method="bootstrap", seed=1), "bootstrap() got an unexpected "
         "keyword argument 'seed'. Did you mean 'rng'?"),
        (lambda m: m.fit().get_prediction(load(), level=0.9), "Intervals take alpha="),
    ],
)  # fmt: skip
def test_unknown_keyword_arguments(call: Any, message: str) -> None:
    with refused(message, TypeError):
        call(fit().model)


# ---------------------------------------------------------------- prediction

PREDICTABLE = [
    (SLEEPSTUDY, "sleepstudy"),
    ("np.log(Reaction) ~ Days * I(Days > 3) + (Days || Subject)", "sleepstudy"),
    ("Reaction ~ bs(Days, df=4) + (bs(Days, df=3) | Subject)", "sleepstudy"),
    (
        "Reaction ~ 0 + Days + offset(10 * Days) + (1 | Subject) + (0 + Days | Subject)",
        "sleepstudy",
    ),
    ("Reaction ~ 0 + (1 | Subject)", "sleepstudy"),
    (NESTED, "machines"),
    ("score ~ C(Machine, Sum) + (0 + Machine | Worker)", "machines"),
    ("angle ~ recipe * temperature + (1 | recipe:replicate)", "cake"),
    ("Q('yield') ~ nitro * Variety + (1 | Block / Variety)", "oats"),
    ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
]


@pytest.mark.parametrize(("formula", "name"), PREDICTABLE)
def test_predictions_at_the_training_data(formula: str, name: str) -> None:
    r = MixedLM.from_formula(formula, load(name)).fit()
    data = load(name).iloc[::-1]
    for new in (data, pl.from_pandas(data), {c: data[c].to_numpy() for c in data}):
        assert_allclose(r.predict(new), r.fittedvalues[::-1], rtol=1e-9)
    assert_allclose(r.predict(), r.fittedvalues)
    X, offset = r.model.exog, 0.0 if r.model.offset is None else r.model.offset
    for population in (r.predict(which="population"), r.predict(data, which="population")[::-1]):
        assert_allclose(population, X @ r.params.to_numpy() + offset, rtol=1e-9)
    assert r.predict(data).index.equals(data.index)


def test_new_levels() -> None:
    r = fit()
    new = pd.DataFrame({"Days": [0, 5.0, 5], "Subject": ["308", "nobody", "309"]}, index=[7, 7, 1])
    known = [253.66367, np.nan, 220.24444]  # of reference/README.md
    assert_allclose(r.predict(new, new_levels="nan"), known, rtol=1e-6)
    assert_allclose(r.predict(new), [known[0], r.params @ [1, 5], known[2]], rtol=1e-6)
    assert r.predict(new).index.tolist() == [7, 7, 1]
    with refused("the fit has not seen the level of 'Subject' at row 7 (such rows: 1). Use"):
        r.predict(new, new_levels="error")
    assert_allclose(
        r.predict(new, "population", new_levels="error"), r.params.iloc[0] + 10.46728596 * new.Days
    )
    with refused("new_levels='eror' is not known. Did you mean 'error'?"):
        r.predict(new, new_levels="eror")
    with refused("which='fixed' is not known. Use one of 'conditional', 'population'."):
        r.predict(new, which="fixed")
    with refused("the new data have no column 'Subject'"):
        r.predict(new[["Days"]])
    assert_allclose(r.predict({"Days": [2.0]}, which="population"), r.params @ [1, 2])


def test_missing_values_stay_in_place() -> None:
    new = load().head(4).copy()
    new.iloc[1, new.columns.get_loc("Days")] = np.nan
    new["Subject"] = new["Subject"].astype(object).where([True, True, False, True], None)
    expected = fit().fittedvalues[:4].to_numpy()
    assert_allclose(fit().predict(new), np.where([1, 0, 0, 1], expected, np.nan))
    assert_allclose(fit().predict(new, "population").isna(), [False, True, False, False])


def test_offsets() -> None:
    data = load().assign(z=3.0 * load()["Days"])
    by_formula = smf.mixedlm("Reaction ~ Days + offset(z) + (1 | Subject)", data).fit()
    by_name = smf.mixedlm("Reaction ~ Days + (1 | Subject)", data, offset="z").fit()
    by_array = smf.mixedlm("Reaction ~ Days + (1 | Subject)", data, offset=data["z"].array).fit()
    for r in (by_formula, by_name, by_array):
        assert_allclose(r.params["Days"], 10.46728596 - 3)
        assert_allclose(r.fittedvalues, fit("Reaction ~ Days + (1 | Subject)").fittedvalues)
    assert_allclose(by_formula.predict(data), by_formula.fittedvalues)
    assert_allclose(by_name.predict(data), by_name.fittedvalues)
    assert_allclose(by_array.predict(data, offset=data["z"]), by_array.fittedvalues)
    assert_allclose(by_formula.predict(data, offset=data["z"]), by_name.fittedvalues + data["z"])
    with refused("the new data have no column 'z', the offset of the fit."):
        by_name.predict(load())


def test_coefficients_of_the_groups() -> None:
    coefs = fit().group_coefs()["Subject"]
    assert_allclose(coefs, fit().random_effects["Subject"] + fit().params)
    days = pd.DataFrame({"Days": 3.0, "Subject": coefs.index})
    assert_allclose(fit().predict(days), coefs @ [1, 3])
    split = fit("Reaction ~ Days + I(Days**2) + (1 | Subject) + (0 + Days | Subject)")
    both = split.group_coefs()["Subject"]
    assert list(both) == ["Intercept", "Days", "I(Days ** 2)"]
    assert_allclose(both["Days"], split.params["Days"] + split.random_effects["Subject.1"]["Days"])
    none = fit("Reaction ~ 0 + (1 | Subject)")
    assert_allclose(none.group_coefs()["Subject"], none.random_effects["Subject"])
