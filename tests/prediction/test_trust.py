"""A predictor's file is data: hostile ones are refused before anything in them runs."""

from __future__ import annotations

import copy
import datetime
import decimal
import fractions
import json
import re
import uuid
import zoneinfo
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from simulation import fit as quiet_fit
from simulation import quietly

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import DesignError
from mixedlm_ext.prediction.portable import decode, encode, encode_key
from mixedlm_ext.prediction.predictor import Predictor

FORMULA = "Reaction ~ np.log(Days + 1) + center(Days) + (1 | Subject)"


@lru_cache
def load() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


@lru_cache
def record() -> dict[str, Any]:
    """The record of a harmless file; copies of it are made hostile."""
    return quiet_fit(FORMULA, load()).to_predictor()._record


def refused(*messages: str) -> Any:
    return pytest.raises(DesignError, match=".*".join(map(re.escape, messages)))


def loaded(content: Any, folder: Path, **arguments: Any) -> Predictor:
    path = folder / "p.json"
    path.write_text(json.dumps(content))
    return Predictor.load(path, **arguments)


def hostile(code: str, scope: dict[str, Any] | None = None) -> dict[str, Any]:
    """The harmless record with another expression."""
    out = copy.deepcopy(record())
    out["expressions"]["np.log(Days + 1)"]["code"] = code
    out["scope"].update(scope or {})
    return out


CENTER = ["patsy.state", "Center"]
MARKED: list[str] = []


def mark(*_: Any) -> float:
    """What a hostile file would like to call."""
    MARKED.append("called")
    return 1.0


def test_a_harmless_file_loads(tmp_path: Path) -> None:
    predictor = loaded(record(), tmp_path)
    assert_allclose(predictor.predict(load()), quiet_fit(FORMULA, load()).fittedvalues)


# code that no file may have, whatever is trusted
NEVER = [
    "().__class__.__base__.__subclasses__()",
    "Days.__class__.__init__.__globals__['os'].system('true')",
    "np.log.__class__",
    "np.__loader__.load_module('os')",
    "np.log.__self__",
    "center.__globals__['__builtins__']['eval']('1')",
    "C.__globals__",
    "Q.__code__",
    "Days._mgr",
    "__import__('os').system('true')",
    "__builtins__['eval']('1')",
    "__builtins__.eval('1')",
    "__loader__",
    "(lambda: 1)()",
    "[x for x in Days]",
    "{x for x in Days}",
    "sum(x for x in Days)",
    "f'{Days.__class__}'",
    "f'{Days}'",
    "(y := Days)",
    "np.log(*[Days])",
    "np.log(**{'x': Days})",
    "Q('np').load('x.npy')",
    "Q('__builtins__')['eval']('1')",
    "Q('_patsy_stobj0__center__')",
    "Q(name='np')",
    "Q('Da' + 'ys')",
    "Q(Days)",
    "C(Days)(Days)",
    "[np.load][0]('x.npy')",
    "(np.load if 1 else np.log)('x.npy')",
    "np.log(Days)(Days)",
    "Days('x')",
    "_patsy_stobj0__center__",
    "'a' * 10**9",
    "10**9 * 'a'",
    "[0] * 1000000000",
    "(0,) * 1000000000",
    "'%1000000000d' % 5",
    "9 ** 9 ** 9",
    "2 ** (10 ** 9)",
    "(2 ** 60) ** (2 ** 60)",
    "1 << 1000000000",
    "big ** big",
    "-9 ** 999999999",
    "pd.cut(Days, 10**9)",
    "bs(Days, df=1000000000)",
    "Days.str.zfill(10**9)",
    "nowhere(Days)",
    "nowhere",
    "nowhere.log(Days)",
    "await Days",
    "1" * 30_000,
    "(" * 5000 + "Days" + ")" * 5000,
    "-" * 15_000 + "Days",
    "Days.str" * 2000,
    "Days; Days",
    "import os",
    "",
]

