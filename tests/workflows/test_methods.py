"""Functions as methods: what help, signatures, completion, pickles and type checkers see."""

import doctest
import inspect
import pickle
import pydoc
from functools import lru_cache
from typing import Any, get_type_hints

import pytest
from simulation import fit

from mixedlm_ext import MixedLM, MixedLMResults, datasets
from mixedlm_ext.estimation.fitted import Fitted

CLASSES: tuple[type, ...] = (MixedLM, MixedLMResults)
METHODS = [
    pytest.param(owner, name, id=f"{owner.__name__}.{name}")
    for owner in CLASSES
    for name, value in vars(owner).items()
    if hasattr(value, "__wrapped__") and inspect.isfunction(value)
]


@lru_cache
def result() -> Any:
    return fit("Reaction ~ Days + (Days | Subject)", datasets.sleepstudy.load_pandas().data)


def test_they_are_there() -> None:
    assert len(METHODS) >= 40


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_method_shows_the_function_it_is(owner: type, name: str) -> None:
    method = getattr(owner, name)
    function = method.__wrapped__
    assert method.__doc__ == function.__doc__
    assert method.__doc__.splitlines()[0].endswith(".")
    assert (method.__name__, method.__module__) == (name, owner.__module__)
    assert method.__qualname__ == f"{owner.__name__}.{name}"
    first, *others = inspect.signature(method).parameters.values()
    assert first.name == "self"
    assert others == list(inspect.signature(function).parameters.values())[1:]
    assert get_type_hints(function)["return"] is not None
    assert pickle.loads(pickle.dumps(method)) is method


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_its_examples_are_found_where_it_stands(owner: type, name: str) -> None:
    function = getattr(owner, name).__wrapped__
    home = inspect.getmodule(function)
    assert home is not None
    assert home.__name__ != owner.__module__
    found = [test.name for test in doctest.DocTestFinder().find(home) if test.examples]
    expected = ">>>" in (function.__doc__ or "")
    assert (f"{home.__name__}.{function.__name__}" in found) == expected


def test_a_bound_method() -> None:
    anova = result().anova
    assert str(inspect.signature(anova)) == "(type: 'int | str' = 3) -> 'pd.DataFrame'"
    assert pickle.loads(pickle.dumps(anova))(type=1).equals(anova(type=1))
    assert "anova" in dir(result())
    text = pydoc.plain(pydoc.render_doc(anova))
    assert "Test every term of the fixed part by F." in text
    assert "anova(type:" in text
    with pytest.raises(TypeError, match=r"anova\(\) got an unexpected keyword argument 'tpye'"):
        anova(tpye=1)


def test_a_method_that_returns_other_results_says_so() -> None:
    r = result()
    assert str(inspect.signature(r.refit_ml)) == "() -> 'MixedLMResults'"
    assert get_type_hints(MixedLMResults.refit_ml.__wrapped__)["return"] is Fitted
    changed = r.update("~ . + I(Days**2)"), r.refit(r.model.endog)
    for other in (r.refit_ml(), r.with_ddf("normal"), *changed):
        assert type(other) is MixedLMResults
    assert r.with_ddf("normal").model is r.model


def test_a_fit_is_of_the_class_that_help_describes() -> None:
    r = result()
    assert isinstance(r, MixedLMResults)
    assert r._results is r
    page = pydoc.plain(pydoc.render_doc(MixedLMResults))
    for name in ("anova", "conf_int", "predict", "refit", "summary", "bse"):
        assert f"\n |  {name}" in page, name


class Own(MixedLM):
    """A user's own model."""


def test_results_of_a_subclass_are_of_its_models() -> None:
    r = result()
    own = Own.from_formula(
        "Reaction ~ Days + (Days | Subject)", datasets.sleepstudy.load_pandas().data
    ).fit()
    assert "Own" in str(own.summary())
    assert type(own.update("~ . - Days").model) is Own
    assert type(own.refit(r.model.endog * 2).model) is Own


def test_names_that_a_user_gives_are_kept() -> None:
    r = fit("Reaction ~ Days + (1 | Subject)", datasets.sleepstudy.load_pandas().data)
    before = r.t_test("Days = 0").pvalue
    r.model.exog_names[:] = ["base", "slope"]
    assert list(r.params.index) == list(r.bse.index) == ["base", "slope"]
    assert list(r.conf_int().index) == ["base", "slope"]
    assert r.t_test("slope = 0").pvalue == before
    assert "slope" in str(r.summary())
