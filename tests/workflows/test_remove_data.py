"""remove_data keeps its promise: no row stays, and what was said before can be said again."""

from __future__ import annotations

import copy
import gc
import pickle
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import patsy
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from simulation import quietly

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.errors import DesignError, FitError, RowsRemovedError

N = 180


@lru_cache
def load() -> pd.DataFrame:
    """Data in which every number of a row is to be found nowhere else."""
    rng = np.random.default_rng(0)
    data = datasets.sleepstudy.load_pandas().data.copy()
    data["Reaction"] += rng.standard_normal(N)
    data["x"] = rng.standard_normal(N)
    data["o"] = rng.standard_normal(N)
    data["w"] = 0.5 + rng.random(N)
    data["name"] = [f"person number {i}" for i in range(N)]
    data.index = pd.Index([f"row number {i}" for i in range(N)])
    return data


def sizes(value: Any) -> tuple[int, ...]:
    """The shape of an array, the length of a container."""
    if isinstance(value, np.ndarray | pd.Series | pd.DataFrame | pd.Index):
        return value.shape
    return (len(value),) if isinstance(value, list | tuple | dict | set) else ()


def reachable(root: Any) -> Iterator[Any]:
    """Everything that an object refers to, however far away; no code and no modules."""
    seen: dict[int, Any] = {}
    stack = [root]
    code = type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType
    while stack:
        value = stack.pop()
        if id(value) in seen or isinstance(value, code):
            continue
        seen[id(value)] = value
        yield value
        stack += gc.get_referents(value)
        if isinstance(value, np.ndarray) and value.base is not None:
            stack.append(value.base)


def assert_no_rows(root: Any) -> None:
    """No array or container of n entries, no number of a row, no label of one."""
    found = [value for value in reachable(root) if N in sizes(value)]
    assert not found, [(type(value), sizes(value)) for value in found]
    content = pickle.dumps(root)
    for name in ("Reaction", "x", "o", "w"):
        inner = load()[name].sort_values().iloc[1:-1]  # splines know the first and the last
        assert not [v for v in inner if np.float64(v).tobytes() in content], name
    assert b"row number" not in content
    assert b"person number" not in content


BESIDE = {"weights": "w array", "offset": "o array"}
FORMULAS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("Reaction ~ x + (Days | Subject)", {}),
    "center": ("Reaction ~ center(x) + (center(Days) | Subject)", {}),
    "splines": ("Reaction ~ bs(x, df=5) + cr(o, df=3, constraints='center') + (1 | Subject)", {}),
    "tensor": ("Reaction ~ 0 + te(cr(x, df=3), cc(o, df=3)) + (1 | Subject)", {}),
    "nested": ("Reaction ~ center(bs(x, df=4)) + standardize(np.exp(x)) + (1 | Subject)", {}),
    "weights": ("Reaction ~ x + offset(o) + (1 | Subject)", {"weights": "w"}),
    "arrays beside": ("Reaction ~ scale(x) + (1 | Subject)", BESIDE),
    "factors": ("np.log(Reaction) ~ C(Days) + x:C(Days > 4, Sum) + (1 | C(Subject))", {}),
    "expressions": ("Reaction ~ x + (1 | Subject:pd.cut(Days, [-1, 4, 9]))", {}),
    "a text column": ("Reaction ~ x + (1 | name.str[-1])", {}),
    "a column beside": ("Reaction ~ beside + x + (1 | Subject)", {}),
    "two terms": ("Reaction ~ I(x > 0) + (x || Subject) + (1 | C(Days > 4))", {}),
}  # fmt: skip


def model(name: str) -> MixedLM:
    formula, given = FORMULAS[name]
    arrays = {"w array": load()["w"].to_numpy(), "o array": load()["o"].to_numpy()}
    beside = load()["x"].to_numpy() ** 2
    arguments = {k: arrays.get(v, v) for k, v in given.items()}
    scope = {"np": np, "pd": pd, "beside": beside}
    return MixedLM.from_formula(formula, load(), eval_env=scope, **arguments)


def answers(r: Any, new: Any) -> list[Any]:
    """What has to be the same before and after, to the last digit."""
    prediction = r.get_prediction(new, offset=0, weights=np.ones(len(new)))
    return [
        r.params, r.bse, r.pvalues, r.llf, r.deviance, r.aic, r.random_effects, r.varcorr(),
        r.conf_int(), r.predict(new, offset=0), r.predict(new, which="population", offset=0),
        prediction.summary_frame(), r.to_predictor().predict(new, offset=0), r.cov_params(),
    ]  # fmt: skip


