"""Grouping keys of another type at new rows: exactly the level of the fit, or refused in words."""

from __future__ import annotations

import datetime
import re
import warnings
from decimal import Decimal
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from packaging.version import Version
from simulation import fit as quiet_fit

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.design.keys import match_keys
from mixedlm_ext.errors import DesignError, DesignWarning, FitError

SLEEPSTUDY = "Reaction ~ Days + (Days | Subject)"
TZ = "Europe/Berlin"


@lru_cache
def load(kind: str = "text") -> pd.DataFrame:
    data = datasets.sleepstudy.load_pandas().data
    return data if kind == "text" else data.assign(Subject=data["Subject"].astype(kind))


@lru_cache
def fit(formula: str = SLEEPSTUDY, kind: str = "text") -> Any:
    """A fit that is shared: tests must not change it."""
    return quiet_fit(formula, load(kind))


def refused(message: str) -> Any:
    return pytest.raises(DesignError, match=message)


# what a column of the fit's keys may look like in the new data; each is levels 0 and 2 of the fit
SAME = {
    "text": ["308", "310"],
    "int": [308, 310],
    "float": [308.0, 310.0],
    "int32": np.array([308, 310], "int32"),
    "uint64": np.array([308, 310], "uint64"),
    "float32": np.array([308, 310], "float32"),
    "big-endian": np.array([308, 310], ">i2"),
    "numpy text": np.array(["308", "310"]),
    "float text": ["308.0", "310.0"],
    "bytes": np.array([b"308", b"310"]),
    "decimal": [Decimal(308), Decimal("310.0")],
    "nullable": pd.array([308, 310], dtype="Int64"),
    "string": pd.array(["308", "310"], dtype="string"),
    "arrow text": pd.array(["308", "310"], dtype="string[pyarrow]"),
    "arrow number": pd.array([308, 310], dtype="int16[pyarrow]"),
    "category of text": pd.Categorical(["308", "310"]),
    "category of numbers": pd.Categorical([308, 310], categories=[310, 309, 308]),
    "objects": pd.Series([308, "310"], dtype=object),
    "numpy scalars": [np.int8(0) + np.int64(308), np.str_("310")],
    "polars text": pl.Series(["308", "310"]),
    "polars number": pl.Series([308, 310], dtype=pl.UInt16),
}


@pytest.mark.parametrize("formula", [
    SLEEPSTUDY,
    "Reaction ~ Days + (1 | C(Subject))",
    "Reaction ~ Days + (1 | Q('Subject'))",
    "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
    "Reaction ~ Days + (1 | Subject:pd.cut(Days, [-1, 4, 9]))",
])  # fmt: skip
@pytest.mark.parametrize("fitted", ["text", "int64", "float64", "category"])
@pytest.mark.parametrize("kind", SAME)
def test_keys_of_any_type(formula: str, fitted: str, kind: str) -> None:
    if fitted in ("text", "category") and kind in ("objects", "numpy scalars", "float text"):
        pytest.skip("text beside numbers, where the fit had text, stays what it is")
    if fitted in ("int64", "float64") and kind == "bytes":
        pytest.skip("bytes are read as text only")
    r = fit(formula, fitted)
    new = {"Days": [0.0, 7.0], "Subject": SAME[kind]}
    expected = r.fittedvalues.iloc[[0, 27]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(r.predict(new), expected, rtol=1e-12)
        assert_allclose(r.get_prediction(new).predicted_mean, expected, rtol=1e-12)
        assert_allclose(r.augment(new)["fitted"], expected, rtol=1e-12)
        assert_allclose(r.to_predictor().predict(new), expected, rtol=1e-12)
        r.predict(new, new_levels="error")
        Y = r.simulate(3, rng=1, exog=new, conditional=True, params={"sigma": 1e-9})
    assert_allclose(Y, np.column_stack([expected] * 3), rtol=1e-8)


def test_one_spelling_of_several_beside_each_other() -> None:
    """A simulated level is one level, in whatever type its rows spell it."""
    new = {"Days": [1.0, 1.0], "Subject": pd.Series([308, "308"], dtype=object)}
    effects = {"sigma": 1e-9, "covariances": {"Subject": [[500.0, 0.0], [0.0, 25.0]]}}
    Y = fit(kind="int64").simulate(5, rng=1, exog=new, params=effects)
    assert_allclose(Y.loc[0], Y.loc[1], rtol=1e-6)
    assert Y.loc[0].std() > 5


DATES = pd.date_range("2020-01-30", periods=6)
FLAGS = np.arange(60) % 2 == 0


def frame(key: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"y": rng.standard_normal(60), "g": key})


