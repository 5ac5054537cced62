"""Sites that share no rows: the fit of their sums is the fit of the pooled rows."""

import json
import zipfile
from pathlib import Path
from typing import Any

import batched
import numpy as np
import pandas as pd
import pytest
from batched import Outcome, assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedlm_ext import DataError, MixedLM, Summary, combine, summarize
from mixedlm_ext.errors import DesignError, FormulaError, MixedLMError, RowsRemovedError

FORMULA = "y ~ age + sex + ward + (1 | hospital) + (age | doctor)"
WARDS = {"ward": ["a", "b"]}


def hospitals() -> pd.DataFrame:
    """Three hospitals with doctors of their own; ward b is in two of them only."""
    rng = np.random.default_rng(1)
    parts = []
    for h, (doctors, each) in enumerate([(12, 9), (7, 15), (20, 6)]):
        doctor = np.repeat(np.arange(doctors), each)
        n = len(doctor)
        age = rng.normal(50 + 3 * h, 8, n)
        effects = np.array([1.5, 0.2]) * rng.standard_normal((doctors, 2))
        y = 100 + 2 * h + effects[doctor, 0] + (0.1 + effects[doctor, 1]) * (age - 50)
        part = {
            "hospital": f"H{h}",
            "doctor": [f"D{h}{d:02}" for d in doctor],
            "age": age,
            "sex": rng.choice(["f", "m"], n),
            "ward": rng.choice(["a", "b"], n) if h else "a",
            "w": rng.uniform(0.5, 2.0, n),
            "y": y + 2 * rng.standard_normal(n),
        }
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def by_site(data: pd.DataFrame) -> list[pd.DataFrame]:
    return [part for _, part in data.groupby("hospital")]


def fitted(make: Any) -> Outcome:
    """Fit a model; keep what it says."""
    return batched.outcome_of(lambda: make().fit())


def pooled(summary: Summary, **given_: Any) -> Outcome:
    return fitted(lambda: MixedLM.from_summary(summary, **given_))


@pytest.mark.parametrize("weights", [None, "w"])
def test_three_hospitals(weights: str | None, tmp_path: Path) -> None:
    data = hospitals()
    paths = [tmp_path / f"{i}.npz" for i in range(3)]
    for path, part in zip(paths, by_site(data)):
        summarize(FORMULA, part, weights=weights, levels=WARDS).save(path)
    found = pooled(combine(*paths))
    expected = batched.outcome(FORMULA, data, weights=weights)
    assert_same(found, expected)
    assert found.result is not None and expected.result is not None
    assert abs(found.result.objective - expected.result.objective) < 1e-9
    assert_allclose(found.result.predict(data), expected.result.predict(data), rtol=1e-9)
    with pytest.raises(RowsRemovedError, match="stayed at their sites"):
        found.result.resid  # noqa: B018


def test_a_site_withdraws() -> None:
    data = hospitals()
    sums = [summarize(FORMULA, part, levels=WARDS) for part in by_site(data)]
    left = combine(*sums) - sums[1]
    others = data[data["hospital"] != "H1"]
    assert left.n == len(others)
    assert [len(term.levels) for term in left.terms] == [2, 32]
    assert_same(pooled(left), batched.outcome(FORMULA, others))
    assert_same(pooled(left + sums[1]), batched.outcome(FORMULA, data))


@pytest.mark.parametrize("given_", [{}, {"weights": "w"}, {"offset": "o"}])
@pytest.mark.parametrize(
    "formula",
    ["y ~ x + (x | g)", "y ~ x * f + (1 | k)", "y ~ x + I(x**2) + (1 | g)", "y ~ x + x2 + (1 | g)"],
)
def test_a_site_withdraws_where_columns_are_far_from_zero(
    formula: str, given_: dict[str, str]
) -> None:
    """x is about 2000 with a spread of one: its square has no digits of that to spare."""
    data = batched.frame()
    levels = {"f": list("abc")} if "f" in formula else {}
    sums = [
        summarize(formula, part, levels=levels, **given_)
        for part in (data[:90], data[90:130], data[130:])
    ]
    left = combine(*sums) - sums[1]
    rows = data.drop(index=data.index[90:130])
    assert_same(pooled(left), batched.outcome(formula, rows, **given_))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    sites=st.integers(2, 4),
    formula=st.sampled_from(
        [
            "y ~ x + f + (z | g)",
            "y ~ h * x + (1 | g) + (1 | k)",
            "y ~ x + I(x**2) + (1 | f / k)",
            "y ~ x + x2 + (0 + h | g)",
        ]
    ),
)
def test_rows_dealt_out_at_random(seed: int, sites: int, formula: str) -> None:
    """Levels are at several sites, in any order; sites are pooled in any order, one by one."""
    data = batched.frame()
    rng = np.random.default_rng(seed)
    site = rng.integers(0, sites, len(data))
    levels = {"f": list("abc"), "h": ["lo", "mid", "hi"]}
    used = {name: own for name, own in levels.items() if name in formula}
    sums = [summarize(formula, data[site == i], levels=used) for i in range(sites)]
    whole = sums[0]
    for i in rng.permutation(np.arange(1, sites)):
        whole = combine(sums[i], whole)
    recoded = data.assign(h=data["h"].cat.remove_unused_categories())
    assert_same(pooled(whole), batched.outcome(formula, recoded))