# code that wants names, which the error lists
WANTED = {
    "pd.read_pickle('x.pkl')": ["pandas.read_pickle"],
    "pd.read_csv('http://127.0.0.1/x')": ["pandas.read_csv"],
    "pd.eval('@pd.io')": ["pandas.eval"],
    "pd.io.common.os.system('true')": ["pandas.io.common.os.system"],
    "pd.compat.os.system('true')": ["pandas.compat.os.system"],
    "pd.Series(Days).to_pickle('x')": [".to_pickle"],
    "pd.DataFrame({'a': Days}).eval('a')": ["pandas.DataFrame", ".eval"],
    "pd.DataFrame({'a': Days}).query('a > 0')": [".query", "pandas.DataFrame"],
    "Days.to_csv('x.csv')": [".to_csv"],
    "Days.apply('to_pickle', path='x')": [".apply"],
    "Days.agg('to_csv')": [".agg"],
    "Days.pipe(np.log)": [".pipe"],
    "Days.transform('exp')": [".transform"],
    "Days.values.tofile('x')": [".tofile"],
    "Days.values.dump('x')": [".dump"],
    "np.log(Days).tofile('x')": [".tofile"],
    "'{0}'.format(Days)": [".format"],
    "np.load('x.npy', allow_pickle=True)": ["numpy.load"],
    "np.save('x.npy', Days)": ["numpy.save"],
    "np.fromfile('x')": ["numpy.fromfile"],
    "np.memmap('x')": ["numpy.memmap"],
    "np.genfromtxt('x')": ["numpy.genfromtxt"],
    "np.lib.npyio.DataSource('.').open('x')": ["numpy.lib.npyio.DataSource", ".open"],
    "np.ctypeslib.load_library('c', '.')": ["numpy.ctypeslib.load_library"],
    "np.f2py.os.system('true')": ["numpy.f2py.os.system"],
    "np.testing.os.system('true')": ["numpy.testing.os.system"],
    "np.frompyfunc(eval, 1, 1)(Days)": None,
    "np.vectorize(eval)": ["numpy.vectorize", "builtins.eval"],
    "np.apply_along_axis(eval, 0, Days)": ["numpy.apply_along_axis", "builtins.eval"],
    "np.zeros(10**11)": ["numpy.zeros"],
    "np.linalg.norm(Days)": ["numpy.linalg.norm"],
    "np.add.at(Days, 0, 1)": ["numpy.add.at"],
    "np.log.at(Days, 0)": ["numpy.log.at"],
    "np.log.reduce": ["numpy.log.reduce"],
    "eval('1')": ["builtins.eval"],
    "exec('1')": ["builtins.exec"],
    "open('x')": ["builtins.open"],
    "getattr(Days, 'to_csv')": ["builtins.getattr"],
    "globals()": ["builtins.globals"],
    "Days.map(open)": ["builtins.open"],
    "Days.map(np.load)": ["numpy.load"],
    "abs(np)": ["numpy"],
    "os.system('true')": ["os.system"],
    "system('true')": ["os.system"],
    "system.anything": ["os.system", "os.system.anything"],
    "mark(Days)": ["test_trust.mark"],
    "thing.run(Days)": ["test_trust.Thing", "test_trust.Thing.run"],
}
SCOPE = {
    "pd": {"module": "pandas"},
    "np": {"module": "numpy"},
    "os": {"module": "os"},
    "system": {"import": ["os", "system"]},
    "mark": {"import": ["test_trust", "mark"]},
    "thing": {"object": ["test_trust", "Thing"], "state": {}},
    "big": 1_000_000,
}


@pytest.mark.parametrize("code", NEVER, ids=lambda code: code[:40])
def test_what_no_file_may_have(code: str, tmp_path: Path) -> None:
    for make in (lambda r: loaded(r, tmp_path), Predictor):
        with pytest.raises(DesignError) as error:
            make(hostile(code, SCOPE))
        assert "trusted=" not in str(error.value)  # nobody is invited to


@pytest.mark.parametrize(("code", "names"), WANTED.items())
def test_what_a_file_wants_is_listed(code: str, names: list[str] | None, tmp_path: Path) -> None:
    with pytest.raises(DesignError) as error:
        loaded(hostile(code, SCOPE), tmp_path)
    for name in names or ():
        assert repr(name) in str(error.value)
    assert "Nothing was evaluated" in str(error.value)
    assert not list(tmp_path.glob("x*"))
    for some in ([], (names or [])[:-1]):
        with pytest.raises(DesignError):
            loaded(hostile(code, SCOPE), tmp_path, trusted=some)