REPEATED = {
    "dates": DATES[np.arange(60) % 6],
    "dates with a zone": DATES.tz_localize(TZ)[np.arange(60) % 6],
    "date text": DATES.strftime("%Y-%m-%d")[np.arange(60) % 6],
    "python dates": pd.Series([d.date() for d in DATES[np.arange(60) % 6]], dtype=object),
    "times": DATES[np.arange(60) % 6] + pd.Timedelta("01:30:00"),
    "months": pd.PeriodIndex(DATES[np.arange(60) % 6], freq="D"),
    "durations": pd.to_timedelta(np.arange(60) % 6, unit="h"),
    "intervals": pd.cut(np.arange(60) % 6, [-1, 1, 3, 5]),
    "flags": FLAGS,
    "0 and 1": FLAGS.astype(int),
    "flag text": FLAGS.astype(str),
    "quarters": np.arange(60) % 4 / 4,
}


@pytest.mark.parametrize(
    ("fitted", "new"),
    [
        ("dates", DATES.strftime("%Y-%m-%d")),
        ("dates", DATES.astype(str)),
        ("dates", [d.isoformat() for d in DATES]),
        ("dates", [d.date() for d in DATES]),
        ("dates", DATES.to_numpy("datetime64[s]")),
        ("dates", pl.Series(DATES.to_list())),
        ("dates", pl.Series([d.date() for d in DATES])),
        ("dates", pd.array([d.date() for d in DATES], dtype="date32[pyarrow]")),
        ("dates", pd.Series([datetime.datetime(2020, 1, d.day) if d.month == 1
                             else datetime.datetime(2020, 2, d.day) for d in DATES], dtype=object)),
        ("dates with a zone", DATES.tz_localize(TZ).tz_convert("UTC")),
        ("dates with a zone", [str(d) for d in DATES.tz_localize(TZ)]),
        ("date text", DATES),
        ("date text", [d.date() for d in DATES]),
        ("python dates", DATES),
        ("python dates", DATES.strftime("%Y-%m-%d")),
        ("times", [str(d) for d in DATES + pd.Timedelta("01:30:00")]),
        ("months", DATES.strftime("%Y-%m-%d")),
        ("durations", [str(d) for d in pd.to_timedelta(np.arange(6), unit="h")]),
        ("durations", [datetime.timedelta(hours=i) for i in range(6)]),
        ("intervals", pd.cut(np.arange(6), [-1.0, 1.0, 3.0, 5.0])),
        ("intervals", [str(v) for v in pd.cut(np.arange(6), [-1, 1, 3, 5])]),
        ("flags", [1, 0, 1, 0, 1, 0]),
        ("flags", [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]),
        ("flags", ["True", "False"] * 3),
        ("flags", pd.array([True, False] * 3, dtype="boolean")),
        ("0 and 1", [True, False] * 3),
        ("0 and 1", ["1", "0"] * 3),
        ("flag text", [True, False] * 3),
        ("quarters", ["0.0", "0.25", "0.5", "0.75", "0.0", "0.25"]),
        ("quarters", np.array([0, 0.25, 0.5, 0.75, 0, 0.25], "float32")),
        ("quarters", [Decimal("0"), Decimal("0.25"), Decimal("0.5"), 0.75, 0, 0.25]),
    ],
)  # fmt: skip
def test_other_kinds_of_keys(fitted: str, new: Any) -> None:
    data = frame(REPEATED[fitted])
    r = quiet_fit("y ~ 1 + (1 | g)", data)
    expected = r.fittedvalues.iloc[:6].to_numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(r.predict({"g": new}, new_levels="error"), expected)
        assert_allclose(r.to_predictor().predict({"g": new}, new_levels="error"), expected)


