"""A predictor says what the fit says, also in a process that never saw the data."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import textwrap
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from simulation import fit as quiet_fit

import mixedlm_ext
from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError
from mixedlm_ext.prediction.portable import decode, encode
from mixedlm_ext.prediction.predictor import Predictor

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"

FORMULAS = [
    (SLEEPSTUDY, "sleepstudy"),
    ("np.log(Reaction) ~ Days * I(Days > 3) + (Days || Subject)", "sleepstudy"),
    ("Reaction ~ bs(Days, df=4) + (bs(Days, df=3) | Subject)", "sleepstudy"),
    ("Reaction ~ 0 + cr(Days, df=4) + (scale(log(Days + 1)) | Subject)", "sleepstudy"),
    (
        "Reaction ~ 0 + Days + offset(10 * Days) + (1 | Subject) + (0 + Days | Subject)",
        "sleepstudy",
    ),
    ("Reaction ~ np.sqrt(Q('Days')) + (1 | Subject)", "sleepstudy"),
    ("Reaction ~ 0 + (1 | Subject)", "sleepstudy"),
    ("score ~ Machine + (1 | Worker / Machine)", "machines"),
    ("score ~ C(Machine, Sum) + (0 + Machine | Worker)", "machines"),
    (
        "score ~ C(Machine, Treatment('B')) + (1 | C(Worker)) + (1 | Q('Worker'):Machine)",
        "machines",
    ),
    ("angle ~ recipe * temperature + (1 | recipe:replicate)", "cake"),
    ("Q('yield') ~ nitro * Variety + (1 | Block / Variety)", "oats"),
    ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
]


@lru_cache
def load(name: str = "sleepstudy") -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


@lru_cache
def fit(formula: str = SLEEPSTUDY, name: str = "sleepstudy") -> Any:
    """A fit that is shared: tests must not change it."""
    return quiet_fit(formula, load(name))


def refused(message: str) -> Any:
    return pytest.raises(DesignError, match=re.escape(message))


def saved_and_loaded(predictor: Predictor, folder: Path) -> Predictor:
    predictor.save(folder / "predictor.json")
    return Predictor.load(folder / "predictor.json")


@pytest.mark.parametrize(("formula", "name"), FORMULAS)
def test_same_predictions(formula: str, name: str, tmp_path: Path) -> None:
    r, data = fit(formula, name), load(name)
    made = r.to_predictor()
    for predictor in (made, saved_and_loaded(made, tmp_path), pickle.loads(pickle.dumps(made))):
        assert_allclose(predictor.predict(data), r.fittedvalues, rtol=1e-10)
    for which in ("conditional", "population"):
        some = data.iloc[[5, 0, 17]]
        values = predictor.predict(some, which)
        assert_allclose(values, r.predict(some, which), rtol=1e-10)
        assert values.index.equals(some.index)
    assert_allclose(predictor.predict(pl.from_pandas(data)), r.fittedvalues, rtol=1e-10)
    rows = [data.iloc[3], data.iloc[3].to_dict()]
    for row in rows:
        value = predictor.predict(row)
        assert isinstance(value, float)
        assert_allclose(value, r.fittedvalues.iloc[3], rtol=1e-10)


def test_in_a_fresh_process(tmp_path: Path) -> None:
    """Without the data, from the file alone."""
    for i, (formula, name) in enumerate(FORMULAS):
        r, data = fit(formula, name), load(name)
        r.to_predictor().save(tmp_path / f"{i}.json")
        row = {c: v if isinstance(v, str) else float(v) for c, v in data.iloc[7].items()}
        expected = float(r.fittedvalues.iloc[7])
        (tmp_path / f"{i}.row").write_text(json.dumps([row, expected]))
    code = """
        import json, sys
        from mixedlm_ext.prediction.predictor import Predictor
        for i in range(int(sys.argv[1])):
            row, expected = json.load(open(f"{i}.row"))
            value = Predictor.load(f"{i}.json").predict(row)
            assert abs(value - expected) <= 1e-10 * abs(expected), (i, value, expected)
        print("same")
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), str(len(FORMULAS))]
    root = str(Path(mixedlm_ext.__file__).parents[1])
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("same", 0), done.stderr


def test_it_keeps_no_data() -> None:
    """The size depends on the levels, not on the rows."""
    many = pd.concat([load()] * 5, ignore_index=True)
    sizes = [
        len(json.dumps(MixedLM.from_formula(SLEEPSTUDY, data).fit().to_predictor()._record))
        for data in (load(), many)
    ]
    assert sizes[0] < 3000
    assert abs(sizes[0] - sizes[1]) < 100


def test_levels_missing_values_and_index() -> None:
    new = pd.DataFrame(
        {"Days": [0, 5.0, np.nan, 1], "Subject": ["308", "nobody", "309", None]}, index=[7, 7, 1, 2]
    )
    predictor = fit().to_predictor()
    for new_levels in ("population", "nan"):
        expected = fit().predict(new, new_levels=new_levels)
        got = predictor.predict(new, new_levels=new_levels)
        pd.testing.assert_series_equal(got, expected, rtol=1e-12)
    assert_allclose(
        predictor.predict(new[["Days"]], "population"), fit().predict(new[["Days"]], "population")
    )
    assert np.isnan(predictor.predict({"Days": np.nan, "Subject": "308"}))
    assert np.isnan(predictor.predict({"Days": 1, "Subject": None}))
    with refused("the fit has not seen the level 'nobody' of 'Subject'."):
        predictor.predict(new, new_levels="error")
    with refused("which='fixed' is not known."):
        predictor.predict(new, "fixed")
    with refused("the new data have no column 'Subject', which the random term"):
        predictor.predict(new[["Days"]])
    with refused("column 'Days' is not numeric in the new data (it holds 'a')"):
        predictor.predict({"Days": "a", "Subject": "308"})
    machines = fit("score ~ Machine + (1 | Worker)", "machines").to_predictor()
    with refused("'Machine' has the level 'D' in the new data, which the fit has not seen"):
        machines.predict({"Machine": "D", "Worker": "1"})
    assert len(predictor.predict(new.head(0))) == 0


