"""Marginal means and contrasts against emmeans, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from test_anova import REFERENCE, SPLIT_PLOT, fit, unbalanced

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.errors import FitError

COVARIATE = "angle ~ temp * recipe + (1 | recipe:replicate)"


def as_list(x: Any) -> list[Any]:
    return x if isinstance(x, list) else [x]


@pytest.mark.parametrize(
    "case", REFERENCE["means"], ids=lambda c: f"{c['formula']} {c['specs']} {c['ddf']}"
)
def test_against_emmeans(case: dict[str, Any]) -> None:
    result = fit(case["formula"], unbalanced(case["data"])).with_ddf(case["ddf"])
    specs = as_list(case["specs"])
    # emmeans varies the first factor fastest
    means = result.emmeans(specs[::-1], at=case.get("at") or None)
    frame, expected = means.summary_frame(), case["means"]
    assert_allclose(frame["mean"], expected["emmean"], rtol=1e-6)
    assert_allclose(frame["mean_se"], expected["SE"], rtol=1e-6)
    assert_allclose(frame["df"], expected["df"], rtol=1e-5)
    assert_allclose(frame["mean_ci_lower"], expected["lower.CL"], rtol=1e-6)
    assert_allclose(frame["mean_ci_upper"], expected["upper.CL"], rtol=1e-6)
    pairs, expected = means.contrasts(adjust="none"), case["pairs"]
    if len(specs) == 1:
        assert list(pairs.index) == expected["contrast"]
    for ours, theirs in (("estimate", "estimate"), ("se", "SE"), ("df", "df"), ("t", "t.ratio")):
        assert_allclose(pairs[ours], expected[theirs], rtol=1e-5, atol=1e-7)
    assert_allclose(pairs["pvalue"], expected["p.value"], rtol=1e-5)
    if len(specs) == 1:
        assert_allclose(means.contrasts(adjust="tukey")["pvalue"], case["tukey"], rtol=1e-4)
    assert_allclose(means.contrasts(adjust="holm")["pvalue"], case["holm"], rtol=1e-5)


def test_within_the_levels_of_by() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    by = result.emmeans("recipe", by="temperature")
    every = result.emmeans(["temperature", "recipe"])
    assert by.summary_frame().index.names == ["temperature", "recipe"]
    assert_allclose(by.summary_frame(), every.summary_frame())
    contrasts = by.contrasts(adjust="none")
    assert contrasts.index[0] == ("175", "A - B")
    assert len(contrasts) == 6 * 3
    within = every.contrasts(adjust="none")
    assert_allclose(contrasts.iloc[0], within.loc["175, A - 175, B"])
    # the family is one level of by
    adjusted = by.contrasts(adjust="bonferroni")["pvalue"]
    assert_allclose(adjusted, np.minimum(3 * contrasts["pvalue"], 1.0))


def test_contrasts_against_a_reference() -> None:
    means = fit(COVARIATE, unbalanced("cake")).emmeans("recipe")
    pairs = means.contrasts(adjust="none")
    first = means.contrasts("reference", adjust="none")
    assert list(first.index) == ["B - A", "C - A"]
    assert_allclose(first["estimate"], -pairs.loc[["A - B", "A - C"], "estimate"])
    other = means.contrasts("reference", reference="B", adjust="none")
    assert list(other.index) == ["A - B", "C - B"]
    assert_allclose(other["pvalue"], pairs.loc[["A - B", "B - C"], "pvalue"])


def test_by_hand() -> None:
    """The mean of a recipe is the average of six cells of Xβ; the contrast is a t test."""
    result = fit(SPLIT_PLOT, unbalanced("cake"))
    temperatures = ["175", "185", "195", "205", "215", "225"]
    cells = pd.DataFrame({"recipe": "B", "temperature": temperatures})
    predicted = result.predict(cells, which="population").mean()
    frame = result.emmeans("recipe").summary_frame(alpha=0.1)
    assert_allclose(frame.loc["B", "mean"], predicted)
    wide = result.emmeans("recipe").summary_frame(alpha=0.01)
    assert (frame["mean_ci_upper"] < wide["mean_ci_upper"]).all()


def test_covariates_are_at_their_mean_unless_said_otherwise() -> None:
    data = unbalanced("sleepstudy")
    result = fit("Reaction ~ Days + I(Days^2) + (1 | Subject)", data)
    days = data["Days"].mean()
    at_mean = result.predict(pd.DataFrame({"Days": [days]}), which="population")
    assert_allclose(result.emmeans("Days").summary_frame()["mean"], at_mean)
    frame = result.emmeans("Days", at={"Days": [0, 5]}).summary_frame()
    assert list(frame.index) == [0, 5]
    assert_allclose(frame.loc[0, "mean"], result.params["Intercept"])
    difference = result.emmeans("Days", at={"Days": [0, 5]}).contrasts()
    assert_allclose(difference["pvalue"], result.t_test([[0, -5, -25]]).pvalue, rtol=1e-10)


def test_factors_of_numbers_booleans_and_text() -> None:
    data = unbalanced("sleepstudy").assign(late=lambda d: d["Days"] > 4)
    data["part"] = np.where(np.arange(len(data)) % 2 == 0, "even", "odd")
    result = fit("Reaction ~ late * part + (1 | Subject)", data)
    frame = result.emmeans(["late", "part"]).summary_frame()
    assert list(frame.index) == [(False, "even"), (False, "odd"), (True, "even"), (True, "odd")]
    numbers = fit("Reaction ~ C(Days) + (1 | Subject)", data).emmeans("Days").summary_frame()
    assert list(numbers.index) == list(range(10))
    assert_allclose(numbers["mean"].diff().iloc[1:].sum(), numbers["mean"][9] - numbers["mean"][0])


def test_offsets_count_with_their_mean() -> None:
    data = unbalanced("cake").assign(z=np.linspace(0, 3, 250))
    plain = fit("angle ~ recipe + (1 | replicate)", data.assign(angle=data["angle"] - data["z"]))
    argument = MixedLM.from_formula("angle ~ recipe + (1 | replicate)", data, offset="z").fit()
    written = fit("angle ~ recipe + offset(z) + (1 | replicate)", data)
    frame = plain.emmeans("recipe").summary_frame()
    for result in (argument, written):
        other = result.emmeans("recipe")
        assert_allclose(other.summary_frame()["mean"], frame["mean"] + data["z"].mean())
        assert_allclose(
            other.contrasts()["estimate"], plain.emmeans("recipe").contrasts()["estimate"]
        )
    there = written.emmeans("recipe", at={"z": 0}).summary_frame()
    assert_allclose(there["mean"], frame["mean"])


def test_what_is_not_estimable_is_named() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cells"))
    with pytest.raises(FitError, match=r"means of 'A', 'B' are not estimable.*at="):
        result.emmeans("recipe")
    frame = result.emmeans("recipe", at={"temperature": ["195", "205"]}).summary_frame()
    cells = {"recipe": ["A", "A"], "temperature": ["195", "205"]}
    predicted = result.predict(cells, which="population")
    assert_allclose(frame.loc["A", "mean"], predicted.mean())
    assert len(result.emmeans("recipe", at={"recipe": "C"}).summary_frame()) == 1


def test_a_dropped_column_that_does_not_matter() -> None:
    """Levels of C(temp) are those of temperature; equally weighted means are still estimable."""
    data = unbalanced("cake")
    plain = fit("angle ~ recipe + temperature + (1 | replicate)", data).emmeans("recipe")
    doubled = fit("angle ~ recipe + temperature + C(temp) + (1 | replicate)", data)
    assert_allclose(doubled.emmeans("recipe").summary_frame(), plain.summary_frame())
    with pytest.raises(FitError, match="not estimable"):
        doubled.emmeans("temperature")


def test_the_repr_and_the_names() -> None:
    means = fit(COVARIATE, unbalanced("cake")).emmeans("recipe")
    assert "satterthwaite" in repr(means)
    assert "mean_se" in repr(means)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recip",), r"'recip' is no variable of the fixed part.*Did you mean 'recipe'"),
        (("replicate",), r"'replicate' is no variable"),
        (([],), r"no factor is named"),
        (("recipe", "recipe"), r"'recipe' is named twice"),
        (("recipe", None, {"tmp": 3}), r"at has 'tmp'.*Did you mean 'temp'"),
        (("recipe", None, {"recipe": ["A", "Z"]}), r"recipe='Z', which does not occur"),
        (("recipe", None, {"temp": []}), r"at has no value of 'temp'"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit(COVARIATE, unbalanced("cake")).emmeans(*arguments)


def test_bad_contrasts() -> None:
    means = fit(COVARIATE, unbalanced("cake")).emmeans("recipe")
    with pytest.raises(FitError, match="kind='pairs' is not known"):
        means.contrasts("pairs")
    with pytest.raises(FitError, match=r"adjust='hol' is not known. Did you mean 'holm'"):
        means.contrasts(adjust="hol")
    with pytest.raises(FitError, match="'tukey' is for all pairs"):
        means.contrasts("reference", adjust="tukey")
    with pytest.raises(FitError, match="reference='Z' is no level; there are 'A', 'B', 'C'"):
        means.contrasts("reference", reference="Z")
    with pytest.raises(FitError, match="only one mean"):
        fit(COVARIATE, unbalanced("cake")).emmeans("temp").contrasts()


def test_arrays_and_removed_data() -> None:
    data = unbalanced("sleepstudy")
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    arrays = MixedLM(data["Reaction"], X, [RandomTerm(data["Subject"])]).fit()
    with pytest.raises(FitError, match="need a formula"):
        arrays.emmeans("x1")
    result = fit(COVARIATE, unbalanced("cake"))
    result.remove_data()
    with pytest.raises(FitError, match="remove_data"):
        result.emmeans("recipe")