def test_trusted_names_are_taken(tmp_path: Path) -> None:
    code = "mark(Days) + np.linalg.norm(Days) + Days.interpolate() + sorted([1, 2])[0]"
    names = ["test_trust.mark", "numpy.linalg.norm", ".interpolate", "builtins.sorted"]
    with refused("'test_trust.mark', 'numpy.linalg.norm', '.interpolate', 'builtins.sorted'"):
        loaded(hostile(code, SCOPE), tmp_path)
    assert not MARKED
    predictor = loaded(hostile(code, SCOPE), tmp_path, trusted=names)
    assert not MARKED
    assert np.isfinite(predictor.predict(load())).all()
    assert MARKED
    MARKED.clear()


def test_modules_are_not_imported(tmp_path: Path) -> None:
    """The import itself may run code: it waits until all names are trusted."""
    (tmp_path / "evil_module.py").write_text("raise SystemExit('imported')")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        scope = {"evil": {"module": "evil_module"}, "f": {"import": ["evil_module", "f"]}}
        for code in ("evil.f(Days)", "f(Days)", "evil"):
            with pytest.raises(DesignError):
                loaded(hostile(code, {**SCOPE, **scope}), tmp_path)
        unused = loaded(hostile("np.log(Days + 1)", {**SCOPE, **scope}), tmp_path)
        assert np.isfinite(unused.predict(load())).all()
        hidden = [
            {"object": ["evil_module", "K"], "state": {}},
            {"list": [1, {"import": ["evil_module", "f"]}]},
            {"dict": [["a", {"module": "evil_module"}]]},
            {"object": CENTER, "state": {"x": {"module": "evil_module"}}},
        ]
        for value in hidden:
            with pytest.raises(DesignError):
                loaded(hostile("Days * one", {"one": value}), tmp_path)
            with pytest.raises(DesignError):
                decode(value)
            other = copy.deepcopy(record_with_level(value))
            with pytest.raises(DesignError):
                loaded(other, tmp_path)


def record_with_level(value: Any) -> dict[str, Any]:
    out = copy.deepcopy(record())
    out["terms"][0]["levels"][0][0] = value
    return out


@pytest.mark.parametrize(
    "memory",
    [
        {"object": ["os", "system"], "state": {}},
        {"object": ["builtins", "eval"], "state": {}},
        {"object": ["patsy.state", "Center"], "state": {"transform": {"import": ["os", "system"]}}},
        {
            "object": ["patsy.state", "Center"],
            "state": {"transform": {"import": ["numpy", "load"]}},
        },
        {"import": ["os", "system"]},
        {"module": "os"},
    ],
)
def test_memories_of_transforms(memory: Any, tmp_path: Path) -> None:
    out = copy.deepcopy(record())
    out["expressions"]["center(Days)"]["transforms"] = {"_patsy_stobj0__center__": memory}
    with refused("the predictor wants what it may not use by itself"):
        loaded(out, tmp_path)


def test_names_of_memories_do_not_rewrite_code(tmp_path: Path) -> None:
    out = copy.deepcopy(record())
    memory = next(iter(out["expressions"]["center(Days)"]["transforms"].values()))
    for name in ("Days", "np", "__builtins__", "_patsy_stobj0__center__.x", ""):
        out["expressions"]["np.log(Days + 1)"]["transforms"] = {name: memory}
        with refused("for the memory of a stateful transform"):
            loaded(out, tmp_path)
    out = hostile("_patsy_stobj0__center__.memorize_finish()")
    out["expressions"]["np.log(Days + 1)"]["transforms"] = {"_patsy_stobj0__center__": memory}
    with refused("'memorize_finish' of a stateful transform"):
        loaded(out, tmp_path)


def test_the_evaluated_code_sees_no_builtins(tmp_path: Path) -> None:
    assert loaded(record(), tmp_path)._globals["__builtins__"] == {}


