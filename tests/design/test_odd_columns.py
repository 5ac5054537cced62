"""Every type of column in every place fits or ends in one of the package's own errors.

Two grids: types of a data column by its places in a model, and kinds of objects by the arguments
that want a value for each row.
"""

from __future__ import annotations

import datetime as dt
import re
import warnings
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, DesignWarning, FitError, MixedLMError

N = 40
RNG = np.random.default_rng(0)
K = RNG.integers(0, 8, N)
V = RNG.normal(size=N)
G = np.tile(np.arange(8), 5)
BASE = pd.DataFrame({"y": RNG.normal(size=N) + RNG.normal(size=8)[G], "x": V, "g": G})
X = np.column_stack([np.ones(N), V])
DAYS = pd.to_datetime("2020-01-01") + pd.to_timedelta(K, "D")

pytestmark = pytest.mark.filterwarnings("ignore")


def objects(values: Iterable[Any]) -> pd.Series:
    out = np.empty(N, dtype=object)
    out[:] = list(values)
    return pd.Series(out, dtype=object)


def arrow(values: Iterable[Any], dtype: Any = None) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.array(list(values), type=dtype)))


ints = [int(k) for k in K]
COLUMNS: dict[str, Any] = {
    **{name: pd.Series(K.astype(name)) for name in (
        "int8", "uint64", "float16", "float32", "longdouble", "complex128", "bool", ">f8")},
    **{name: pd.Series(pd.array(ints, dtype=name)) for name in ("Int64", "UInt8", "Float32")},
    "nullable with NA": pd.Series(pd.array([None, *ints[1:]], dtype="Int64")),
    "boolean with NA": pd.Series(pd.array([None, *(K[1:] > 3)], dtype="boolean")),
    "only NA": pd.Series(pd.array([None] * N, dtype="Int64")),
    "only nan": pd.Series(np.full(N, np.nan)),
    "only None": objects([None] * N),
    "text": pd.Series([f"s{k}" for k in K]),
    "text of numbers": objects(map(str, ints)),
    "empty text": objects("" if k < 4 else "a" for k in K),
    "bytes": objects(str(k).encode() for k in K),
    "S": pd.Series(K.astype("S1")),
    "decimal": objects(Decimal(k) / 3 for k in ints),
    "fraction": objects(Fraction(k, 3) for k in ints),
    "numbers and text": objects(k if k % 2 else str(k) for k in ints),
    "booleans and integers": objects(bool(k % 2) if k < 4 else k for k in ints),
    "beyond 1e308": objects(10**400 + k for k in ints),
    "70 bits": objects(2**70 + k for k in ints),
    "near the largest float": pd.Series(V / np.abs(V).max() * 1.7e308),
    "1e200": pd.Series(V * 1e200),
    "1e-200": pd.Series(V * 1e-200),
    "denormal": pd.Series(V * 1e-310),
    "inf": pd.Series(np.where(K == 0, np.inf, K)),
    "constant": pd.Series(np.ones(N)),
    "category": pd.Series(pd.Categorical([f"c{k}" for k in K])),
    "ordered": pd.Series(pd.Categorical(K, ordered=True)),
    "category with NaN": pd.Series(pd.Categorical([None if k == 0 else k for k in K])),
    "category of intervals": pd.Series(pd.cut(V, 4)),
    "intervals": pd.Series(pd.arrays.IntervalArray.from_arrays(K, K + 1)),
    "dates": pd.Series(DAYS),
    "dates with a zone": pd.Series(DAYS.tz_localize("UTC")),
    "periods": pd.Series(DAYS.to_period("D")),
    "durations": pd.Series(pd.to_timedelta(K, "h")),
    "date objects": objects(day.date() for day in DAYS),
    "times of day": objects(dt.time(k) for k in ints),
    "tuples": objects((k, 1) for k in ints),
    "lists": objects([k] for k in ints),
    "dicts": objects({"a": k} for k in ints),
    "sets": objects({k} for k in ints),
    "arrays": objects(np.array([k, 1]) for k in ints),
    "types": objects(int if k % 2 else str for k in ints),
    "things": objects(object() for _ in ints),
    "complex objects": objects(complex(k) for k in ints),
    "sparse": pd.Series(pd.arrays.SparseArray(K)),
    "sparse with nan": pd.Series(pd.arrays.SparseArray(np.where(K > 3, V, np.nan))),
    "arrow int": arrow(ints),
    "arrow half": arrow(map(np.float16, ints), pa.float16()),
    "arrow bool": arrow(k > 3 for k in ints),
    "arrow text": arrow(map(str, ints)),
    "arrow decimal": arrow(map(Decimal, ints), pa.decimal128(10, 2)),
    "arrow binary": arrow(str(k).encode() for k in ints),
    "arrow dictionary": pd.Series(
        pd.arrays.ArrowExtensionArray(pa.array([str(k) for k in K]).dictionary_encode())),
    "arrow lists": arrow([k] for k in ints),
    "arrow structs": arrow({"a": k} for k in ints),
    "arrow null": pd.Series(pd.arrays.ArrowExtensionArray(pa.nulls(N))),
    "arrow time": arrow(map(dt.time, ints)),
}  # fmt: skip
PANDAS_2 = int(pd.__version__.partition(".")[0]) < 3
if PANDAS_2:  # which fails at these by itself
    del COLUMNS["beyond 1e308"], COLUMNS["arrow half"]
