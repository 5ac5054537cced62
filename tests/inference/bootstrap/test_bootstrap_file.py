"""A bootstrap in a file: read back exactly, never run, and refused when it is something else."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mixedlm_ext import Bootstrap
from mixedlm_ext.errors import DesignError, FitError


@pytest.fixture(scope="module")
def boot(result: Any) -> Bootstrap:
    return result.bootstrap(60, rng=1)


def written(boot: Bootstrap) -> io.BytesIO:
    """A file in memory, rewound."""
    file = io.BytesIO()
    boot.save(file)
    file.seek(0)
    return file


def same(one: Bootstrap, two: Bootstrap) -> None:
    pd.testing.assert_frame_equal(one.replicates, two.replicates, check_exact=True)
    pd.testing.assert_series_equal(one.estimates, two.estimates, check_exact=True)
    pd.testing.assert_series_equal(one.failures, two.failures)
    assert (one.kind, one.n, one.use_u, repr(one)) == (two.kind, two.n, two.use_u, repr(two))


@pytest.mark.parametrize("name", ["boot.npz", "boot", "boot.mixedlm"])
@pytest.mark.parametrize("as_text", [True, False])
def test_round_trip(boot: Bootstrap, tmp_path: Path, name: str, as_text: bool) -> None:
    path = str(tmp_path / name) if as_text else tmp_path / name
    boot.save(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    again = Bootstrap.load(path)
    same(boot, again)
    for kind in ("percentile", "basic", "normal", "shortest"):
        pd.testing.assert_frame_equal(again.conf_int(kind=kind), boot.conf_int(kind=kind))
    pd.testing.assert_frame_equal(again.summary_frame(), boot.summary_frame())


@pytest.mark.parametrize("arguments", [{"kind": "residual"}, {"use_u": True}, {"kind": "wild"}])
def test_kinds_are_kept(result: Any, arguments: dict[str, Any]) -> None:
    boot = result.bootstrap(5, rng=1, **arguments)
    again = Bootstrap.load(written(boot), result)
    same(boot, again)
    same(boot, Bootstrap.load(written(again)))
    same(boot, pickle.loads(pickle.dumps(again)))


def test_missing_values_and_failures_are_kept(result: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    boot = result.bootstrap(6, rng=1, statistic=lambda r: [r.sigma, np.nan, np.inf, -0.0])
    again = Bootstrap.load(written(boot))
    same(boot, again)
    assert np.signbit(again.replicates["statistic[3]"]).all()
    found = boot._found
    lost = type(found)(**{**vars(found), "failures": {2: "too far ☹", 4: "no"}})
    again = Bootstrap.load(written(Bootstrap(None, None, lost)))
    assert again.failures.to_dict() == {2: "too far ☹", 4: "no"}
    assert again.failures.index.dtype == np.int64


@pytest.mark.parametrize(
    "names",
    [["a", "b"], ["x y", "µ:β|☹"], [1, 2], [0.5, "b"], [("a", 1), ("a", 2)], [None, True],
     [np.int64(3), np.float64(0.1)]],
)  # fmt: skip
def test_names_are_read_back(result: Any, names: list[Any]) -> None:
    boot = result.bootstrap(2, rng=1, statistic=lambda r: dict(zip(names, [1.0, 2.0])))
    again = Bootstrap.load(written(boot))
    assert list(again.estimates.index) == list(boot.estimates.index) == names
    assert type(again.replicates.columns) is type(boot.replicates.columns)


@pytest.mark.parametrize("name", [pd.Timestamp("2020-01-01"), frozenset("a"), b"a", ("a", b"b")])
def test_other_names_are_refused(result: Any, name: Any, tmp_path: Path) -> None:
    boot = result.bootstrap(2, rng=1, statistic=lambda r: {name: 1.0})
    with pytest.raises(FitError, match=r"the name .* of a value is a \w+, which the file cannot"):
        boot.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- with the fit


def test_bca_needs_the_fit(boot: Bootstrap, result: Any) -> None:
    with pytest.raises(FitError, match=r"fit was not given\. Use Bootstrap\.load\(path, results"):
        Bootstrap.load(written(boot)).conf_int(kind="bca")
    again = Bootstrap.load(written(boot), result)
    pd.testing.assert_frame_equal(again.conf_int(kind="bca"), boot.conf_int(kind="bca"))


def slope(fitted: Any) -> pd.Series:
    return fitted.params[["Days"]]


def test_bca_of_a_statistic_needs_it_too(result: Any) -> None:
    boot = result.bootstrap(60, rng=1, statistic=slope)
    with pytest.raises(FitError, match=r"of a statistic of the fit\. Pass the same statistic"):
        Bootstrap.load(written(boot), result)
    again = Bootstrap.load(written(boot), result, slope)
    pd.testing.assert_frame_equal(again.conf_int(kind="bca"), boot.conf_int(kind="bca"))
    with pytest.raises(FitError, match=r"of \['Days'\], not of \['statistic'\]"):
        Bootstrap.load(written(boot), result, lambda r: r.sigma)


def test_another_fit_is_refused(boot: Bootstrap, result: Any) -> None:
    with pytest.raises(FitError, match="are of another fit, with the estimates"):
        Bootstrap.load(written(boot), result.refit_ml())
    with pytest.raises(FitError, match=r"not of .* as the fit given"):
        Bootstrap.load(written(boot), result.update("~ . - (Days | Subject) + (1 | Subject)"))
    with pytest.raises(FitError, match=r"of the parameters of the fit\. Leave statistic out"):
        Bootstrap.load(written(boot), result, slope)
    with pytest.raises(FitError, match="statistic='Days' is no function"):
        Bootstrap.load(written(boot), result, "Days")


# ---------------------------------------------------------------- other files


def parts(boot: Bootstrap) -> dict[str, Any]:
    with np.load(written(boot)) as arrays:
        return {**arrays, "header": json.loads(arrays["header"].tobytes())}


def packed(parts: dict[str, Any]) -> io.BytesIO:
    """A file of given parts."""
    file = io.BytesIO()
    header = np.frombuffer(json.dumps(parts["header"]).encode(), dtype=np.uint8)
    np.savez(file, **{**parts, "header": header})
    file.seek(0)
    return file


class Hostile:
    """Does something when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def saved(*arrays: Any, **named: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, *arrays, **named) if named else np.save(file, *arrays)
    return file.getvalue()


