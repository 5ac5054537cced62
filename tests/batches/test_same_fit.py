"""Rows in batches give the fit of the rows in memory: numbers, names, messages."""

from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from batched import assert_same, cut, outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedlm_ext import MixedLM
from mixedlm_ext.batches.columns import ColumnsSeen
from mixedlm_ext.sources import Source

Case = tuple[str, str, dict[str, Any]]

QUICK: list[Case] = [
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)", {}),
    ("sleepstudy", "np.log(Reaction) ~ center(Days) + (center(Days) || Subject)", {}),
    ("pastes", "strength ~ 1 + (1 | batch / cask)", {}),
    ("machines", "score ~ Machine + (0 + Machine | Worker)", {}),
    ("frame", "y ~ x * f + (z | g) + (1 | k)", {}),
    ("missing", "y ~ x + z + (z | g) + (1 | k)", {"missing": "exclude"}),
    ("frame", "y ~ x + offset(2 * o) + (1 | g) + (0 + z | g)", {"weights": "w"}),
]
SLOW: list[Case] = [
    ("sleepstudy", "Reaction ~ bs(Days, df=4) + (1 | Subject)", {}),
    ("sleepstudy", "Reaction ~ standardize(Days) + (scale(Days) | Subject)", {}),
    ("sleepstudy", "Reaction ~ center(bs(Days, df=4)) + (1 | Subject)", {}),
    ("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", {}),
    ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", {}),
    ("pastes", "strength ~ 1 + (1 | batch) + (1 | sample)", {}),
    ("machines", "score ~ Machine + (1 | Worker) + (1 | Worker:Machine)", {}),
    ("dyestuff", "Yield ~ 1 + (1 | Batch)", {}),
    ("dyestuff2", "Yield ~ 1 + (1 | Batch)", {}),
    ("frame", "y ~ x + h + b + C(i) + (1 | g) + (0 + h | k)", {}),
    ("frame", "y ~ x + x2 + z + (1 | g)", {}),
    ("frame", "y ~ 0 + f + x + (x | g)", {}),
    ("frame", "y ~ f:h + x + (1 | g)", {}),
    ("frame", "y ~ x + I(x**2) + I(x**3) + (1 | g)", {}),
    ("frame", "y ~ x + (1 | g:k)", {"check": {"levels": "ignore"}}),
    ("frame", "y ~ x + (1 | c) + (1 | C(i)) + (1 | np.floor(z))", {}),
    ("frame", "y ~ x", {"groups": "g", "re_formula": "~z", "vc_formula": {"f": "0 + C(f)"}}),
    ("frame", "y ~ x + ar1(0 + h | g) + (1 | k)", {}),
    ("frame", "y ~ x + cs(0 + f | g)", {}),
    ("frame", "y ~ . - g2 - x2 - o - w - one - zero - row - u - xg - some - holes + (1 | g)", {}),
    ("frame", "y ~ x + z + f + (1 | g)", {"drop_cols": ["z"]}),
    ("missing", "y ~ x + z + (z | g) + (1 | k)", {}),
    ("frame", "y ~ x + (1 | g)", {"weights": "w", "offset": "o"}),
]
REFUSED: list[Case] = [
    ("frame", "y ~ x + (z | g) + (0 + z | g2)", {}),
    ("frame", "y ~ x + (1 | g) + (1 | g2)", {}),
    ("frame", "y ~ x + (x2 + x | g)", {}),
    ("frame", "y ~ x + (zero | g)", {}),
    ("frame", "y ~ x + (one | g)", {}),
    ("missing", "y ~ x + z + (1 | g)", {"missing": "raise"}),
    ("frame", "f ~ x + (1 | g)", {}),
    ("frame", "y ~ C(g) + (1 | g)", {}),
    ("frame", "I(x * 2 + 3) ~ x + (1 | g)", {}),
    ("frame", "y ~ x + (f + h | k)", {}),
    ("frame", "one ~ x + (1 | g)", {}),
    ("frame", "y ~ x + (1 | one)", {}),
    ("frame", "y ~ np.log(z) + (1 | g)", {}),
    ("frame", "1 / holes ~ x + (1 | g)", {}),
    ("frame", "y ~ x + (1 | row)", {}),
    ("frame", "y ~ x + u + (1 | g)", {}),
    ("frame", "y ~ x + (1 | g)", {"weights": "z"}),
    ("frame", "y ~ x + (1 | g)", {"weights": "zero"}),
    ("frame", "y ~ x + (1 | g)", {"weights": "some"}),
    ("frame", "y ~ x + (xg | g)", {}),
    ("frame", "y ~ x + (1 | nope)", {}),
    ("frame", "y ~ x + (1 | g)", {"weights": "nope"}),
    ("frame", "y ~ x + (0 + h || h)", {}),
    ("missing", "y ~ x + z + (1 | g)", {"weights": "zero"}),
]


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no batches be put together."""
    monkeypatch.setattr(Source, "few", 1)


@pytest.mark.parametrize("case", QUICK)
@pytest.mark.parametrize("cuts", [7, batched.UNEVEN], ids=str)
def test_batches_give_the_fit_of_the_rows_in_memory(case: Case, cuts: Any) -> None:
    name, formula, given_ = case
    data = batched.dataset(name)
    assert_same(outcome(formula, cut(data, cuts), **given_), outcome(formula, data, **given_))


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
@pytest.mark.parametrize("cuts", [7, batched.UNEVEN], ids=str)
def test_so_do_batches_of_other_models(case: Case, cuts: Any) -> None:
    name, formula, given_ = case
    data = batched.dataset(name)
    assert_same(outcome(formula, cut(data, cuts), **given_), outcome(formula, data, **given_))


@pytest.mark.slow
@pytest.mark.parametrize("case", QUICK[:5])
def test_so_do_single_rows(case: Case) -> None:
    name, formula, given_ = case
    data = batched.dataset(name)
    assert_same(outcome(formula, cut(data, 1), **given_), outcome(formula, data, **given_))


@pytest.mark.parametrize("case", REFUSED)
def test_messages_are_those_of_the_rows_in_memory(case: Case) -> None:
    name, formula, given_ = case
    data = batched.dataset(name)
    expected = outcome(formula, data, **given_)
    assert expected.error or expected.warnings
    assert_same(outcome(formula, cut(data, batched.UNEVEN), **given_), expected)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 240), max_size=12).map(sorted),
    order=st.sampled_from(["as they are", "by level", "shuffled"]),
    formula=st.sampled_from(
        ["y ~ x + f + (z | g)", "y ~ x + (1 | g) + (1 | k)", "y ~ h + x + (1 | f / k)"]
    ),
)
def test_any_batching_gives_the_same_fit(cuts: list[int], order: str, formula: str) -> None:
    """Levels that are split over all batches, batches without rows, rows in any order."""
    data = batched.frame()
    if order == "by level":
        data = data.sort_values("g", ignore_index=True)
    if order == "shuffled":
        data = data.sample(frac=1.0, random_state=1, ignore_index=True)
    assert_same(outcome(formula, cut(data, cuts)), outcome(formula, data))


def test_columns_of_one_level_a_batch() -> None:
    """Each row has one level; all together have several."""
    data, formula = batched.frame().iloc[:60], "y ~ x + (0 + h || g)"
    assert_same(outcome(formula, cut(data, 1)), outcome(formula, data))


def test_the_sample_does_not_depend_on_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixedlm_ext.batches.columns._SAMPLE", 20)
    data = batched.frame()
    samples = []
    for size in (1, 7, 100, 240):
        seen = ColumnsSeen({})
        for frame in cut(data, size)():
            seen.see(frame)
        samples.append(seen.sample())
    assert 10 <= len(samples[0]) <= 20
    for sample in samples[1:]:
        pd.testing.assert_frame_equal(sample, samples[0])


def test_a_layout_learnt_from_a_thinned_sample_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixedlm_ext.batches.columns._SAMPLE", 20)
    data, formula = batched.frame(), "y ~ x + I(x**2) + f + (z | g)"
    assert_same(outcome(formula, cut(data, 13)), outcome(formula, data))


def test_a_column_that_is_rare_in_the_sample_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is zero in all rows of the sample, which has dependent columns then."""
    monkeypatch.setattr("mixedlm_ext.batches.columns._SAMPLE", 20)
    data = batched.frame()
    data["r"] = np.where(np.arange(240) % 16 == 5, "rare", "usual")
    formula = "y ~ r * x + (r | g)"
    assert_same(outcome(formula, cut(data, 16)), outcome(formula, data))