def broken() -> list[Any]:
    """Files that nobody wrote by save."""
    out = []
    for name in record():
        if name != "mixedlm_ext predictor":
            out.append({k: v for k, v in record().items() if k != name})
            out += [{**record(), name: value} for value in (3, "x", [3], {"x": 3})]
    for value in (
        {"array": [1, 2], "dtype": "O", "shape": [2]},
        {"array": [1, 2], "dtype": "V1000000000", "shape": [2]},
        {"array": [1, 2], "dtype": "<f8", "shape": [1000000000000]},
        {"date": ["Timestamp", "now", "dateutil/etc/passwd"]},
        {"date": ["Timestamp", "2020-01-01", "/etc/passwd"]},
        {"date": ["Timestamp", "2020-01-01", "../../etc/passwd"]},
        {"period": [1, "nonsense"]},
        {"nonsense": 1},
        {"list": [1]},
    ):
        out.append(record_with_level(value))
    return out


@pytest.mark.parametrize("content", broken(), ids=lambda c: "")
def test_damaged_files(content: Any, tmp_path: Path) -> None:
    try:
        predictor = loaded(content, tmp_path)
    except DesignError:
        return
    # what still loads says so when it is used, or was not needed for this model
    try:
        predictor.predict(load().head())
    except DesignError:
        return
    unused = {"formula", "response", "factors", "offset_name", "array_offset", "scope"}
    assert any(content.get(name) != record()[name] for name in unused)


def test_deep_json(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000 + "]" * 100_000)
    with refused("holds no predictor"):
        Predictor.load(tmp_path / "deep.json")


@pytest.mark.parametrize("formula", [
    "Reaction ~ np.where(Days > 3, Days, 0) + I((Days - 4.5) ** 2) + (1 | Subject)",
    "Reaction ~ C(Days > 3) * Days + (1 | Subject.str.upper())",
    "Reaction ~ te(cr(Days, df=3), cc(z, df=3), constraints='center') + (1 | Subject)",
    "Reaction ~ pd.cut(Days, [-1, 4, 9]) + (1 | Subject:pd.cut(Days, [-1, 4, 9]))",
    "Reaction ~ Days.clip(upper=5) + Days.map(codes) + I(np.pi * z) + (1 | Subject)",
    "Reaction ~ np.exp(-Days / 10) + I(max(1, 2) * z) + (1 | Subject)",
    "Reaction ~ (Days > 2) + (z + Days % 3) + (1 | Subject)",
    "Reaction ~ standardize(Days) + C(Subject.str[:2], Sum) + (1 | Subject)",
    "Reaction ~ C(Days, contrast) + (1 | Subject)",
    "Reaction ~ I(math.pi * Days) + (0 + np.minimum(Days, knot) | Subject)",
])  # fmt: skip
def test_everyday_formulas_need_no_trust(formula: str, tmp_path: Path) -> None:
    import math

    from patsy import Treatment

    codes, knot, contrast = {i: (i * 7) % 10 for i in range(10)}, 4, Treatment(3)
    assert math.pi > knot - 1 and codes and contrast
    data = load().assign(z=np.random.default_rng(1).random(180))
    r = quietly(MixedLM.from_formula(formula, data, eval_env={**globals(), **locals()}))
    r.to_predictor().save(tmp_path / "p.json")
    assert_allclose(Predictor.load(tmp_path / "p.json").predict(data), r.fittedvalues, rtol=1e-9)


def test_save_refuses_what_load_never_takes(tmp_path: Path) -> None:
    r = quiet_fit("Reaction ~ Days + I(Days ** int(f'{2}')) + (1 | Subject)", load())
    predictor = r.to_predictor()
    assert_allclose(predictor.predict(load()), r.fittedvalues)
    with refused("which no expression of a predictor may have"):
        predictor.save(tmp_path / "p.json")
    assert not (tmp_path / "p.json").exists()


# ---------------------------------------------------------------- keys come back exactly