needs_pandas_3 = pytest.mark.skipif(PANDAS_2, reason="pandas 2 does not get this far")

THINGS: dict[str, Any] = {
    **{f"polars {name}": pl.Series(values, dtype=dtype) for name, values, dtype in [
        ("int", ints, pl.Int64), ("int128", ints, pl.Int128), ("text", list(map(str, K)), None),
        ("category", list(map(str, K)), pl.Categorical), ("bool", list(K > 3), None),
        ("dates", [dt.date(2020, 1, 1 + k) for k in ints], None),
        ("lists", [[k] for k in ints], None),
        ("structs", [{"a": k} for k in ints], None), ("null", [None] * N, None),
        ("nulls", [None, *ints[1:]], None), ("decimal", list(map(Decimal, ints)), None),
        ("objects", [object() for _ in K], pl.Object)]},
    "polars frame": pl.DataFrame({"a": V}), "lazy": pl.LazyFrame({"a": V}),
    "arrow": pa.array(V), "chunks": pa.chunked_array([V]), "arrow table": pa.table({"a": V}),
    "list": ints, "tuple": tuple(V), "range": range(N), "index": pd.Index(K),
    "MultiIndex": pd.MultiIndex.from_arrays([K, G]), "dates": pd.date_range("2020", periods=N),
    "records": np.rec.fromarrays([K, V], names="a,b"),
    "structured": np.array(list(zip(K, V)), dtype=[("a", int), ("b", float)]),
    "n x 1": V[:, None], "n x 2": np.column_stack([V, V**2]), "1 x n": V[None, :],
    "n x 1 x 1": V[:, None, None], "0-d": np.array(3.0), "matrix": np.asmatrix(V[:, None]),
    "masked": np.ma.masked_array(V, mask=K == 0), "sparse": sparse.csr_array(V[:, None]),
    "frame of one": pd.DataFrame({"q": V}), "frame of two": pd.DataFrame({"q": V, "r": V}),
    "frame of none": pd.DataFrame(index=range(N)),
    "other labels": pd.Series(V, index=range(5, N + 5)),
    "scalar": 3.0, "text": "nocolumn", "bytes": b"abc", "True": True, "nan": np.nan, "NA": pd.NA,
    "generator": (v for v in V), "set": set(V), "dict": dict(enumerate(V)), "function": np.log,
    "module": np, "class": int, "groupby": BASE.groupby("g"), "memoryview": memoryview(V),
    "short": V[:-1], "long": np.append(V, 1.0), "empty": [], "ragged": [[1]] * 20 + [[1, 2]] * 20,
    "nested": [[float(v), 1.0] for v in V], "names": ["x", "y"],
}  # fmt: skip


def with_q(values: Any) -> pd.DataFrame:
    return BASE.assign(q=values.array)


def formula(text: str, **arguments: Any) -> Callable[[Any], Any]:
    return lambda values: MixedLM.from_formula(text, with_q(values), **arguments).fit()


def from_dict(text: str) -> Callable[[Any], Any]:
    return lambda v: MixedLM.from_formula(text, {**BASE.to_dict("list"), "q": v}).fit()