@pytest.mark.parametrize("how", ["array", "function"])
def test_a_subset_of_batches(how: str) -> None:
    data, formula = batched.frame(), "y ~ x + (1 | g)"
    mask = (data["z"] > 0).to_numpy()
    subset = mask if how == "array" else (lambda frame: frame["z"] > 0)
    found = outcome(formula, cut(data, 31), subset=subset)
    assert_same(found, outcome(formula, data, subset=mask))


def test_arrays_beside_the_data_go_by_position() -> None:
    data, formula = batched.frame(), "y ~ x + (1 | g)"
    beside = {"weights": data["w"].to_numpy(), "offset": data["o"].to_numpy()}
    assert_same(outcome(formula, cut(data, 31), **beside), outcome(formula, data, **beside))
    short = outcome(formula, cut(data, 31), weights=np.ones(239))
    assert short.error == ("DesignError", "weights has 239 values; the data have 240 rows.")


def test_keys_change_between_whole_numbers_and_floats() -> None:
    """As pandas reads a column of a CSV file with a hole in one batch."""
    data = batched.frame()
    parts = [data.iloc[:100], data.iloc[100:].astype({"g": float}), data.iloc[:0]]
    whole = pd.concat(parts)
    formula = "y ~ x + (1 | g) + (1 | g:f)"
    assert_same(outcome(formula, lambda: iter(parts)), outcome(formula, whole))


