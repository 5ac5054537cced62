"""Residual structures of rows in batches: the fit of the rows in memory, and its words."""

import pickle
import warnings
from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from batched import assert_same, cut, outcome
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM, MixedLMResults
from mixedlm_ext.batches.residual_sums import _SameGroups
from mixedlm_ext.criteria.linear import criterion_of
from mixedlm_ext.design.elsewhere import Elsewhere
from mixedlm_ext.errors import RowsRemovedError
from mixedlm_ext.products.residual_short import ShortSums
from mixedlm_ext.sources import Source

Case = tuple[str, dict[str, Any]]


def frame() -> pd.DataFrame:
    """Weeks of 24 subjects, some of them missing, with items that cross them."""
    rng, rows = np.random.default_rng(0), []
    for g in range(24):
        e, b = 0.0, rng.standard_normal()
        for week in np.sort(rng.choice(9, size=rng.integers(2, 8), replace=False)):
            e = 0.5 * e + rng.standard_normal()
            sex = "fm"[g % 2]
            rows.append((g, week, sex, b + (1.0 + (sex == "m")) * e))
    out = pd.DataFrame(rows, columns=["g", "week", "sex", "y"])
    n = len(out)
    out = out.assign(
        x=rng.standard_normal(n),
        item=rng.choice([f"i{k}" for k in range(6)], n),
        dose=1.0 * rng.integers(1, 5, n),
        w=rng.uniform(0.5, 2.0, n),
        o=rng.standard_normal(n),
        time=0.1 * out["week"],
        day=pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * out["week"], unit="D"),
        visit=pd.Categorical(out["week"], categories=list(range(9)), ordered=True),
        arm=pd.Categorical(rng.choice(["new", "old"], n), categories=["old", "new", "none"]),
        z=rng.standard_normal(n),
        row=np.arange(n),
        one=1,
    )
    out["y"] += 10.0 + 0.4 * out["x"] + 0.5 * out["item"].str[1].astype(int)
    return out.assign(x2=2.0 * out["x"] - 1.0, double=2 * out["week"], half=out["week"] / 2)


DATA = frame()
BY_ROW: list[Case] = [
    ("y ~ x + (1 | g)", {"variance": "sex"}),
    ("y ~ x + (1 | g) + (1 | item)", {"variance": "sex", "weights": "w", "offset": "o"}),
    ("y ~ x + (x | g)", {"variance": "sex * exp(dose)"}),
    ("y ~ x + (1 | item)", {"variance": "power(dose)"}),
    ("y ~ x + (1 | item)", {"variance": "arm:sex"}),
    ("y ~ x + (1 | item)", {"correlation": "cs(1 | g)"}),
    ("y ~ x", {"correlation": "cs(1 | g)", "variance": "sex"}),
    ("y ~ x + (x | item)", {"correlation": "cs(1 | g)", "variance": "arm", "weights": "w"}),
    ("y ~ x + (x | g)", {"correlation": "cs(1 | g:arm)"}),
]
IN_TIME: list[Case] = [
    ("y ~ x + (1 | item)", {"correlation": "ar1(week | g)"}),
    ("y ~ x", {"correlation": "ar1(visit | g)"}),
    ("y ~ x + (1 | g) + (1 | item)", {"correlation": "ar1(week | g)", "weights": "w"}),
    ("y ~ x * sex + (1 | g)", {"correlation": "car1(time | g)", "variance": "sex"}),
    ("y ~ x + x2 + (1 | item)", {"correlation": "car1(day | g)", "offset": "o"}),
    ("y ~ x + (x || item)", {"correlation": "ar1(week | g)", "variance": "arm * exp(dose)"}),
]


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Source, "few", 1)


def near(given_: dict[str, Any]) -> float:
    """Return how near estimates are: some steps are taken with another Hessian than in memory."""
    word = given_.get("correlation", "none")[:2]
    return 1e-8 if word == "no" or (word == "cs" and "variance" not in given_) else 1e-5


@pytest.mark.parametrize("case", BY_ROW + IN_TIME, ids=str)
@pytest.mark.parametrize("cuts", [7, batched.UNEVEN], ids=str)
def test_batches_give_the_fit_of_the_rows_in_memory(case: Case, cuts: Any) -> None:
    formula, given_ = case
    found = outcome(formula, cut(DATA, cuts), **given_)
    in_memory = outcome(formula, DATA, **given_)
    assert_same(found, in_memory, near(given_))
    assert found.result is not None and in_memory.result is not None
    structure = found.result.model.design.residual
    expected = in_memory.result.model.design.residual
    assert structure is not None and expected is not None
    assert structure.text == expected.text
    assert_allclose(structure._scales, expected._scales)
    if structure.correlation is not None and expected.correlation is not None:
        pd.testing.assert_index_equal(structure.correlation.levels, expected.correlation.levels)
        assert structure.correlation.kind == expected.correlation.kind