def test_errors_are_those_of_the_pooled_rows() -> None:
    data = batched.frame()
    for formula in ("y ~ x + (one | g)", "y ~ x + (x + x2 | g)", "one ~ x + (1 | g)",
                    "y ~ x + (1 | g) + (1 | g2)", "y ~ x + (1 | row)"):  # fmt: skip
        sums = [summarize(formula, data[:100]), summarize(formula, data[100:])]
        assert_same(pooled(combine(*sums)), batched.outcome(formula, data))


def test_columns_of_one_level_a_site() -> None:
    data, formula = batched.frame().iloc[:60], "y ~ x + (0 + f || g)"
    sums = [summarize(formula, part, levels={"f": list("abc")}) for _, part in data.groupby("g")]
    assert_same(pooled(combine(*sums)), batched.outcome(formula, data))


def test_rows_of_a_site_may_come_in_batches() -> None:
    data = hospitals()
    one = summarize(FORMULA, batched.cut(data, 50))
    assert_same(pooled(one), batched.outcome(FORMULA, data))


# --- what is refused ------------------------------------------------------------------------------


def test_sites_that_code_their_rows_in_other_ways() -> None:
    parts = by_site(hospitals())
    one = summarize(FORMULA, parts[1])
    turned, truths = {"ward": ["b", "a"]}, parts[2].assign(sex=parts[2]["sex"] == "m")
    for other, words in (
        (summarize(FORMULA, parts[0], levels={"ward": ["a"]}), "the categories 'a' of 'ward'"),
        (summarize(FORMULA, parts[0], levels=turned), "the categories 'b', 'a' of 'ward'"),
        (summarize(FORMULA, parts[2], weights="w"), "the weights 'column w', where the first has"),
        (summarize("y ~ age + (1 | doctor)", parts[2]), "the formula 'y ~ age"),
        (summarize(FORMULA, truths), "of 'sex'"),
    ):
        with pytest.raises(DataError, match="summary 2 cannot be added to summary 1") as caught:
            combine(one, other)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p: summarize("y ~ center(age) + (1 | doctor)", p), FormulaError, "Agree on a"),
        (lambda p: summarize("y - y.mean() ~ age + (1 | doctor)", p), FormulaError, "all rows"),
        (lambda p: summarize(FORMULA, p, levels={"wrd": ["a"]}), DesignError, "mean 'ward'"),
        (lambda p: summarize(FORMULA, p, levels={"sex": ["f"]}), DataError, "'m' in column 'sex'"),
        (lambda p: summarize(FORMULA, p, min_count=0), DesignError, "min_count=0 is no number"),
        (lambda p: combine(), DataError, "no summary to combine"),
        (lambda p: combine(3), DataError, "not a int"),
        (lambda p: combine("nowhere.npz"), DataError, "there is no file"),
    ],
)  # fmt: skip
def test_what_makes_no_sense(call: Any, error: type[MixedLMError], words: str) -> None:
    with pytest.raises(error) as caught:
        call(by_site(hospitals())[0])
    assert words in str(caught.value)


def test_a_part_that_is_none() -> None:
    sums = [summarize(FORMULA, part, levels=WARDS) for part in by_site(hospitals())]
    for whole, part in ((sums[0], sums[1]), (sums[0], sums[0]), (sums[0], sums[0] + sums[1])):
        with pytest.raises(DataError, match="part"):
            whole - part


@pytest.mark.parametrize(
    ("formula", "count", "words"),
    [
        ("y ~ age + (1 | doctor)", 10, "'D000' of 'doctor' (and 11 more like it) has 9 rows"),
        ("y ~ age + (1 | sex) + (1 | doctor)", 4, "the pair 'D0"),
        ("y ~ sex + (1 | hospital)", 100, "the column 'sex[T.m]' has "),
    ],
)  # fmt: skip
def test_counts_below_a_threshold(formula: str, count: int, words: str) -> None:
    part = by_site(hospitals())[0]
    with pytest.raises(DataError) as caught:
        summarize(formula, part, min_count=count)
    assert words in str(caught.value) and f"fewer than min_count={count}" in str(caught.value)
    assert summarize(formula, part, min_count=1).n == len(part)


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site() -> Summary:
    return summarize(FORMULA, by_site(hospitals())[1])


