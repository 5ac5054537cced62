"""Names that are not here: each error says what to type instead."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest
from statsmodels.genmod.families import Binomial

import mixedlm_ext
from mixedlm_ext import MixedGLM, MixedLM, MixedLMResults, absent, datasets


@pytest.fixture(scope="module")
def model() -> MixedLM:
    data = datasets.sleepstudy.load_pandas().data
    return MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", data)


@pytest.fixture(scope="module")
def result(model: MixedLM) -> Any:
    return model.fit()


@pytest.fixture(scope="module")
def generalized() -> Any:
    data = datasets.cbpp.load_pandas().data
    formula = "incidence / size ~ period + (1 | herd)"
    return MixedGLM.from_formula(formula, data, Binomial(), weights="size").fit()


def message(owner: Any, name: str) -> str:
    """What asking for an attribute that is not there says."""
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError) as caught:
        getattr(owner, name)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("fixef", "params"),
        ("fixed_effects", "params"),
        ("ranef", "random_effects"),
        ("VarCorr", "varcorr"),
        ("confint", "conf_int()"),
        ("logLik", "llf"),
        ("AIC", "aic"),
        ("isSingular", "singular"),
        ("is_singular", "singular"),
        ("emtrend", "emtrends"),
        ("bootMer", "bootstrap()"),
        ("parms", "params"),
        ("sumary", "summary"),
    ],
)
def test_results_know_the_names_of_lme4(name: str, meant: str, result: Any) -> None:
    assert f"Did you mean '{meant}'?" in message(result, name)


@pytest.mark.parametrize("name", sorted(absent.R_RESULTS))
def test_what_is_meant_is_there(name: str, result: Any) -> None:
    if hasattr(result, name) or name in absent.RESULTS:
        return
    said = message(result, name)
    way = absent.R_RESULTS[name]
    assert said.endswith((f" {way}?", f" {way!r}?"))
    for meant in re.findall(r"'([^']+)'", way) if way.startswith("'") else [way]:
        owner, first = result, meant.partition("(")[0]
        if first.startswith("mixedlm_ext"):
            continue
        for part in first.split("."):
            owner = getattr(owner, part)


@pytest.mark.parametrize("name", sorted(absent.R_RESULTS))
def test_generalized_results_name_nothing_that_they_lack(name: str, generalized: Any) -> None:
    if hasattr(generalized, name) or name in absent.GLM_RESULTS:
        return
    said, way = message(generalized, name), absent.R_RESULTS[name]
    first = re.split(r"\W", way)[0]
    if way.startswith(("'", "mixedlm_ext")) or hasattr(generalized, first):
        assert said.endswith((f" {way}?", f" {way!r}?"))
    else:
        assert said.endswith(f"{first}, {absent.GLM_RESULTS[first]}.")


def test_generalized_results_say_why_they_lack_what_linear_ones_have(generalized: Any) -> None:
    lacking = {n for n in dir(MixedLMResults) if n[0] != "_"} - {
        n for n in dir(generalized) if n[0] != "_"
    }
    own = {"fit_again", *absent.INHERITED}  # what only the package asks for, and what none has
    assert lacking - own <= set(absent.GLM_RESULTS)
    for sentence in absent.GLM_RESULTS.values():
        for way in re.findall(r"(\w+)\(", sentence.partition("Use ")[2]):
            assert way == "get_influence" or hasattr(generalized, way), sentence


@pytest.mark.parametrize("name", ["jac", "covjak", "hessvv", "scoreobsv", "bsehjj", "nlfun"])
def test_no_near_name_is_one_that_is_refused(name: str, result: Any) -> None:
    assert not any(f"'{refused}'" in message(result, name) for refused in absent.INHERITED)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("bsejac", "cov_params()"),
        ("bsejhj", "robust_cov()"),
        ("covjac", "robust_cov()"),
        ("covjhj", "robust_cov()"),
        ("score_obsv", "influence(groups=...)"),
        ("hessv", "model.hessian(result.theta)"),
        ("get_nlfun", "bootstrap(statistic=...)"),
    ],
)
def test_what_is_inherited_without_a_meaning(name: str, way: str, result: Any) -> None:
    said = message(result, name)
    assert said.startswith(name)
    assert way in said


def test_whatever_is_inherited_can_be_asked_for(result: Any) -> None:
    """No public attribute ends in anything but a value or an AttributeError with a sentence."""
    own = getattr(result, "_results", result)
    for name in dir(type(own)):
        if name.startswith("_") or callable(inspect.getattr_static(type(own), name)):
            continue
        try:
            getattr(own, name)
        except AttributeError as error:
            assert "Use " in str(error), name


def test_models(model: MixedLM) -> None:
    assert "Use hessian(theta)" in message(model, "information")
    assert message(model, "summary") == "summary is of the results. Use model.fit().summary."
    assert message(model, "objectiv").endswith("Did you mean 'objective'?")


def test_the_package() -> None:
    assert "Did you mean 'MixedLM.from_formula(...).fit()'?" in message(mixedlm_ext, "lmer")
    assert "Did you mean 'MixedLM'?" in message(mixedlm_ext, "MixedLm")
    assert "Did you mean 'MixedGLM.from_formula(...).fit()'?" in message(mixedlm_ext, "glmer")
    assert "Did you mean 'result.params'?" in message(mixedlm_ext, "fixef")
    assert message(mixedlm_ext, "glmmTMB").endswith("or 'MixedGLM.from_formula(...).fit()'?")
    assert message(mixedlm_ext, "zzz") == "module 'mixedlm_ext' has no attribute 'zzz'"


def test_names_of_the_language_are_no_slips(result: Any) -> None:
    assert message(result, "__arrai__") == "'MixedLMResults' object has no attribute '__arrai__'"
    assert copy.copy(result).params is not None
    assert pickle.loads(pickle.dumps(result)).params.tolist() == result.params.tolist()


def test_the_class_still_shows_what_it_hides() -> None:
    assert isinstance(MixedLMResults.bsejac, absent._NotHere)