@pytest.mark.slow
@pytest.mark.parametrize("case", BY_ROW + IN_TIME, ids=str)
def test_so_do_single_rows(case: Case) -> None:
    formula, given_ = case
    assert_same(
        outcome(formula, cut(DATA, 1), **given_), outcome(formula, DATA, **given_), near(given_)
    )


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(DATA)), max_size=12).map(sorted),
    order=st.sampled_from(["as they are", "by week", "by week and item", "shuffled"]),
    case=st.sampled_from([BY_ROW[1], BY_ROW[2], BY_ROW[7], IN_TIME[2], IN_TIME[3]]),
)
def test_any_batching_gives_the_same_fit(cuts: list[int], order: str, case: Case) -> None:
    """Groups that are split over all batches, batches without rows; rows in any order, if alike."""
    formula, given_ = case
    data = DATA
    if order == "by week":
        data = data.sort_values("week", kind="stable", ignore_index=True)
    if order == "by week and item":
        data = data.sort_values(["week", "item"], ignore_index=True)
    if order == "shuffled" and case in BY_ROW:
        data = data.sample(frac=1.0, random_state=1, ignore_index=True)
    assert_same(
        outcome(formula, cut(data, cuts), **given_), outcome(formula, data, **given_), near(given_)
    )


def test_a_layout_learnt_from_a_thinned_sample_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """All terms of the sum move to the layout that all rows find, of fewer columns."""
    monkeypatch.setattr("mixedlm_ext.batches.columns._SAMPLE", 20)
    formula = "y ~ x + x2 + I(x**2) + item + (z | g) + (1 | arm:item)"
    given_ = {"correlation": "ar1(week | g)", "variance": "sex"}
    assert_same(
        outcome(formula, cut(DATA, 13), **given_), outcome(formula, DATA, **given_), near(given_)
    )


@pytest.mark.parametrize("correlation", ["cs(1 | g)", "car1(time | g)"])
def test_missing_rows_and_zero_weights_are_left_out(correlation: str) -> None:
    data = DATA.assign(w=np.where(DATA["row"] % 11 == 3, 0.0, DATA["w"]))
    data.loc[[3, 17, 40], "g"] = None
    data.loc[[5, 18], "time"] = np.nan
    given_ = {"correlation": correlation, "weights": "w"}
    formula = "y ~ x + (1 | item)"
    found, expected = (outcome(formula, d, **given_) for d in (cut(data, 13), data))
    assert_same(found, expected, near(given_))


@pytest.mark.parametrize(
    "given_",
    [
        {"variance": "one"},
        {"variance": "row"},
        {"variance": "z"},
        {"variance": "exp(one)"},
        {"variance": "sex * sex"},
        {"variance": "nope"},
        {"variance": "power(week)"},
        {"correlation": "cs(1 | row)"},
        {"correlation": "cs(1 | g)"},
        {"correlation": "ar1(half | g)"},
        {"correlation": "ar1(double | g)"},
        {"correlation": "ar1(one | g)"},
        {"correlation": "ar1(week | nope)"},
    ],
    ids=str,
)
def test_messages_are_those_of_the_rows_in_memory(given_: dict[str, Any]) -> None:
    formula = "y ~ x + (1 | g)"
    expected = outcome(formula, DATA, **given_)
    assert expected.error is not None
    assert_same(outcome(formula, cut(DATA, 7), **given_), expected)


@pytest.mark.parametrize(
    ("formula", "error"),
    [
        ("y ~ x + (1 + x | g)", True),
        ("y ~ x + (0 + sex | g)", True),
        ("y ~ x + (0 + x | g)", False),
        ("y ~ x + (1 | item)", False),
    ],
)
def test_what_says_the_same_twice_is_seen_in_batches(formula: str, error: bool) -> None:
    given_ = {"correlation": "cs(1 | g)"}
    found, expected = (outcome(formula, d, **given_) for d in (cut(DATA, 7), DATA))
    assert (expected.error is not None) == error
    assert_same(found, expected)


# --- words of their own ---------------------------------------------------------------------------


def refusal(data: Any, **given_: Any) -> str:
    found = outcome("y ~ x + (1 | item)", data, **given_)
    assert found.error is not None
    return found.error[1]


def test_rows_out_of_order_are_refused() -> None:
    data = DATA.sort_values("week", ascending=False, ignore_index=True)
    said = refusal(cut(data, 20), correlation="ar1(week | g)")
    assert said.startswith("ar1(week | g): of g ")
    assert "sort the data by it, or pass a frame" in said