@pytest.mark.parametrize("order", [[1, 3, 2, 4], [4, 1, 3, 2], [1, 2, 3, 4]])
def test_whole_numbers_as_categories_keep_their_order(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    g = rng.integers(1, 5, 120)
    data = pd.DataFrame({"y": 10.0 * g + rng.normal(size=120), "x": rng.normal(size=120)})
    data["g"] = pd.Categorical(g, categories=order)
    one = MixedLM.from_formula("y ~ x + (1 | g)", data).fit()
    two = MixedLM.from_formula("y ~ x + (1 | g)", lambda: iter([data[:60], data[60:]])).fit()
    pd.testing.assert_frame_equal(one.random_effects["g"], two.random_effects["g"], rtol=1e-6)
    assert list(two.random_effects["g"].index) == order


def test_categories_may_differ_between_batches() -> None:
    """Those that come later follow, as in Arrow's dictionaries."""
    data = batched.frame()
    first = data.iloc[:100].assign(h=data["h"].iloc[:100].cat.set_categories(["lo", "mid", "hi"]))
    assert_same(
        outcome("y ~ h + (1 | g)", lambda: iter([first, data.iloc[100:]])),
        outcome("y ~ h + (1 | g)", data),
    )


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ I(x - x.mean()) + (1 | g)",
        "y ~ x + (pd.cut(z, 3) | g)",
        "y - y.mean() ~ x + (1 | g)",
    ],
)
def test_functions_of_all_rows_are_refused(formula: str) -> None:
    found = outcome(formula, cut(batched.frame(), 31), eval_env={"pd": pd})
    assert found.error is not None and "depends on all rows together" in found.error[1]


def test_arrays_of_the_callers_scope_are_refused(tmp_path: Any) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    batched.frame().to_parquet(path)
    found = outcome("y ~ v + (1 | g)", path, eval_env={"v": np.arange(240.0)})
    assert found.error is not None and "Make it a column of the data" in found.error[1]


@pytest.mark.parametrize("c", [0, 500, 5000, 50_000])
def test_dependent_columns_far_from_zero(c: int) -> None:
    rng = np.random.default_rng(1)
    x, g = np.round(rng.uniform(-5, 5, 400), 3), rng.integers(0, 20, 400)
    y = 1 + 0.3 * x - 0.05 * x**2 + rng.normal(size=20)[g] + rng.normal(size=400)
    data = pd.DataFrame({"x": x + c, "g": g, "y": y, "f": rng.choice(["a", "b"], 400)})
    text = f"y ~ f*(x + I(x**2)) + f:I((x - {c})**2) + (1 | g)"
    found, expected = outcome(text, cut(data, [100, 150, 300])), outcome(text, data)
    assert found.result is not None and expected.result is not None
    assert len(found.result.params) == len(expected.result.params) == 6
    assert abs(found.result.objective - expected.result.objective) < 1e-5
    np.testing.assert_allclose(found.result.predict(data), expected.result.predict(data), atol=1e-6)