def test_single_precision() -> None:
    """0.1 in 32 bits is 0.1."""
    assert match_keys(
        pd.Index(np.array([0.1, 0.7], "float32")), pd.Index([0.1, 0.7]), "g"
    ).tolist() == [0, 1]
    assert match_keys(
        pd.Index([0.1, 0.7]), pd.Index(np.array([0.1, 0.7], "float32")), "g"
    ).tolist() == [0, 1]


def test_large_numbers_are_compared_exactly() -> None:
    big = 2**53
    assert match_keys(pd.Index([float(big)]), pd.Index([big + 1, big]), "g").tolist() == [1]
    assert match_keys(pd.Index([big, big + 1]), pd.Index([float(big)]), "g").tolist() == [0, -1]
    assert match_keys(pd.Index([str(big + 1)]), pd.Index([big + 1, big]), "g").tolist() == [0]
    assert match_keys(pd.Index([2**63], dtype="uint64"), pd.Index([-(2**63)]), "g").tolist() == [-1]


@pytest.mark.parametrize(
    ("fitted", "new", "both"),
    [
        ([7, 8], ["007", "8"], ["text (str)", "'007'", "numbers (int64)", "7"]),
        ([7, 8], ["7", "x"], ["text (str)", "'x'", "numbers (int64)"]),
        ([7, 8], [" 7"], ["text (str)", "' 7'", "numbers"]),
        ([7, 8], ["7.50"], ["text", "'7.50'", "numbers"]),
        (["007", "008"], [7], ["numbers (int64)", "7", "text (str)", "'007'"]),
        (["007", "100"], [7], ["numbers (int64)", "7", "text (str)", "'007'"]),
        (["9007199254740992.0"], [2**53 + 1], ["numbers (int64)", "9007199254740993"]),
        (["7", "7.0"], [7], ["numbers", "text"]),
        (["a", "b"], [1], ["numbers (int64)", "1", "text (str)", "'a'"]),
        (["a", "b"], [True], ["truth values (bool)", "True", "text (str)"]),
        ([1, 2, 3], [True], ["truth values (bool)", "numbers (int64)"]),
        ([True, False], [2], ["numbers (int64)", "2", "truth values (bool)"]),
        ([True, False], ["yes"], ["text (str)", "truth values (bool)"]),
        (DATES, ["30/01/2020"], ["text (str)", "'30/01/2020'", "dates (datetime64["]),
        (DATES, ["today"], ["text (str)", "dates"]),
        (DATES, [20200130], ["numbers (int64)", "dates"]),
        (DATES, DATES.tz_localize("UTC"), ["dates with a time zone (datetime64[", "UTC]", "dates"]),
        (DATES.tz_localize(TZ), DATES, ["dates (datetime64[", "dates with a time zone"]),
        (DATES.to_period("M"), DATES, ["dates (datetime64[", "periods (period[M])"]),
        (["30.1.2020", "31.1.2020"], DATES, ["dates (datetime64[", "text (str)"]),
        (pd.interval_range(0, 3), ["0 to 1"], ["text (str)", "intervals (interval[int64, right])"]),
    ],
)
def test_types_that_do_not_fit_are_named(fitted: Any, new: Any, both: list[str]) -> None:
    pattern = ".*".join(map(re.escape, ["g holds", *both]))
    with refused(pattern):
        match_keys(pd.Index(new), pd.Index(fitted), "g")


