"""Dates and durations as covariates are numbers of days, at the fit and at new rows."""

from __future__ import annotations

import datetime as dt
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose

from mixedlm_ext import MixedLM
from mixedlm_ext.design.times import in_days, time_kind
from mixedlm_ext.errors import DesignError, DesignWarning, FormulaError, MixedLMError
from mixedlm_ext.prediction.predictor import Predictor

N = 80
RNG = np.random.default_rng(1)
DAY = RNG.integers(0, 300, N)
BASE = pd.DataFrame({"g": np.tile(np.arange(8), 10), "f": RNG.choice(list("ab"), N)})
BASE["y"] = 0.01 * DAY + RNG.normal(size=8)[BASE["g"]] + RNG.normal(size=N)
DATES = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(DAY, "D"))
SINCE_1970 = BASE.assign(d=DAY + 19723.0)  # R: as.numeric(as.Date("2024-01-01")) is 19723
ZONED = DATES.dt.tz_localize("UTC")


def listed(values: Any) -> pd.Series:
    return pd.Series(list(values), dtype=object)


KINDS: dict[str, Any] = {
    "datetime64[ns]": DATES.astype("M8[ns]"),
    "datetime64[s]": DATES.astype("M8[s]"),
    "numpy days": DATES.to_numpy().astype("M8[D]"),
    "UTC": ZONED,
    "Berlin": ZONED.dt.tz_convert("Europe/Berlin"),
    "period": DATES.dt.to_period("D"),
    "periods as objects": listed(DATES.dt.to_period("D")),
    "datetime as objects": listed(stamp.to_pydatetime() for stamp in DATES),
    "zoned objects": listed(stamp.to_pydatetime() for stamp in ZONED),
    "date as objects": listed(stamp.date() for stamp in DATES),
    "arrow": DATES.astype("timestamp[ns][pyarrow]"),
    "arrow date32": listed(stamp.date() for stamp in DATES).astype("date32[pyarrow]"),
    "arrow UTC": ZONED.astype("timestamp[us, UTC][pyarrow]"),
}


def quietly(formula: str, data: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DesignWarning)
        return MixedLM.from_formula(formula, data).fit()


@pytest.mark.parametrize("kind", KINDS)
def test_a_date_has_one_slope_a_day(kind: str, tmp_path: Any) -> None:
    data = BASE.assign(d=KINDS[kind])
    with pytest.warns(DesignWarning, match=r"'d' is a date: .* in days since 1970-01-01, with one"):
        model = MixedLM.from_formula("y ~ d + (1 | g)", data)
    result = model.fit()
    plain = MixedLM.from_formula("y ~ d + (1 | g)", SINCE_1970).fit()
    assert result.objective == plain.objective
    assert_allclose(result.params, plain.params)
    expected = plain.predict(SINCE_1970.head(5))
    assert_allclose(result.predict(data.head(5)), expected)
    assert_allclose(pickle.loads(pickle.dumps(result)).predict(data.head(5)), expected)
    result.to_predictor().save(tmp_path / "p.json")
    assert_allclose(Predictor.load(tmp_path / "p.json").predict(data.head(5)), expected)


@pytest.mark.parametrize("kind", ["datetime64[ns]", "UTC", "period", "date as objects"])
def test_an_interaction_and_its_marginal_means(kind: str) -> None:
    result = quietly("y ~ d * f + (1 | g)", BASE.assign(d=KINDS[kind]))
    plain = MixedLM.from_formula("y ~ d * f + (1 | g)", SINCE_1970).fit()
    assert list(result.params.index) == ["Intercept", "f[T.b]", "d", "d:f[T.b]"]
    means = [one.emmeans("f").summary_frame()["mean"] for one in (result, plain)]
    assert_allclose(*means)


def test_durations_are_days() -> None:
    length = pd.to_timedelta(36 * DAY, "h")
    plain = MixedLM.from_formula("y ~ d + (1 | g)", BASE.assign(d=1.5 * DAY)).fit()
    for values in (length, listed(v.to_pytimedelta() for v in length), length.to_numpy()):
        data = BASE.assign(d=values)
        with pytest.warns(DesignWarning, match="'d' is a duration: .* in days, with one slope"):
            result = MixedLM.from_formula("y ~ d + (1 | g)", data).fit()
        assert_allclose(result.params, plain.params)
        assert_allclose(result.predict(data.tail(3)), plain.fittedvalues.tail(3))