TIMES = pd.date_range("2020-10-24 22:30", periods=6, freq="h", tz="UTC")
KEYS = {
    "periods": pd.period_range("2020-01", periods=6, freq="M").to_list(),
    "quarters": pd.period_range("2020Q1", periods=6, freq="Q-NOV").to_list(),
    "durations": pd.to_timedelta(np.arange(6) * 3 + 1, unit="ns").to_list(),
    "python durations": [datetime.timedelta(minutes=i, microseconds=1) for i in range(6)],
    "intervals": pd.interval_range(0, 6, closed="both").to_list(),
    "intervals of dates": list(pd.cut(pd.date_range("2020", periods=6).to_series(), 6)),
    "fall back": TIMES.tz_convert("Europe/Berlin").to_list(),
    "fixed offset": TIMES.tz_convert("+05:30").to_list(),
    "far": [pd.Timestamp(f"{year}-01-01", tz="UTC") for year in range(2500, 2506)],
    "python zones": [datetime.datetime(2020, 1, 1 + i, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"))
                     for i in range(6)],
    "times of day": [datetime.time(i, 30) for i in range(6)],
    "uuids": [uuid.UUID(int=7**40 + i) for i in range(6)],
    "decimals": [decimal.Decimal(i) / 3 for i in range(6)],
    "fractions": [fractions.Fraction(i, 7) for i in range(6)],
    "bytes": [bytes([i, 255]) for i in range(6)],
    "large": [2**70 + i for i in range(6)],
    "tuples": [(i, "a") for i in range(6)],
    "floats": (np.arange(6) / 7).tolist(),
    "tiny": [5e-324 * (i + 1) for i in range(6)],
    "odd text": ["", " ", "é\u0301", "\U0001f600", '"', "\\"],
    "nanoseconds": pd.date_range("2020", periods=6, freq="ns").to_list(),
}  # fmt: skip
# Older pandas names these zones by a path of the machine, or cannot read them at all (dateutil 3).
if int(pd.__version__.partition(".")[0]) >= 3:
    KEYS["zones of dateutil"] = TIMES.tz_convert("dateutil/Europe/Berlin").to_list()


@pytest.mark.parametrize("name", KEYS)
def test_keys_survive_the_file(name: str, tmp_path: Path) -> None:
    keys = KEYS[name]
    for key in keys:
        back = decode(json.loads(json.dumps(encode_key(key, "it"))))
        assert back == key
        assert type(back) is type(key)
        assert str(back) == str(key)
    values = np.empty(60, dtype=object)
    values[:] = [keys[i % 6] for i in range(60)]
    y = np.random.default_rng(0).standard_normal(60) + 3 * (np.arange(60) % 6)
    data = pd.DataFrame({"y": y, "g": pd.Series(values).infer_objects()})
    for formula in ("y ~ 1 + (1 | g)", "y ~ 0 + (1 | g)"):
        r = quiet_fit(formula, data)
        assert np.ptp(r.fittedvalues) > 5
        r.to_predictor().save(tmp_path / "p.json")
        predictor = Predictor.load(tmp_path / "p.json")
        assert_allclose(predictor.predict(data, new_levels="error"), r.fittedvalues, rtol=1e-10)


class Summer(datetime.tzinfo):
    """A time zone without a name."""

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta | None:
        return None if when is None else datetime.timedelta(hours=2)

    def dst(self, when: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)


class Stamp(datetime.date):
    """A date that is more than its day."""


@pytest.mark.parametrize(
    "key",
    [
        datetime.datetime(2020, 1, 1, tzinfo=Summer()), Stamp(2020, 1, 1),
        decimal.Decimal("nan"),
    ],
)  # fmt: skip
def test_keys_that_would_not_come_back(key: Any) -> None:
    with refused("cannot be saved"):
        encode_key(key, "it")


class Thing:
    """An object with attributes."""

    def run(self, x: Any) -> Any:
        return x


class Slotted:
    """An object that is more than its __dict__."""

    __slots__ = ("__dict__", "value")


@pytest.mark.parametrize(
    "value", [frozenset({1}), object(), pd.Series([1.0]), pd.DataFrame({"a": [1]}), Slotted(),
              pd.DateOffset(days=1), range(3), slice(1), pd.NaT, "\ud83d\ude00"],
)  # fmt: skip
def test_objects_that_would_be_lost(value: Any) -> None:
    with refused("cannot be saved"):
        encode(value, "it")