def test_refusals_everywhere() -> None:
    r, new = fit(kind="int64"), {"Days": [0.0, 1.0], "Subject": ["308", "new"]}
    calls = [
        r.predict, r.get_prediction, r.augment, r.to_predictor().predict,
        lambda data: r.simulate(exog=data), lambda data: r.simulate(exog=data, conditional=True),
        lambda data: r.predict(pd.DataFrame(data), new_levels="nan"),
        lambda data: r.get_prediction(pl.DataFrame(data), new_levels="error"),
    ]  # fmt: skip
    for call in calls:
        with refused(r"'Subject' holds text \(str\) in the new data, such as 'new'; in the fit it "
                     r"held numbers \(int64\), such as 308"):  # fmt: skip
            call(new)
    assert_allclose(r.predict(new, which="population"), [251.405, 261.872], rtol=1e-5)
    with refused("'Subject' holds text"):
        fit("Reaction ~ Days + (1 | C(Subject))", "int64").predict(new)
    with refused("column 'Subject' is not numeric in the new data"):
        fit("Reaction ~ Days + (1 | Subject.astype(str))", "int64").predict(new)


def test_arrays() -> None:
    X = np.column_stack([np.ones(180), load()["Days"]])
    r = MixedLM(load()["Reaction"], X, [RandomTerm(load("int64")["Subject"], X)]).fit()
    text = RandomTerm(load()["Subject"], X)
    assert_allclose(r.predict(X, random=[text]), r.fittedvalues)
    with refused("'Subject' holds text"):
        r.predict(X, random=[RandomTerm(["s" + s for s in load()["Subject"]], X)])
    two = RandomTerm((load()["Subject"], load()["Days"]), X)
    with refused("groups of 'Subject' are given by 2 factors; the fit had 1"):
        r.predict(X, random=[two])


def test_keys_within_expressions() -> None:
    """A column that only the grouping factor uses is converted before it is computed with."""
    for fitted in ("text", "int64"):
        r = fit("Reaction ~ Days + (1 | Subject.astype(str).str[:2])", fitted)
        for key in (["308", "371"], [308, 371], [308.0, 371.0]):
            new = {"Days": [0.0, 1.0], "Subject": key}
            expected = r.fittedvalues.iloc[[0, 161]]
            assert_allclose(r.predict(new, new_levels="error"), expected)
            assert_allclose(r.to_predictor().predict(new, new_levels="error"), expected)


def test_fixed_factors_follow_the_rule() -> None:
    data = load("int64").assign(f=np.arange(180) % 3)
    r = quiet_fit("Reaction ~ C(f) + (1 | Subject)", data)
    rows = data.iloc[:9]
    assert_allclose(r.predict(rows.assign(f=rows["f"].astype(str))), r.fittedvalues[:9])
    assert_allclose(
        r.to_predictor().predict(rows.assign(f=rows["f"].astype(str))), r.fittedvalues[:9]
    )
    with refused("column 'f' has the level 7 in the new data"):
        r.predict(rows.assign(f=7))
    with refused("column 'f' holds text"):
        r.predict(rows.assign(f="x"))


# ---------------------------------------------------------------- levels that are new


def test_errors_name_the_new_levels() -> None:
    new = {"Days": [0, 1, 2, 3, 4, 5], "Subject": ["308", "a", "b", "c", "d", "a"]}
    message = (
        r"has not seen the level of 'Subject' at row 1 \(such rows: 5\).* The new levels are 'a', "
        r"'b', 'c' and 1 other\."
    )
    for call in (fit().predict, fit().get_prediction):
        with refused(message):
            call(new, new_levels="error")
    with refused("has not seen the level 'a', 'b', 'c' and 1 other of 'Subject'"):
        fit().to_predictor().predict(new, new_levels="error")
    machines = datasets.machines.load_pandas().data
    r = quiet_fit("score ~ Machine + (1 | Worker:Machine)", machines)
    with refused(r"The new levels are \('7', 'A'\)\."):
        r.predict({"Machine": ["A"], "Worker": ["7"]}, new_levels="error")