def argument(name: str) -> Callable[[Any], Any]:
    return lambda v: MixedLM.from_formula("y ~ x + (1 | g)", BASE, **{name: v}).fit()


def result() -> Any:
    return MixedLM.from_formula("y ~ x + (1 | g)", BASE).fit()


FORMULAS = [
    *("q ~ x + (1 | g)", "log(q) ~ x + (1 | g)", "y ~ q + (1 | g)", "y ~ C(q) + (1 | g)"),
    *("y ~ I(q * 2) + (1 | g)", "y ~ q:x + (1 | g)", "y ~ bs(q, df=4) + (1 | g)"),
    *("y ~ center(q) + (1 | g)", "y ~ np.exp(q) + (1 | g)", "y ~ x + (q | g)"),
    *("y ~ x + (0 + q || g)", "y ~ x + (1 | q)", "y ~ x + (1 | C(q))", "y ~ x + (1 | g:q)"),
    "y ~ x + offset(q) + (1 | g)",
]
BOTH: dict[str, Callable[[Any], Any]] = {
    **{name: argument(name) for name in ("weights", "offset", "subset")},
    "endog": lambda v: MixedLM(v, X, [RandomTerm(G)]).fit(),
    "exog": lambda v: MixedLM(BASE["y"], v, [RandomTerm(G)]).fit(),
    "groups": lambda v: MixedLM(BASE["y"], X, [RandomTerm(v)]).fit(),
    "two groups": lambda v: MixedLM(BASE["y"], X, [RandomTerm([v, G])]).fit(),
    "random exog": lambda v: MixedLM(BASE["y"], X, [RandomTerm(G, v)]).fit(),
    "array weights": lambda v: MixedLM(BASE["y"], X, [RandomTerm(G)], weights=v).fit(),
    "array offset": lambda v: MixedLM(BASE["y"], X, [RandomTerm(G)], offset=v).fit(),
    "statsmodels groups": lambda v: MixedLM.from_formula("y ~ x", BASE, groups=v).fit(),
    "refit": lambda v: result().refit(v),
    "influence": lambda v: result().influence(groups=v),
    "cluster": lambda v: result().get_robustcov_results("cluster", groups=v),
    "scope": lambda v: MixedLM.from_formula("y ~ q + (1 | g)", BASE, eval_env={"q": v}).fit(),
    "new offset": lambda v: result().predict(BASE, offset=v),
}
COLUMN_PLACES = {
    **{text: formula(text, eval_env={"np": np}) for text in FORMULAS},
    "weights='q'": formula("y ~ x + (1 | g)", weights="q"),
    "vc_formula": formula("y ~ x", groups="g", vc_formula={"a": "0 + C(q)"}),
    "dict": from_dict("y ~ q + (1 | g)"),
    "frame of exog": lambda v: MixedLM(BASE["y"], pd.DataFrame({"q": v}), [RandomTerm(G)]).fit(),
    "fit_many": lambda v: result().model.fit_many(pd.DataFrame({"a": BASE["y"], "q": v})),
    "new x": lambda v: result().predict(BASE.assign(x=v)),
    "new g": lambda v: result().predict(BASE.assign(g=v)),
    **BOTH,
}
THING_PLACES = {
    **{text: from_dict(text) for text in (
        "y ~ q + (1 | g)", "y ~ x + (1 | q)", "q ~ x + (1 | g)", "y ~ x + (q | g)")},
    "data": lambda v: MixedLM.from_formula("y ~ x + (1 | g)", v).fit(),
    "new data": lambda v: result().predict(v),
    "random": lambda v: MixedLM(BASE["y"], X, v).fit(),
    "in random": lambda v: MixedLM(BASE["y"], X, [v]).fit(),
    "fit_many": lambda v: result().model.fit_many(v),
    "columns": lambda v: MixedLM(BASE["y"], X, [RandomTerm(G, V, columns=v)]).fit(),
    **{name: argument(name) for name in ("drop_cols", "missing", "hasconst")},
    **BOTH,
}  # fmt: skip