def test_times_that_all_differ_are_refused() -> None:
    rng = np.random.default_rng(1)
    n = 400
    data = pd.DataFrame(
        {"y": rng.standard_normal(n), "x": rng.standard_normal(n), "g": np.arange(n) // 8}
    ).assign(item=rng.integers(0, 5, n), time=np.sort(rng.random(n)))
    said = refusal(cut(data, 50), correlation="car1(time | g)")
    assert "300 at most. Pass a frame, round the column" in said
    assert "too many different variances" in refusal(cut(data, 50), variance="exp(x)")


def test_expressions_of_all_rows_are_refused() -> None:
    said = refusal(cut(DATA, 50), variance="exp(z - z.mean())")
    assert said.startswith("'z - z.mean()' in variance='exp(z - z.mean())' depends on all rows")


def test_groups_that_wait_in_too_large_a_number_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mixedlm_ext.batches.residual_links._MOST_WAITING", 50)
    by_week = DATA.sort_values("week", kind="stable", ignore_index=True)
    assert "Sort the data by g." in refusal(cut(by_week, 50), correlation="cs(1 | g)")
    assert "Sort the data by g, week." in refusal(cut(by_week, 50), correlation="ar1(week | g)")
    outcome("y ~ x + (1 | item)", cut(DATA, 7), correlation="cs(1 | g)")  # sorted: nothing waits


def test_categories_of_positions_must_not_change() -> None:
    first, second = DATA.iloc[:60], DATA.iloc[60:].copy()
    second["visit"] = second["visit"].cat.set_categories(list(range(8, -1, -1)))
    said = refusal(lambda: iter([first, second]), correlation="ar1(visit | g)")
    assert "'visit' has other categories in some batches" in said


# --- the criterion --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", BY_ROW + IN_TIME, ids=str)
@pytest.mark.parametrize("reml", [True, False])
def test_criterion_and_gradient_are_those_of_the_rows_in_memory(case: Case, reml: bool) -> None:
    """At any parameters, in the user's units, also of the cross-products that they make."""
    formula, given_ = case
    rng = np.random.default_rng(5)
    evaluations = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of x2, which is left out
        models = [MixedLM.from_formula(formula, d, **given_) for d in (cut(DATA, 9), DATA)]
    spaces = [criterion_of(model.problem, reml).space for model in models]
    theta = spaces[0].covariance.start() + 0.3 * rng.random(spaces[0].covariance.n_theta)
    theta = spaces[0].covariance.unstandardize(theta)
    z = 0.4 * rng.random(len(spaces[0].structure.parameters))
    for model, space in zip(models, spaces, strict=True):
        point = space.join(space.covariance.standardize(theta), z)
        evaluations.append(criterion_of(model.problem, reml).at(point))
    one, two = evaluations
    assert_allclose(one.value, two.value, rtol=1e-10)
    assert_allclose(one.gradient, two.gradient, rtol=1e-7, atol=1e-8 * abs(two.value))
    assert_allclose(one.products.cp.logdet_W, two.products.cp.logdet_W, rtol=1e-10, atol=1e-10)


# --- the search, and what comes after it ----------------------------------------------------------


@pytest.mark.parametrize("case", [BY_ROW[2], BY_ROW[4], BY_ROW[5]], ids=str)
def test_working_vectors_of_short_sums(case: Case) -> None:
    """The average information is that of the rows in memory where it is a short sum, too."""
    formula, given_ = case
    model = MixedLM.from_formula(formula, DATA, **given_)
    sums = model.problem.residual
    assert sums is not None and sums.of_rows
    rng = np.random.default_rng(3)
    z = 0.3 * rng.standard_normal(len(sums.structure.parameters))
    c = rng.standard_normal(model.problem.cp.q + model.problem.cp.p + 1)
    own = ShortSums.working(sums, z, c)
    assert own is not None
    assert_allclose(own, sums.working(z, c), rtol=1e-10)


@pytest.fixture(
    scope="module",
    params=[
        {"variance": "sex"},
        {"correlation": "cs(1 | g)", "variance": "sex"},
        {"correlation": "ar1(week | g)"},
    ],
    ids=str,
)
def fits(request: Any) -> tuple[MixedLMResults, MixedLMResults]:
    """The fit of batches, and that of the rows in memory."""
    formula = "y ~ x + (1 | item)"
    return tuple(  # type: ignore[return-value]
        MixedLM.from_formula(formula, rows, **request.param).fit() for rows in (cut(DATA, 31), DATA)
    )


def assert_series(found: Any, expected: Any) -> None:
    pd.testing.assert_series_equal(
        found, expected, check_names=False, check_index_type=False, rtol=1e-6, atol=1e-6
    )


Pair = tuple[MixedLMResults, MixedLMResults]


@pytest.mark.parametrize("kind", ["response", "pearson", "whitened", "normalized", "studentized"])
def test_residuals(fits: Pair, kind: str) -> None:
    assert_series(fits[0].residuals(kind), fits[1].residuals(kind))


def test_predictions(fits: Pair) -> None:
    found, expected = fits
    assert_series(found.fittedvalues, expected.fittedvalues)
    assert_series(found.predict(), expected.predict())
    parts = list(found.predict(cut(DATA, 40)))
    assert_series(pd.concat(parts), expected.predict(DATA))
    tables = [r.get_prediction(DATA.iloc[:9]).summary_frame() for r in fits]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    modes = [r.random_effects["item"] for r in fits]
    pd.testing.assert_frame_equal(*modes, rtol=1e-5, atol=1e-7)


def test_tables(fits: Pair) -> None:
    for table in ("anova", "varcorr", "tidy", "glance"):
        one, two = (getattr(result, table)() for result in fits)
        pd.testing.assert_frame_equal(one, two, rtol=1e-5, atol=1e-7)
    ml = [r.refit_ml().objective for r in fits]
    assert_allclose(*ml, rtol=1e-10)
    kenward = [r.with_ddf("kenward-roger").bse for r in fits]
    assert_allclose(*kenward, rtol=1e-5)


def test_what_reads_all_rows_for_the_call(fits: Pair) -> None:
    found, expected = fits
    assert_series(found.simulate(rng=1).iloc[:, 0], expected.simulate(rng=1).iloc[:, 0])
    limits = [r.profile(["theta", "x"]).conf_int() for r in fits]
    pd.testing.assert_frame_equal(*limits, rtol=1e-4, atol=1e-6)
    replicates = [r.bootstrap(n=3, rng=2).conf_int() for r in fits]
    pd.testing.assert_frame_equal(*replicates, rtol=1e-4, atol=1e-6)


def test_a_pickle_has_the_sums(fits: Pair) -> None:
    again = pickle.loads(pickle.dumps(fits[0]))
    assert again.objective == fits[0].objective
    assert_allclose(again.refit_ml().objective, fits[1].refit_ml().objective, rtol=1e-10)


def test_without_rows_the_sums_are_left() -> None:
    """Residuals keep their structure in further fits."""
    result = MixedLM.from_formula("y ~ x + (1 | item)", cut(DATA, 31), variance="sex").fit()
    ml = result.refit_ml().objective
    result.remove_data()
    assert_allclose(result.model.fit().objective, result.objective, rtol=1e-12)
    assert_allclose(result.refit_ml().objective, ml, rtol=1e-12)


def test_what_needs_no_rows(monkeypatch: pytest.MonkeyPatch, fits: Pair) -> None:
    """Sums are enough for intervals of variances and for new rows, however many rows there are."""
    monkeypatch.setattr(Elsewhere, "gathered", lambda *_: None)
    limits = [r.profile("theta").conf_int() for r in fits]
    pd.testing.assert_frame_equal(*limits, rtol=1e-4, atol=1e-5)
    tables = [r.get_prediction(DATA.iloc[:9]).summary_frame() for r in fits]
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    found = fits[0]
    for needy in (
        lambda: found.profile("x"),
        lambda: found.with_ddf("kenward-roger"),
        lambda: found.residuals("whitened"),
        lambda: found.simulate(),
    ):
        with pytest.raises(RowsRemovedError, match="read in batches from what a function returns"):
            needy()


def test_groups_come_in_any_order_of_their_labels() -> None:
    """The rows of each are counted by its place among the levels, not by when it came."""
    data = DATA.assign(label=[f"s{40 - g}" for g in DATA["g"]])
    given_ = {"correlation": "cs(1 | label)"}
    formula = "y ~ x + (1 | item)"
    assert_same(outcome(formula, cut(data, 13), **given_), outcome(formula, data, **given_))


def test_columns_that_are_indicators_in_some_batches_only() -> None:
    """One that was 1 where the others are 0 does not leave them indicators of everything."""
    codes = np.array([0, 1])
    for last, expected in (([0.0, 1.0, 0.0], [1.0, 1.0, 1.0]), ([0.0, 1.0, 7.0], None)):
        same = _SameGroups(2, 2)
        same.see(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), codes, codes)
        same.see(np.array([last, [0.0, 1.0, 0.0]]), codes, codes)
        found = same.ones()
        assert (None if found is None else found.tolist()) == expected