def test_polars_and_a_random_slope() -> None:
    data = BASE.assign(d=DATES)
    wide = "y ~ d + (0 + d | g)"
    results = [quietly(wide, one) for one in (pl.from_pandas(data), SINCE_1970)]
    assert results[0].objective == results[1].objective


def test_a_factor_a_group_and_an_expression_stay_what_they_are() -> None:
    months = BASE.assign(d=DATES.dt.to_period("M").dt.to_timestamp())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(MixedLM.from_formula("y ~ C(d) + (1 | g)", months).design.x_names) == 10
        assert len(MixedLM.from_formula("y ~ f + (1 | d)", months).design.terms[0].levels) == 10
        model = MixedLM.from_formula("y ~ I((d - d.min()).dt.days) + (1 | g)", months)
    assert model.design.x_names[1] == "I((d - d.min()).dt.days)"


@pytest.mark.parametrize(
    ("formula", "kind", "message"),
    [
        ("y ~ center(d) + (1 | g)", FormulaError, "column 'd' is a date, no number"),
        ("y ~ bs(d, df=4) + (1 | g)", FormulaError, "(data['d'] - data['d'].min()).dt.days."),
        ("y ~ d + d.dt.year + (1 | g)", DesignError, "is a date here, and stands within an expr"),
        ("d ~ f + (1 | g)", DesignError, "response 'd' is not numeric (it holds Timestamp("),
        ("y ~ f + offset(d) + (1 | g)", DesignError, "offset(d) is not numeric"),
        ("y ~ t + (1 | g)", DesignError, "column 't' in the fixed part is a time of day. Make"),
    ],
)
def test_refusals(formula: str, kind: type[MixedLMError], message: str) -> None:
    clock = listed(dt.time(hour % 24) for hour in DAY)
    with pytest.raises(kind) as caught:
        MixedLM.from_formula(formula, BASE.assign(d=DATES, t=clock))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.astype(str), r"is no date in the new data .* pd\.to_datetime"),
        (lambda d: DAY, r"is no date in the new data \(it holds"),
        (lambda d: d - d.min(), "is no date in the new data"),
        (lambda d: d.dt.tz_localize("UTC"), "has a time zone in the new data; it had none"),
    ],
)
def test_new_rows_of_another_type(change: Callable[[Any], Any], message: str) -> None:
    result = quietly("y ~ d + (1 | g)", BASE.assign(d=DATES))
    with pytest.raises(DesignError, match=message):
        result.predict(BASE.assign(d=change(DATES)))
    some = DATES.where(DATES.index > 0)
    assert np.isnan(result.predict(BASE.assign(d=some))).tolist() == [True] + [False] * 79
    zoned = quietly("y ~ d + (1 | g)", BASE.assign(d=ZONED))
    with pytest.raises(DesignError, match="has no time zone in the new data; it had one"):
        zoned.predict(BASE.assign(d=DATES))


def test_days_of_single_columns() -> None:
    assert in_days(pd.Series(pd.to_datetime(["1969-12-31 06:00"])), "date").tolist() == [-0.75]
    berlin = pd.Series(pd.to_datetime(["1970-01-01"])).dt.tz_localize("Europe/Berlin")
    assert_allclose(in_days(berlin, "date"), [-1 / 24])
    assert in_days(pd.Series(pd.PeriodIndex(["1970-02"], freq="M")), "date").tolist() == [31.0]
    assert in_days(pd.Series(["0001-01-01"]).astype("M8[s]"), "date").tolist() == [-719162.0]
    for other in (["2024-01-01"], [1], [True], pd.Categorical(DATES)):
        assert time_kind(pd.Series(other)) is None
    mixed = listed([dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)])
    with pytest.raises(DesignError, match="dates that cannot be compared"):
        in_days(mixed, "date")