def failures(place: Callable[[Any], Any], values: dict[str, Any]) -> list[str]:
    """Name the values that end in anything else than a fit or an error in words."""
    out = []
    for name, value in values.items():
        try:
            found = place(value)
        except MixedLMError as error:
            if (
                re.search(r"ufunc '|dtype\(|<class|object at 0x", str(error))
                or len(str(error)) > 700
            ):
                out.append(f"{name}: {error}")
        except Exception as error:
            out.append(f"{name}: {type(error).__name__}: {error}")
        else:
            estimates = np.asarray(getattr(found, "params", 0.0), dtype=float)
            if not np.isfinite(estimates).all() and not len(getattr(found, "failures", ())):
                out.append(f"{name}: estimates {estimates}")
    return out


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(place, marks=needs_pandas_3 if "bs(q" in place else ())
        for place in COLUMN_PLACES
    ],
)
def test_types_of_columns(place: str) -> None:
    assert failures(COLUMN_PLACES[place], COLUMNS) == []


@pytest.mark.parametrize("place", THING_PLACES)
def test_kinds_of_arguments(place: str) -> None:
    assert failures(THING_PLACES[place], THINGS) == []


# --- one reading: the same numbers whatever holds them ------------------------------------------


AS_NUMBERS = {
    **{name: COLUMNS[name] for name in (
        "int8", "uint64", "float16", "longdouble", ">f8", "Int64", "UInt8", "Float32", "sparse",
        "arrow int", "arrow half", "arrow decimal") if name in COLUMNS},
    "list": ints, "polars": THINGS["polars int"], "int128": THINGS["polars int128"],
    "n x 1": K[:, None], "matrix": np.asmatrix(K[:, None]), "frame": pd.DataFrame({"q": K}),
    "polars frame": pl.DataFrame({"q": K}), "arrow": pa.array(K), "index": pd.Index(K),
    "decimal": objects(map(Decimal, ints)), "fraction": objects(map(Fraction, ints)),
}  # fmt: skip