def test_a_warning_where_no_level_is_known() -> None:
    r = fit()
    strangers = {"Days": [0, 1, 2], "Subject": ["a", "b", "a"]}
    message = r"none of the 2 levels of 'Subject' in the new data \('a', 'b'\) was in the fit, wh"
    predictor = r.to_predictor()
    for call in (
        r.predict, r.get_prediction, r.augment, predictor.predict,
        lambda data: r.simulate(exog=data, conditional=True),
    ):  # fmt: skip
        with pytest.warns(DesignWarning, match=message):
            call(strangers)
    bins = fit("Reaction ~ Days + (1 | Subject:pd.cut(Days, [-1, 4, 9]))")
    silent = [
        lambda: r.predict(strangers, which="population"),
        lambda: r.predict(strangers, new_levels="nan"),
        lambda: r.get_prediction(strangers, new_levels="nan"),
        lambda: predictor.predict(strangers, new_levels="nan"),
        lambda: r.predict({"Days": [0, 1], "Subject": ["a", "a"]}),
        lambda: r.predict({"Days": [0, 1, 1], "Subject": ["308", "a", "b"]}),
        lambda: predictor.predict({"Days": [0, 1, 1], "Subject": ["308", "a", "b"]}),
        lambda: r.predict({"Days": [0, np.nan], "Subject": ["308", "a"]}),
        lambda: r.simulate(exog=strangers),
        lambda: bins.predict({"Days": [1], "Subject": ["a"]}),
        lambda: bins.to_predictor().predict({"Days": 1, "Subject": "a"}),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in silent:
            call()


def test_the_warning_points_at_the_caller() -> None:
    strangers = {"Days": [0, 1], "Subject": ["a", "b"]}
    with pytest.warns(DesignWarning) as caught:
        fit().predict(strangers)
        fit().get_prediction(strangers)
        fit().to_predictor().predict(strangers)
        fit().simulate(exog=strangers, conditional=True)
    assert {w.filename for w in caught} == {__file__}


def test_bins_cut_anew() -> None:
    """pd.cut(x, 2) of other data has other edges: its intervals are not those of the fit."""
    r = fit("Reaction ~ Days + (1 | Subject:pd.cut(Days, 2))")
    one = {"Days": [0.0, 5.0], "Subject": ["308", "308"]}
    for call in (r.predict, r.to_predictor().predict):
        with pytest.warns(DesignWarning, match=r"cut 'Subject:pd.cut\(Days, ?2\)' into other"):
            call(one)
    rows = load().iloc[:20]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_allclose(r.predict(rows), r.fittedvalues[:20])


def test_columns_that_are_no_keys() -> None:
    """Whatever a column holds, an error in words."""
    predictor = fit().to_predictor()
    odd = [
        [[1, 2]] * 2, [{"a": 1}] * 2, [{1}] * 2, [np.ones(2)] * 2, [pd.Series([1])] * 2,
        [1 + 2j] * 2, [len] * 2, [object()] * 2, np.ones((2, 2)),
    ]  # fmt: skip
    for values in odd:
        column: Any = values
        if isinstance(values, list):
            column = np.empty(2, dtype=object)
            column[:] = values
        for call in (fit().predict, fit().get_prediction, predictor.predict):
            with pytest.raises(DesignError):
                call({"Days": [0.0, 1.0], "Subject": column})
    huge = {"Days": [0.0, 1.0], "Subject": [10**400] * 2}
    if Version(pd.__version__) < Version("3"):
        with pytest.raises(DesignError, match="too large for pandas; write them as text"):
            fit().predict(huge)
    else:
        assert_allclose(fit().predict(huge), fit().predict(huge, which="population"))
    new = {"Days": [0.0, 1.0], "Subject": ["308", "309"]}
    for value in (np.ones(2), [1, 2], pd.Series(["a", "b"]), 3, None, pl.Series([1])):
        for name in ("which", "new_levels"):
            with refused(f"{name}="):
                fit().predict(new, **{name: value})
            with refused(f"{name}="):
                predictor.predict(new, **{name: value})
    for terms in (3, np.array(3), [3], object()):
        with refused("Name random terms, such as 'Subject'"):
            fit().predict(new, terms=terms)
    for beta in (["a", "b"], [None, {}], [len, len]):
        with pytest.raises(FitError, match="beta must hold 2 finite numbers"):
            fit().predict(new, newparams={"beta": beta})
    with refused("offset holds lists of different lengths"):
        fit().predict(new, offset=[[1], [1, 2]])