def test_a_file_gives_the_summary_back(site: Summary, tmp_path: Path) -> None:
    site.save(tmp_path / "a.npz")
    again = Summary.load(tmp_path / "a.npz")
    assert repr(again) == repr(site)
    assert again.summed.tally.n_used == site.summed.tally.n_used
    assert_same(pooled(again), pooled(site))


@pytest.mark.parametrize("formula", ["y ~ h + (1 | g)", "y ~ i + b + (1 | c) + (1 | f:g)"])
def test_labels_of_other_types(formula: str, tmp_path: Path) -> None:
    """Categories keep their order; whole numbers, floats and truth values their types."""
    data = batched.frame()
    summarize(formula, data).save(tmp_path / "a.npz")
    assert_same(pooled(Summary.load(tmp_path / "a.npz")), batched.outcome(formula, data))


def test_a_file_holds_no_pickle_and_no_rows(site: Summary, tmp_path: Path) -> None:
    site.save(tmp_path / "a.npz")
    longest = 0
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        for name in file.files:
            assert file[name].dtype.kind in "biufU"
            if name != "description":
                longest = max(longest, file[name].size)
    assert longest < site.n
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def rewritten(path: Path, change: Any) -> None:
    """Change arrays of a file and write it again."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    np.savez(path, **arrays)


def described(arrays: dict[str, Any], **changes: Any) -> None:
    """Change the description and sign it."""
    from mixedlm_ext.sites.files import _checksum

    description = json.loads(arrays["description"].tobytes())
    description.update(changes)
    arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    arrays["checksum"] = np.array(_checksum(arrays["description"]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.update(ZX=a["ZX"] + 1e-9), "its part 'ZX' is not what was written"),
        (lambda a: a.pop("Xy"), "its part 'Xy' is not what was written"),
        (lambda a: a.update(description=a["description"][::-1].copy()), "its description is not"),
        (lambda a: described(a, **{"mixedlm_ext summary": 99}), "has the layout 99 of summaries"),
        (lambda a: described(a, **{"mixedlm_ext summary": None}), "holds no summary"),
        (lambda a: described(a, places=[]), "damaged"),
        (lambda a: a.pop("description"), "holds no summary"),
    ],
)
def test_a_file_that_is_not_what_was_written(
    change: Any, words: str, site: Summary, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    site.save(path)
    rewritten(path, change)
    with pytest.raises(DataError) as caught:
        Summary.load(path)
    assert words in str(caught.value)


def test_files_of_other_kinds(site: Summary, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    site.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged"):
        Summary.load(path)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match="no summary"):
        Summary.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "hello")
    with pytest.raises(DataError, match="no summary"):
        Summary.load(path)


def test_summaries_may_come_in_one_list() -> None:
    sums = [summarize(FORMULA, part, levels=WARDS) for part in by_site(hospitals())]
    together, each = combine(sums), combine(*sums)
    assert_same(pooled(together), pooled(each))
    with pytest.raises(DataError, match="all in one list"):
        combine(sums, sums)
    with pytest.raises(DataError, match="no summary to combine"):
        combine([])


@pytest.mark.parametrize("c", [0, 500, 5000, 50_000])
@pytest.mark.parametrize("fixed", ["x + I(x**2) + I((x - {c})**2)", "0 + f + x + f:x"])
def test_dependent_columns_far_from_zero(fixed: str, c: int) -> None:
    rng = np.random.default_rng(1)
    x, g = np.round(rng.uniform(-5, 5, 400), 3), rng.integers(0, 20, 400)
    y = 1 + 0.3 * x - 0.05 * x**2 + rng.normal(size=20)[g] + rng.normal(size=400)
    f = rng.choice(["a", "b"], 400)
    data = pd.DataFrame({"x": x + c, "g": g, "y": y, "f": f})
    text = f"y ~ {fixed.format(c=c)} + (1 | g)"
    expected = batched.outcome(text, data)
    levels = {"f": ["a", "b"]} if "f" in fixed else None
    parts = [summarize(text, data[i::3], levels=levels) for i in range(3)]
    found = pooled(combine(*parts))
    assert found.result is not None and expected.result is not None
    assert len(found.result.params) == len(expected.result.params) == (3 if levels is None else 4)
    assert abs(found.result.objective - expected.result.objective) < 1e-5
    assert_allclose(found.result.predict(data), expected.result.predict(data), atol=1e-6)