@pytest.mark.parametrize("kind", AS_NUMBERS)
def test_the_same_numbers(kind: str) -> None:
    values = AS_NUMBERS[kind]
    direct = MixedLM.from_formula("y ~ q + (1 | g)", BASE.assign(q=K.astype(float)))
    theta = np.ones(1)
    expected = direct.objective(theta)
    data = {**BASE.to_dict("list"), "q": values}
    assert_allclose(MixedLM.from_formula("y ~ q + (1 | g)", data).objective(theta), expected)
    arrays = MixedLM(BASE["y"], np.column_stack([np.ones(N), K]), [RandomTerm(G)], offset=values)
    named = MixedLM.from_formula("y ~ q + (1 | g)", BASE.assign(q=K), offset=values)
    assert_allclose(arrays.objective(theta), expected, rtol=1e-8)
    assert_allclose(named.objective(theta), expected, rtol=1e-8)
    grouped = MixedLM(BASE["y"], X, [RandomTerm(values)])
    want = MixedLM(BASE["y"], X, [RandomTerm(K)])
    assert_allclose(grouped.objective(theta), want.objective(theta))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: argument("weights")(THINGS["MultiIndex"]), "weights is a MultiIndex; it needs"),
        (lambda: argument("offset")(THINGS["records"]), r"record array; .* fields \('a', 'b'\)"),
        (lambda: argument("weights")(THINGS["sparse"]), r"sparse matrix; .*\.toarray\(\)\.ravel"),
        (lambda: argument("weights")(THINGS["frame of two"]), "weights has 2 columns; it needs"),
        (lambda: argument("weights")(THINGS["lazy"]), "weights is a LazyFrame; it needs"),
        (lambda: argument("subset")(COLUMNS["only NA"]), "subset has only missing values"),
        (lambda: argument("subset")(COLUMNS["bytes"]), "subset has the label b'.', not in"),
        (lambda: formula("y ~ x + (1 | q)")(COLUMNS["arrow lists"]), "'q' holds list<.*one"),
        (lambda: formula("y ~ x + (1 | q)")(COLUMNS["lists"]), "'q' has values that cannot"),
        pytest.param(
            lambda: formula("y ~ q + (1 | g)")(COLUMNS["beyond 1e308"]),
            "'q' in .* not finite: inf", marks=needs_pandas_3),
        (lambda: formula("y ~ q + (1 | g)")(COLUMNS["near the largest float"]), "too large"),
        (lambda: formula("y ~ q + (1 | g)")(COLUMNS["denormal"]), "too small to compute with"),
        (lambda: formula("log(q) ~ x + (1 | g)")(COLUMNS["text"]), "'q' has the type (str|object)"),
        (lambda: formula("y ~ I(q * 2) + (1 | g)")(COLUMNS["complex128"]), "is complex"),
        (lambda: formula("q ~ x + (1 | g)")(COLUMNS["things"]), r"it holds a object\)"),
        (lambda: from_dict("y ~ q + (1 | g)")(THINGS["n x 2"]), r"'q' has 2 dimensions \(40 x 2\)"),
        (lambda: result().refit(THINGS["0-d"]), r"response is a single value \(3.0\)"),
        (lambda: result().refit(THINGS["records"]), "the new response is a record array"),
        (lambda: result().refit(COLUMNS["nullable with NA"]), "missing at row 0; a refit uses"),
        (lambda: result().refit(COLUMNS["sparse with nan"]), r"is missing at row .* and \d+ more"),
        (lambda: result().model.fit_many(COLUMNS["only NA"].to_frame("a")), "1 of 1 .* missing or"),
        (lambda: result().model.fit_many(THINGS["0-d"]), r"Y has shape \(\); it needs a row for"),
        (lambda: result().model.fit_many(THINGS["records"]), r"Y has shape \(40,\)"),
        (lambda: result().model.fit_many(1e200 * X), "2 of 2 responses have values whose squares"),
    ],
)  # fmt: skip
def test_words(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(MixedLMError, match=message):
        call()


# --- rows: what has labels goes by them ----------------------------------------------------------


@pytest.fixture(scope="module")
def some() -> tuple[pd.DataFrame, Any]:
    """A fit to some rows of data with labels, one of them missing."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame(
        {"y": rng.normal(size=90), "x": rng.normal(size=90), "g": np.tile(np.arange(9), 10),
         "site": np.repeat(list("abc"), 30)},
        index=[f"row{i}" for i in range(90)],
    )  # fmt: skip
    data.loc["row50", "x"] = np.nan
    model = MixedLM.from_formula("y ~ x + (1 | g)", data, subset=data["x"] != data["x"].max())
    return data, model.fit(ddf="normal")


def shuffled(values: Any) -> Any:
    return values.sample(frac=1.0, random_state=1)


ROUTES: dict[str, Callable[[Any, Any], Any]] = {
    "the data's column": lambda values, rows: values,
    "the rows of the fit": lambda values, rows: values.loc[rows],
    "in another order": lambda values, rows: shuffled(values),
    "the fit's in another order": lambda values, rows: shuffled(values.loc[rows]),
    "array of the fit": lambda values, rows: values.loc[rows].to_numpy(),
    "array of the data": lambda values, rows: values.to_numpy(),
    "list of the data": lambda values, rows: values.tolist(),
    "polars of the data": lambda values, rows: pl.Series(values.tolist()),
}


@pytest.mark.parametrize("route", ROUTES)
def test_rows_with_subset_and_missing_values(route: str, some: Any) -> None:
    data, fitted = some
    change, rows = ROUTES[route], fitted.model.design.index
    y = data["y"] + 3.0 * data["x"].fillna(0.0)
    assert len(rows) == 88
    expected = fitted.refit(y.loc[rows].to_numpy()).params
    assert_allclose(fitted.refit(change(y, rows)).params, expected)
    deleted = fitted.influence(groups=data["site"].loc[rows].to_numpy())
    found = fitted.influence(groups=change(data["site"], rows))
    pd.testing.assert_frame_equal(found.summary_frame(), deleted.summary_frame(), check_names=False)
    if "list" not in route and "polars" not in route:
        Y = pd.DataFrame({"a": data["y"], "b": y})
        many = fitted.model.fit_many(change(Y, rows))
        assert_allclose(many.params.iloc[1], expected, rtol=1e-6)


def test_clusters_go_by_labels(some: Any) -> None:
    data, fitted = some
    cluster = data["g"] % 3
    rows = fitted.model.design.index
    expected = fitted.get_robustcov_results("cluster", groups=cluster.loc[rows].to_numpy()).bse
    for values in (cluster, shuffled(cluster), shuffled(cluster.loc[rows]), cluster.to_numpy()):
        found = fitted.get_robustcov_results("cluster", groups=values).bse
        assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y.iloc[:60], "has 60 rows; the fit used 88"),
        (
            lambda y: y.to_numpy()[:60],
            "has 60 rows; the fit used 88 rows. Pass 88 .* or 90, one for",
        ),
        (lambda y: y.rename(index={"row7": "row_7"}), "labels of the model's data, such as 'row7'"),
        (lambda y: y.reset_index(drop=True), "labels of the model's data, such as 'row0'"),
        (lambda y: pd.concat([y, y]), "or repeats some"),
    ],
)
def test_rows_that_do_not_match(change: Callable[[Any], Any], message: str, some: Any) -> None:
    data, fitted = some
    for call in (fitted.refit, lambda v: fitted.influence(groups=v)):
        with pytest.raises(DesignError, match=message):
            call(change(data["y"]))


def test_repeated_labels_go_by_position() -> None:
    data = BASE.set_index(np.zeros(N, dtype=int))
    some = np.arange(N) % 5 != 2
    fitted = MixedLM.from_formula("y ~ x + (1 | g)", data, subset=some).fit()
    expected = 2 * fitted.params
    for values in (data["y"], data["y"][some], data["y"].to_numpy()[some]):
        assert_allclose(fitted.refit(2 * values).params, expected, rtol=1e-6)


# --- columns that cancel, and R's ns -------------------------------------------------------------


@pytest.mark.parametrize(
    "left",
    ["0 - x", "x - x - 1", "0 + x - x", "-1 + x:x - x", "0 + C(f) - C(f)", "x * f - x * f - 1"],
)
@pytest.mark.parametrize("bar", ["|", "||"])
def test_random_columns_that_cancel(left: str, bar: str) -> None:
    text = f"y ~ x + ({left} {bar} g)"
    with pytest.raises(MixedLMError) as caught:
        MixedLM.from_formula(text, BASE.assign(f=list("ab") * 20))
    assert "has no columns" in str(caught.value)
    assert f"\n    {text}\n    {' ' * text.index(left)}{'^' * len(left)}\n" in str(caught.value)


def test_the_advice_for_ns() -> None:
    with pytest.raises(DesignError, match=r"cr\(x, df=3, constraints='center'\) for ns\(x, 3\)"):
        MixedLM.from_formula("y ~ ns(x, 3) + (1 | g)", BASE)
    t = 0.013 * np.arange(40) + np.tile([0.31, -1.2, 0.7, 2.4, -0.6, 1.1, 0.05, -2.2, 1.7, -0.9], 4)
    own = pd.DataFrame({"y": np.sin(t) + 0.3 * np.cos(7.0 * np.arange(40)), "x": t, "g": G})
    own["y"] += 0.2 * (own["g"] % 3)
    sleepstudy = datasets.sleepstudy.load_pandas().data
    sleepstudy.columns = ["y", "x", "g"]
    # lme4 1.1, logLik(lmer(y ~ ns(x, 3) + (1 | g), REML = FALSE))
    for data, llf in ((own, 7.9663826533926), (sleepstudy, -896.5148461243)):
        with warnings.catch_warnings():
            warnings.simplefilter("error", DesignWarning)  # of a rank-deficient fixed part
            model = MixedLM.from_formula("y ~ cr(x, df=3, constraints='center') + (1 | g)", data)
        assert_allclose(model.fit(reml=False).llf, llf, rtol=1e-10)


# --- start_params and theta ----------------------------------------------------------------------


def test_theta_is_read_from_columns_of_any_library() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | g)", BASE)
    expected = model.objective([0.5])
    wide = MixedLM.from_formula("y ~ x + (x || g)", BASE)
    for values in (
        pl.Series([0.5]), pa.array([0.5]), pd.Index([0.5]), pd.Series([0.5], dtype="Float64"),
        [Decimal("0.5")], np.array([0.5], "f2"), pl.Series(["0.5"]).cast(pl.Decimal(3, 1)), 0.5,
    ):  # fmt: skip
        assert model.objective(values) == expected
        assert_allclose(model.fit(start_params=values).objective, model.fit().objective, rtol=1e-8)
    whole = pl.Series([1, 2], dtype=pl.Int128)
    assert wide.objective(whole) == wide.objective([1.0, 2.0])


@pytest.mark.parametrize(
    "values",
    [
        [10**400], [[1.0, 2.0], [3.0], [4.0]], [1j], np.array([1.0 + 0j]), np.array([1], "M8[s]"),
        pd.Series(pd.to_timedelta([1], unit="s")), np.ma.array([1.0], mask=[True]), [pd.NA],
        pd.Series([pd.NA], dtype="Int64"), np.array([(1.0,)], dtype=[("a", float)]), {"g": 1.0},
        "a", b"a", int, [None], pd.interval_range(0, 1), (x for x in (1.0,)),
    ],
    ids=lambda values: type(values).__name__,
)  # fmt: skip
def test_theta_that_is_no_number_is_refused_in_words(values: Any) -> None:
    model = MixedLM.from_formula("y ~ x + (1 | g)", BASE)
    for use in (model.objective, model.score, lambda theta: model.fit(start_params=theta)):
        with pytest.raises(FitError, match=r"theta (must hold numbers|has values that are not)"):
            use(values)


def test_theta_of_polars_that_is_no_number() -> None:
    model = MixedLM.from_formula("y ~ x + (1 | g)", BASE)
    for values in (pl.Series([1]).cast(pl.Date), pl.Series([b"a"]), pl.Series([{"a": 1}])):
        with pytest.raises(FitError, match="theta must hold numbers, not Series"):
            model.fit(start_params=values)


ODD_ARGUMENTS: list[Any] = [
    3, np.nan, pd.NA, object(), b"F", [], {}, ("a",), np.array(["a"]), pd.Series(["a"]),
    pd.DataFrame({"a": [1]}),
]  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda r, a: r.profile(which=a),
        lambda r, a: r.conf_int(cols=a),
        lambda r, a: r.conf_int(method=a),
        lambda r, a: r.conf_int(a),
        lambda r, a: r.t_test(a),
        lambda r, a: r.f_test(a),
        lambda r, a: r.tidy(effects=a),
        lambda r, a: r.all_fit(a),
        lambda r, a: r.simulate(1, params=a),
        lambda r, a: r.emtrends(None, a),
        lambda r, a: r.emmeans("x", at={"x": [1, 2, 3]}).contrasts("reference", reference=a),
        lambda r, a: r.model.fit(cov_type="cluster", cov_kwds=a),
        lambda r, a: r.summary(xname=a),
        lambda r, a: r.step(keep=a),
        lambda r, a: r.anova(type=a),
    ],
    ids=lambda call: "_".join(call.__code__.co_names),
)
def test_odd_arguments_end_in_words(call: Any) -> None:
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(8), 5)
    data = {"g": g, "x": rng.normal(size=40)}
    data["y"] = data["x"] + rng.normal(size=8)[g] + rng.normal(size=40)
    result = MixedLM.from_formula("y ~ x + (1 | g)", data).fit()
    for odd in ODD_ARGUMENTS:
        try:
            call(result, odd)
        except MixedLMError as error:
            assert len(str(error)) > 20
        except TypeError as error:  # of this call, as Python itself says it
            assert "keyword argument" in str(error), (odd, error)


def test_extension_arrays_with_missing_values_as_exog_re() -> None:
    rng = np.random.default_rng(0)
    z = pd.array([None, *rng.integers(0, 5, 39)], dtype="Int64")
    y, X, groups = rng.normal(size=40), np.ones((40, 1)), np.repeat(np.arange(8), 5)
    with pytest.raises(DesignError, match=r"1 of 40 rows have missing values"):
        MixedLM(y, X, groups=groups, exog_re=z)
    assert MixedLM(y, X, groups=groups, exog_re=z, missing="drop").nobs == 39


@pytest.mark.parametrize("formula", ["y ~ k + (1 | g)", "y ~ x + (k | g)", "y ~ x * k + (1 | g)"])
def test_levels_that_tables_would_call_the_same(formula: str) -> None:
    """A number and its text, as of two files of which one was read as text."""
    mixed = objects([k if i < N // 2 else str(k) for i, k in enumerate(ints)])
    for column in (mixed, mixed.astype("category")):
        with pytest.raises(DesignError, match=r"the level \S+ and the level \S+, whose coeff"):
            MixedLM.from_formula(formula, BASE.assign(k=column))
    model = MixedLM.from_formula("y ~ x + (1 | k)", BASE.assign(k=mixed))
    assert len(model.random_terms[0].levels) > 8