NO_HEADERS = [np.frombuffer(text, dtype=np.uint8) for text in (b"[]", b"{}", b"{", b"\xff", b"")]
ONE = np.ones(1)
HOSTILE = np.array([Hostile()], dtype=object)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Intercept,Days\n1,2\n",
        b"PK\x03\x04 no archive",
        pickle.dumps(Hostile()),
        saved(np.ones(3)),
        saved(HOSTILE),
        saved(header=HOSTILE, estimates=np.ones(1), replicates=np.ones((1, 1))),
        saved(replicates=np.ones((2, 2))),
        saved(
            header=np.frombuffer(b"[]", dtype=np.uint8), estimates=np.ones(1), replicates=np.ones(1)
        ),
        saved(
            header=np.frombuffer(b"{}", dtype=np.uint8), estimates=np.ones(1), replicates=np.ones(1)
        ),
    ],
)
def test_what_is_no_bootstrap(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(FitError, match=r"other' holds no bootstrap\. Write one with"):
        Bootstrap.load(path)
    with pytest.raises(FitError, match=r"^the file holds no bootstrap"):
        Bootstrap.load(io.BytesIO(content))


def test_a_file_cut_short(boot: Bootstrap) -> None:
    whole = written(boot).getvalue()
    for length in (10, len(whole) // 2, len(whole) - 1):
        with pytest.raises(FitError, match="holds no bootstrap"):
            Bootstrap.load(io.BytesIO(whole[:length]))


def test_replicates_are_not_unpickled(boot: Bootstrap) -> None:
    with pytest.raises(FitError, match="holds no bootstrap"):
        Bootstrap.load(packed({**parts(boot), "replicates": HOSTILE}))


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["a"]},
        {"names": 3},
        {"names": [{"import": "os"}] * 6},
        {"failures": {"60": "beyond the last"}},
        {"failures": {"-1": "before the first"}},
        {"failures": {"one": "no number"}},
        {"failures": {"1": 7}},
        {"failures": []},
        {"use_u": "no"},
        {"of_statistic": None},
        {"kind": 4},
    ],
)
def test_damaged_headers(boot: Bootstrap, change: dict[str, Any]) -> None:
    whole = parts(boot)
    with pytest.raises(FitError, match="the file is damaged"):
        Bootstrap.load(packed({**whole, "header": {**whole["header"], **change}}))


@pytest.mark.parametrize(
    "change",
    [
        {"replicates": np.ones((60, 5))},
        {"replicates": np.ones(6)},
        {"replicates": np.ones((0, 6))},
        {"replicates": np.ones((60, 6), dtype=complex)},
        {"estimates": np.ones(5)},
        {"estimates": np.array(["a"] * 6)},
    ],
)
def test_damaged_arrays(boot: Bootstrap, change: dict[str, Any]) -> None:
    with pytest.raises(FitError, match="the file is damaged"):
        Bootstrap.load(packed({**parts(boot), **change}))


def test_other_layouts_and_kinds(boot: Bootstrap) -> None:
    whole = parts(boot)
    with pytest.raises(FitError, match="has the layout 2 of bootstraps; this version"):
        Bootstrap.load(packed({**whole, "header": {**whole["header"], "layout": 2}}))
    with pytest.raises((FitError, DesignError), match="'jack' is not known"):
        Bootstrap.load(packed({**whole, "header": {**whole["header"], "kind": "jack"}}))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Bootstrap.load(tmp_path / "nothing")


def test_the_file_holds_no_row(result: Any, boot: Bootstrap) -> None:
    whole = parts(boot)
    assert set(whole) == {"header", "estimates", "replicates"}
    assert_array_equal(whole["replicates"], boot.replicates)
    assert set(whole["header"]) == {
        "format", "layout", "kind", "use_u", "of_statistic", "names", "failures",
    }  # fmt: skip