def assert_same(one: list[Any], other: list[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a.values(), b.values()) if isinstance(a, dict) else [(a, b)]:
            if isinstance(x, pd.DataFrame):
                pd.testing.assert_frame_equal(x, y, check_exact=True)
            else:
                assert_array_equal(x, y)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("ddf", ["satterthwaite", "normal"])
def test_no_row_stays(name: str, ddf: str) -> None:
    m = model(name)
    r = quietly(m, ddf=ddf)
    new = load().iloc[[3, 50, 177]].assign(beside=[1.0, 2.0, 3.0])
    before = answers(r, new)
    # whatever caches what it computed
    text = str(r.summary())
    for use in (r.fittedvalues, r.resid, r.residuals("pearson"), r.predict(), r.leverage(),
                m.exog, m.endog, m.data.row_labels, r.model.Z.indptr[1:], r.augment()):  # fmt: skip
        assert len(use) == N
    r.remove_data()
    for removed in (
        r,
        m,
        m.data,
        r._results._cache,
        pickle.loads(pickle.dumps(r)),
        copy.deepcopy(r),
    ):
        assert_no_rows(removed)
    for other in (r, pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        assert_same(before, answers(other, new))
        assert str(other.summary()).splitlines()[7:] == text.splitlines()[7:]
        for gone in ("fittedvalues", "resid"):
            with pytest.raises(FitError, match="the data of the fit were removed"):
                getattr(other, gone)
    r.remove_data()  # once more
    assert_same(before, answers(r, new))


def test_kenward_roger_and_clusters() -> None:
    m = MixedLM.from_formula("Reaction ~ center(x) + (1 | Subject)", load())
    for r in (quietly(m, ddf="kenward-roger"), quietly(m).get_robustcov_results(kind="CR2")):
        new = load().iloc[:3]
        before = answers(r, new)
        r.remove_data()
        assert_no_rows(r)
        assert_same(before, answers(r, new))
        m = MixedLM.from_formula("Reaction ~ center(x) + (1 | Subject)", load())


@pytest.mark.parametrize("labelled", [True, False])
def test_arrays(labelled: bool) -> None:
    X = pd.DataFrame({"c": 1.0, "x": load()["x"]})
    given = {"weights": load()["w"], "offset": load()["o"]}
    if not labelled:
        X, given = X.to_numpy(), {name: value.to_numpy() for name, value in given.items()}
    y = load()["Reaction"] if labelled else load()["Reaction"].to_numpy()
    m = MixedLM(y, X, [RandomTerm(np.asarray(load()["Subject"]), np.asarray(X))], **given)
    r = quietly(m)
    new = (X[:5], [RandomTerm(np.asarray(load()["Subject"][:5]), np.asarray(X)[:5])])
    before = r.predict(new[0], random=new[1], offset=0)
    assert len(r.fittedvalues) == N
    r.remove_data()
    for removed in (r, m, pickle.loads(pickle.dumps(r))):
        assert_no_rows(removed)
    assert_array_equal(r.predict(new[0], random=new[1], offset=0), before)


def test_a_matrix_of_the_caller() -> None:
    """An array with n rows that the formula uses beside the data goes with them."""
    matrix = np.column_stack([load()["x"], load()["x"] ** 2])
    r = quietly(
        MixedLM.from_formula(
            "Reaction ~ matrix + (1 | Subject)", load(), eval_env={"matrix": matrix}
        )
    )
    assert np.isfinite(r.fittedvalues).all()
    r.remove_data()
    assert_no_rows(r)
    with pytest.raises(
        DesignError, match="'matrix', which could not be pickled with the model, or"
    ):
        r.predict(load())


@pytest.mark.parametrize("name", ["plain", "splines", "arrays beside"])
def test_other_results_of_the_model_keep_their_rows(name: str) -> None:
    m = model(name)
    r = quietly(m)
    normal, robust = r.with_ddf("normal"), r.get_robustcov_results()
    ml = quietly(m, reml=False)
    cached = r.with_ddf("residual")
    fitted = cached.fittedvalues.copy()
    assert normal.model is r.model
    r.remove_data()
    with pytest.raises(FitError):
        _ = r.fittedvalues
    for other in (normal, robust, cached, ml):
        if other is not ml:
            assert_allclose(other.fittedvalues, fitted, rtol=1e-12)
            assert_allclose(other.predict(), fitted, rtol=1e-12)
        assert_allclose(other.resid + other.fittedvalues, other.model.endog)
        assert other.model.exog.shape[0] == N
        assert other.model is not r.model
        assert list(other.fittedvalues.index) == list(load().index)
        assert other.refit(load()["Reaction"] + 1.0).nobs == N
        assert other.simulate(2, rng=1).shape == (N, 2)
        assert len(other.model.data.row_labels) == N
        assert "Linear Mixed Model" in str(other.summary())
    assert_no_rows(r)
    again = r.with_ddf("normal")
    assert_allclose(again.conf_int(), normal.conf_int())
    assert_no_rows(again)
    normal.remove_data()
    assert_no_rows(normal)
    assert_array_equal(cached.fittedvalues, fitted)
    assert cached.model.exog.shape[0] == N


def test_what_was_made_before_goes_on_working() -> None:
    """Influence, means, replicates and many fits keep the rows that they were made with."""
    m, other = (
        MixedLM.from_formula("Reaction ~ C(Days > 4) + (1 | Subject)", load()) for _ in range(2)
    )
    r, kept = m.fit(), other.fit()
    Y = load()[["Reaction", "x"]]
    before = [
        (x.get_influence(), x.emmeans("Days", at={"Days": [1, 6]}), x.bootstrap(20, rng=1), many)
        for x, many in ((r, m.fit_many(Y)), (kept, other.fit_many(Y)))
    ]
    bound = r.leverage
    r.remove_data()
    answers = []
    for influence, means, boot, many in before:
        refitted = many.result("x")
        answers.append(
            [influence.cooks_distance[0], influence.summary_frame(), means.summary_frame(),
             means.contrasts(), boot.conf_int(kind="bca"), refitted.fittedvalues,
             influence.results.resid]
        )  # fmt: skip
    assert_same(*answers)
    for asked in (bound, r.check, r.get_influence, lambda: r.bootstrap(2)):
        with pytest.raises(RowsRemovedError, match="remove_data"):
            asked()


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: r.leverage(), lambda r: r.residuals(), lambda r: r.influence("Subject"),
        lambda r: r.check(), lambda r: r.simulate(), lambda r: r.refit(np.ones(N)),
        lambda r: r.bootstrap(5), lambda r: r.icc(), lambda r: r.emmeans("Days"),
        lambda r: r.augment(), lambda r: r.predict(), lambda r: r.get_prediction(),
        lambda r: r.robust_cov(), lambda r: r.compare(r), lambda r: r.update("~ . - x"),
        lambda r: r.model.fit_many(np.ones((N, 2))), lambda r: r.fittedvalues, lambda r: r.resid,
    ],
)  # fmt: skip
def test_one_error_says_that_the_rows_are_gone(ask: Any) -> None:
    r = quietly(model("plain"))
    r.remove_data()
    with pytest.raises(RowsRemovedError, match="remove_data") as caught:
        ask(r)
    assert isinstance(caught.value, FitError) and isinstance(caught.value, DesignError)


