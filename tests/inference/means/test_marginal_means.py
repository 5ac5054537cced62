"""Marginal means and contrasts against emmeans, and by hand."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lme4_reference import REFERENCE, SPLIT_PLOT, fit, unbalanced
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.errors import DesignWarning, FitError
from mixedlm_ext.inference.means.averaging import find_nesting

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


def test_what_is_not_estimable_is_nan_and_the_rest_answered() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cells"))
    with pytest.warns(DesignWarning, match=r"means of 'A', 'B' are not estimable.*full rank only"):
        frame = result.emmeans("recipe").summary_frame()
    assert frame.loc[["A", "B"]].isna().all(axis=None)
    # emmeans 1.8
    assert_allclose(frame.loc["C"], [31.6172989, 1.74679072, 40.4394761, 28.088098, 35.1464999])
    assert "Note: the means of 'A', 'B' are not estimable" in repr(result.emmeans("recipe"))
    with pytest.warns(DesignWarning, match="contrasts '175 - 185'"):
        pairs = result.emmeans("temperature").contrasts()
    known = pairs.loc["195 - 205":]
    assert pairs.isna().all(axis=1).sum() == 9
    # emmeans 1.8: the family of Tukey has all six means
    assert_allclose(
        known["pvalue"],
        [0.99915453, 0.0010533, 0.0170876, 0.003113, 0.0413539, 0.9745751],
        rtol=1e-3,
    )
    assert_allclose(
        known["ci_lower"],
        [-3.231064, -6.928573, -6.228066, -6.513885, -5.810889, -2.114814],
        rtol=1e-5,
    )
    holm = _quiet(lambda: result.emmeans("temperature").contrasts(adjust="bonferroni"))
    plain = _quiet(lambda: result.emmeans("temperature").contrasts(adjust="none"))
    # what cannot be tested does not count
    assert_allclose(holm["pvalue"], np.minimum(6 * plain["pvalue"], 1.0))
    frame = result.emmeans("recipe", at={"temperature": ["195", "205"]}).summary_frame()
    cells = {"recipe": ["A", "A"], "temperature": ["195", "205"]}
    predicted = result.predict(cells, which="population")
    assert_allclose(frame.loc["A", "mean"], predicted.mean())
    assert len(result.emmeans("recipe", at={"recipe": "C"}).summary_frame()) == 1


def _quiet(call: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def test_one_mean_or_contrast_that_is_not_estimable_is_an_error() -> None:
    result = fit(SPLIT_PLOT, unbalanced("cells"))
    one = result.emmeans("recipe", at={"recipe": "A"})
    with pytest.raises(FitError, match=r"the means of 'A' are not estimable.*at="):
        one.summary_frame()
    with pytest.raises(FitError, match=r"the contrasts 'A - B' are not estimable"):
        result.emmeans("recipe", at={"recipe": ["A", "B"]}).contrasts()


def test_means_do_not_depend_on_the_reference_level() -> None:
    data = unbalanced("cells")
    other = "angle ~ C(recipe, Treatment('C')) * C(temperature, Sum) + (1 | recipe:replicate)"
    first, second = fit(SPLIT_PLOT, data), fit(other, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for specs in ("recipe", "temperature", ["recipe", "temperature"]):
            one, two = (r.emmeans(specs).summary_frame() for r in (first, second))
            assert_allclose(one, two, rtol=1e-5)


def test_empty_cells_by_frequency() -> None:
    """Weights by frequency leave out what is empty (emmeans 1.8)."""
    result = fit(SPLIT_PLOT, unbalanced("cells"))
    cells = result.emmeans("recipe", weights="cells").summary_frame()
    assert_allclose(cells["mean"], [33.9176360, 32.0489281, 31.6462896], rtol=1e-7)
    assert_allclose(cells["mean_se"], [1.78036536, 1.76392458, 1.74673180], rtol=1e-6)
    flat = result.emmeans("recipe", weights="flat").summary_frame()
    assert_allclose(flat["mean"], [33.8772281, 31.9399804, 31.6172989], rtol=1e-7)
    assert flat["mean"].notna().all()


# ---------------------------------------------------------------- aliases


def test_a_dropped_column_that_does_not_matter() -> None:
    """temp and temperature are the same factor: each is nested in the other (emmeans 1.8)."""
    data = unbalanced("cake")
    plain = fit("angle ~ recipe + temperature + (1 | replicate)", data)
    doubled = fit("angle ~ recipe + temperature + C(temp) + (1 | replicate)", data)
    for specs in ("recipe", "temperature"):
        expected = plain.emmeans(specs).summary_frame()
        assert_allclose(doubled.emmeans(specs).summary_frame(), expected)
        assert doubled.emmeans(specs).levels.names == [specs]  # it is the later one that is nested


def test_contrasts_where_the_means_are_not_estimable() -> None:
    """At the mean of z, between 0 and 1, z**2 is not z; differences do not ask."""
    data = unbalanced("cake").assign(z=lambda d: (d["temp"] > 195).astype(float))
    plain = fit("angle ~ recipe + z + (1 | replicate)", data).emmeans("recipe")
    doubled = fit("angle ~ recipe + z + I(z**2) + (1 | replicate)", data).emmeans("recipe")
    with pytest.warns(DesignWarning, match="'A', 'B', 'C' are not estimable"):
        assert doubled.summary_frame().isna().all(axis=None)
    assert_allclose(doubled.contrasts(), plain.contrasts())
    linear = fit("angle ~ recipe + temp + I(2 * temp) + (1 | replicate)", data)
    expected = fit("angle ~ recipe + temp + (1 | replicate)", data)
    assert_allclose(
        linear.emmeans("recipe").summary_frame(), expected.emmeans("recipe").summary_frame()
    )


# ---------------------------------------------------------------- nesting and weights


def nested(name: str = "cake") -> pd.DataFrame:
    """Recipe A is the control; hot is above 200 degrees."""
    data = unbalanced(name)
    data["status"] = np.where(data["recipe"].astype(str) == "A", "ctl", "trt")
    return data.assign(half=np.where(data["temp"] > 200, "hot", "cold"))


NESTED = "angle ~ status/recipe + temp + (1 | recipe:replicate)"


@pytest.mark.parametrize(
    ("ddf", "se", "df"),
    [  # emmeans 1.8, lmer.df
        (
            "satterthwaite",
            [1.75437517, 1.23213446, 1.75437517, 1.74456119, 1.74043590],
            [42.5302394, 41.4357348, 42.5302394, 41.6308235, 41.2407468],
        ),
        (
            "kenward-roger",
            [1.75443133, 1.23213664, 1.75443133, 1.74456609, 1.74043714],
            [42.7217143, 41.6232902, 42.7217143, 41.8190815, 41.4275983],
        ),
    ],
)
@pytest.mark.parametrize(
    "formula",
    [
        NESTED,
        NESTED.replace("status/recipe", "status + status:recipe"),
        NESTED.replace("status/recipe", "recipe + status"),
        NESTED.replace("status/recipe", "C(status, Treatment('trt'))/C(recipe, Sum)"),
    ],
)
def test_nested_factors(formula: str, ddf: str, se: list[float], df: list[float]) -> None:
    result = fit(formula, nested()).with_ddf(ddf)
    status = result.emmeans("status").summary_frame()
    recipe = result.emmeans("recipe").summary_frame()
    assert list(recipe.index) == [("ctl", "A"), ("trt", "B"), ("trt", "C")]
    means = [33.0683215, 31.6025023, 33.0683215, 31.5593573, 31.6456473]
    assert_allclose([*status["mean"], *recipe["mean"]], means, rtol=1e-7)
    assert_allclose([*status["mean_se"], *recipe["mean_se"]], se, rtol=1e-6)
    assert_allclose([*status["df"], *recipe["df"]], df, rtol=1e-5)
    pairs = result.emmeans("recipe").contrasts()
    assert list(pairs.index) == ["ctl, A - trt, B", "ctl, A - trt, C", "trt, B - trt, C"]
    if ddf == "satterthwaite":
        assert_allclose(pairs["pvalue"], [0.815529587, 0.833767505, 0.999324225], rtol=1e-6)
        assert_allclose(pairs["ci_lower"], [-4.501566, -4.581761, -6.076174], rtol=1e-6)
    assert "Nested: recipe in status." in repr(result.emmeans("status"))


def test_what_counts_as_nested() -> None:
    status, site = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 2])
    assert find_nesting({"status": status, "site": site}) == {"site": ("status",)}
    assert find_nesting({"site": site, "status": status}) == {"site": ("status",)}
    assert find_nesting({"constant": np.zeros(5, int), "site": site}) == {}
    assert find_nesting({"a": status, "b": 1 - status}) == {"b": ("a",)}
    crossed = np.array([0, 1, 0, 1, 1])
    assert find_nesting({"status": status, "crossed": crossed}) == {}


def test_a_factor_nested_in_a_number() -> None:
    data = nested().assign(late=lambda d: (d["status"] == "trt").astype(int))
    result = fit(NESTED.replace("status", "late"), data)
    expected = fit(NESTED, data)
    for specs, other in (("late", "status"), ("recipe", "recipe")):
        frame = result.emmeans(specs).summary_frame()
        assert_allclose(frame, expected.emmeans(other).summary_frame(), rtol=1e-6)
    assert list(result.emmeans("recipe").levels) == [(0, "A"), (1, "B"), (1, "C")]


@pytest.mark.parametrize(
    ("weights", "half", "status"),
    [  # emmeans 1.8
        ("equal", [30.1131519, 34.4257960], [32.9393241, 31.5996238]),
        ("proportional", [29.8585858, 34.1669006], [32.9673242, 31.6383926]),
        ("outer", [29.8585858, 34.1669006], [32.9673242, 31.6376754]),
        ("cells", [29.8604590, 34.1660585], [32.9673242, 31.6383926]),
        ("flat", [30.1131519, 34.4257960], [32.9393241, 31.5996238]),
    ],
)
def test_weights_of_the_cells(weights: str, half: list[float], status: list[float]) -> None:
    result = fit("angle ~ status/recipe * half + (1 | recipe:replicate)", nested())
    frame = result.emmeans("half", weights=weights).summary_frame()
    assert_allclose(frame["mean"], half, rtol=1e-7)
    frame = result.emmeans("status", weights=weights).summary_frame()
    assert_allclose(frame["mean"], status, rtol=1e-7)


def test_weights_that_are_given() -> None:
    result = fit("angle ~ recipe * temp + (1 | replicate)", unbalanced("cake"))
    each = result.emmeans("recipe").summary_frame()["mean"].to_numpy()
    for weights in ([1, 2, 5], np.array([1.0, 2.0, 5.0]), pd.Series([1, 2, 5])):
        at = {"temp": [200.16]}
        frame = result.emmeans("temp", weights=weights, at=at).summary_frame()
        assert_allclose(frame["mean"], np.average(each, weights=[1, 2, 5]))
    for wrong in ([1, 2], [1, -1, 1], "x" * 3, None, 5, [0, 0, 0]):
        with pytest.raises(FitError, match="weights="):
            result.emmeans("temp", weights=wrong)


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
        (("recipe", None, {"temp": "hot"}), r"temp='hot', which is no number"),
        (("recipe", None, {"temp": [180, np.nan]}), r"temp=nan, which is no number"),
        (("recipe", None, {"temp": [180, 180]}), r"temp=180 twice"),
        (("recipe", None, 5), r"at=5 is no mapping"),
        ((5,), r"specs= has 5, which is no name"),
        (("recipe", pd.Series([1, 2])), r"by= has 1, which is no name"),
        ((None,), r"no factor is named"),
    ],
)
def test_bad_arguments(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(FitError, match=message):
        fit(COVARIATE, unbalanced("cake")).emmeans(*arguments)


def test_names_and_values_as_arrays() -> None:
    result = fit(COVARIATE, unbalanced("cake"))
    plain = result.emmeans("recipe", "temp", {"temp": [180, 200]}).summary_frame()
    arrays = result.emmeans(
        np.array(["recipe"]), pd.Series(["temp"]), {"temp": np.array([180, 200])}
    )
    assert_allclose(arrays.summary_frame(), plain)
    series = result.emmeans(pd.Index(["recipe"]), ("temp",), pd.Series({"temp": [180, 200]}))
    assert_allclose(series.summary_frame(), plain)
    one = result.emmeans("recipe", at={"temp": np.array(180)}).summary_frame()
    assert_allclose(one, plain.iloc[:3])


def test_unknown_keywords() -> None:
    result = fit(COVARIATE, unbalanced("cake"))
    with pytest.raises(TypeError, match=r"emmeans\(\).*'weight'. Did you mean 'weights'"):
        result.emmeans("recipe", weight="cells")
    with pytest.raises(TypeError, match=r"contrasts\(adjust=...\)"):
        result.emmeans("recipe", adjust="tukey")
    with pytest.raises(TypeError, match=r"summary_frame\(alpha=...\)"):
        result.emtrends("recipe", "temp", level=0.9)
    with pytest.raises(FitError, match=r"weights='cell' is not known. Did you mean 'cells'"):
        result.emmeans("recipe", weights="cell")
    with pytest.raises(FitError, match="alpha=5 is no probability"):
        result.emmeans("recipe").summary_frame(alpha=5)


def test_a_number_of_two_values_is_a_factor_where_it_is_named() -> None:
    data = unbalanced("cake").assign(late=lambda d: (d["temp"] > 200).astype(int))
    result = fit("angle ~ recipe * late + (1 | replicate)", data)
    assert list(result.emmeans("late").summary_frame().index) == [0, 1]
    at_mean = result.emmeans("recipe", at={"late": data["late"].mean()}).summary_frame()
    assert_allclose(result.emmeans("recipe").summary_frame(), at_mean)
    assert list(result.emmeans("late", at={"late": 0.5}).summary_frame().index) == [0.5]


def test_arrays_and_removed_data() -> None:
    data = unbalanced("sleepstudy")
    X = np.column_stack([np.ones(len(data)), data["Days"]])
    arrays = MixedLM(data["Reaction"], X, [RandomTerm(data["Subject"])]).fit()
    with pytest.raises(FitError, match="need a formula"):
        arrays.emmeans("x1")
    result = fit(COVARIATE, unbalanced("cake"))
    result.remove_data()
    empty = fit("angle ~ 1 + (1 | replicate)", unbalanced("cake"))
    with pytest.raises(FitError, match="the fixed part has no variables"):
        empty.emmeans("recipe")
    with pytest.raises(FitError, match="remove_data"):
        result.emmeans("recipe")


@pytest.mark.parametrize("specs", ["pairwise ~ recipe", "recipe | temp", "recipe * late", "a:b"])
def test_formulas_of_means_in_r_are_lists_here(specs: str) -> None:
    with pytest.raises(FitError, match=r"Write emmeans\(\['a', 'b'\], by='c'\) for R's"):
        fit(COVARIATE, unbalanced("cake")).emmeans(specs)