def test_undefined_values_are_missing() -> None:
    r = fit("Reaction ~ np.log(Days + 1) + (1 | Subject)")
    new = {"Days": [-1, -2, 0], "Subject": ["308"] * 3}
    assert_allclose(r.to_predictor().predict(new), r.predict(new))


def test_levels_of_other_types(tmp_path: Path) -> None:
    """1 and "1" stay different, dates too."""
    n = 60
    rng = np.random.default_rng(0)
    dates = pd.date_range("2020-01-01", periods=6)
    data = pd.DataFrame(
        {
            "y": rng.standard_normal(n),
            "day": dates[np.arange(n) % 6],
            "number": np.arange(n) // 6 % 5,
            "mixed": pd.Series([1, "1", 2.5, "1.0", "x:y"] * 12, dtype=object),
            "flag": np.arange(n) % 2 == 0,
        }
    )
    formula = "y ~ flag + (1 | day) + (1 | number:mixed)"
    r = quiet_fit(formula, data)
    predictor = saved_and_loaded(r.to_predictor(), tmp_path)
    assert_allclose(predictor.predict(data), r.fittedvalues, rtol=1e-10, atol=1e-12)
    text = data.assign(number=data["number"].astype(str))
    assert_allclose(predictor.predict(text, new_levels="nan"), r.fittedvalues, atol=1e-12)
    other = data.assign(mixed=data["mixed"].map({1: "2.5"}.get, na_action="ignore").fillna("2.5"))
    assert predictor.predict(other, new_levels="nan").isna().all()


def test_offsets(tmp_path: Path) -> None:
    data = load().assign(z=3.0 * load()["Days"])
    by_name = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, offset="z").fit()
    predictor = saved_and_loaded(by_name.to_predictor(), tmp_path)
    assert_allclose(predictor.predict(data), by_name.fittedvalues)
    assert_allclose(predictor.predict(load(), offset=data["z"]), by_name.fittedvalues)
    row = {"Days": 1, "Subject": "308"}
    assert_allclose(predictor.predict(row, offset=3.0), by_name.fittedvalues.iloc[1])
    with refused("the new data have no column 'z', the offset of the fit."):
        predictor.predict(load())


def test_a_rank_deficient_fit() -> None:
    data = load().assign(twice=2 * load()["Days"])
    with pytest.warns(UserWarning, match="rank deficient"):
        r = MixedLM.from_formula("Reaction ~ Days + twice + (1 | Subject)", data).fit()
    assert_allclose(r.to_predictor().predict(data), r.fittedvalues)


def test_some_terms() -> None:
    r = fit("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin")
    predictor = r.to_predictor(terms="sample")
    assert predictor.columns == ["sample"]
    assert_allclose(
        predictor.predict({"sample": ["A", "F"]}), r.predict({"sample": ["A", "F"]}, terms="sample")
    )
    with refused("no random term 'batch'"):
        r.to_predictor(terms="batch")


def test_after_the_data_are_gone() -> None:
    r = MixedLM.from_formula("Reaction ~ bs(Days, df=4) + (Days | Subject)", load()).fit()
    expected = r.fittedvalues.to_numpy()
    r.remove_data()
    assert_allclose(r.to_predictor().predict(load()), expected)


def double(x: Any) -> Any:
    return 2 * x


def test_functions_and_constants_of_the_scope(tmp_path: Path) -> None:
    shift = 2.0
    r = MixedLM.from_formula("Reaction ~ double(Days - shift) + (1 | Subject)", load()).fit()
    with refused("the predictor wants what it may not use by itself: 'test_predictor.double'."):
        saved_and_loaded(r.to_predictor(), tmp_path)
    predictor = Predictor.load(tmp_path / "predictor.json", trusted=["test_predictor.double"])
    assert shift == 2.0
    assert_allclose(predictor.predict(load()), r.fittedvalues)
    local = lambda x: x + 1  # noqa: E731
    r = MixedLM.from_formula("Reaction ~ local(Days) + (1 | Subject)", load()).fit()
    with refused("'local', which the formula uses, cannot be saved: it is a function"):
        r.to_predictor()
    assert local(1) == 2


def test_what_it_refuses(tmp_path: Path) -> None:
    X = np.column_stack([np.ones(180), load()["Days"]])
    random = [mixedlm_ext.RandomTerm(load()["Subject"].to_numpy())]
    with refused("a predictor needs a model made from a formula"):
        MixedLM(load()["Reaction"].to_numpy(), X, random).fit().to_predictor()
    for text in ("{}", "[1]", "no json"):
        (tmp_path / "other.json").write_text(text)
        with refused("holds no predictor"):
            Predictor.load(tmp_path / "other.json")
    (tmp_path / "new.json").write_text('{"mixedlm_ext predictor": 99}')
    with refused("has the layout 99 of predictors"):
        Predictor.load(tmp_path / "new.json")
    odd = load().assign(part=[frozenset({i % 3}) for i in range(180)])
    r = quiet_fit("Reaction ~ Days + (1 | part)", odd)
    with refused("a level of 'part' cannot be saved: it is a frozenset"):
        r.to_predictor()


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2.5, "text", [1, "a", [2.0]], (1, 2), pd.Timestamp("2020-01-02 03:04"), np.log],
)
def test_values_survive_json(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value, "it"))))
    assert back == value
    assert type(back) is type(value)