def test_a_step_that_leaves_nothing_out_needs_no_rows() -> None:
    r = quietly(MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", load()))
    inflation = r.vif()
    r.remove_data()
    found = r.step().model
    pd.testing.assert_frame_equal(found.vif(), inflation)
    assert list(found.vif().index) == ["Days"]
    assert_array_equal(found.params, r.params)


class Doubled:
    """A stateful transform of the user's."""

    def memorize_chunk(self, x: Any) -> None:
        self.largest = float(np.max(x))

    def memorize_finish(self) -> None:
        pass

    def transform(self, x: Any) -> Any:
        return x / self.largest


doubled = patsy.stateful_transform(Doubled)


def test_a_transform_of_the_user() -> None:
    r = quietly(MixedLM.from_formula("Reaction ~ doubled(x) + (1 | Subject)", load()))
    expected = r.predict(load())
    r.remove_data()
    assert_array_equal(r.predict(load()), expected)
    assert_array_equal(pickle.loads(pickle.dumps(r)).predict(load()), expected)
    assert_no_rows(r)

    class Local(Doubled):
        pass

    local = patsy.stateful_transform(Local)
    r = quietly(MixedLM.from_formula("Reaction ~ local(x) + (1 | Subject)", load()))
    r.remove_data()
    assert_array_equal(r.predict(load()), expected)
    assert local is not None
    with pytest.raises(DesignError, match="could not be pickled with the model"):
        pickle.loads(pickle.dumps(r)).predict(load())


@pytest.mark.parametrize("weights", [None, "x"])
def test_fits_need_no_rows(weights: str | None) -> None:
    """Cross-products are left; what rows would be asked was asked before."""
    data = load()
    data["x"] = np.abs(data["x"]) + 0.5
    m = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", data, weights=weights)
    r = quietly(m)
    ml = r.refit_ml().objective
    held = m.fit(fix={"Subject.Intercept": 20.0}).objective
    r.remove_data()
    assert r.model.fit().objective == r.objective
    assert r.refit_ml().objective == ml
    assert r.model.fit(fix={"Subject.Intercept": 20.0}).objective == held


@pytest.mark.parametrize("given", [{}, {"fix": {"Subject.Intercept": 20.0}}, {"sigma": 30.0}])
def test_fits_of_a_residual_structure_need_the_rows(given: dict[str, Any]) -> None:
    """They would be those of residuals without one."""
    m = MixedLM.from_formula("Reaction ~ Days + (1 | Subject)", load(), variance="Subject")
    r = quietly(m)
    r.remove_data()
    with pytest.raises(FitError, match="with them the sums that its residual structure needs"):
        r.model.fit(**given)
    with pytest.raises(FitError, match="the data of the fit were removed"):
        r.refit_ml()
