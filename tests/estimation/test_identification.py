"""Variance parameters that the data cannot show, and responses that leave no residual."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import linalg

from mixedlm_ext import MixedLM, RandomTerm, datasets
from mixedlm_ext.criteria.assemble import assemble
from mixedlm_ext.errors import DesignError, DesignWarning, SingularFitWarning
from mixedlm_ext.identification import (
    check_not_reproduced,
    check_told_from_residual,
    redundant_parameters,
)
from mixedlm_ext.identification.directions import Image, inside_fixed


def load(name: str) -> pd.DataFrame:
    return getattr(datasets, name).load_pandas().data


def made(seed: int = 0, n: int = 240, levels: int = 12) -> pd.DataFrame:
    """Rows in `levels` groups, with covariates that vary within them and others that do not."""
    rng = np.random.default_rng(seed)
    code = np.r_[np.arange(levels), rng.integers(0, levels, n - levels)]
    data = pd.DataFrame({"g": code.astype(str), "h": rng.integers(0, 4, n).astype(str)})
    data["x"] = rng.normal(size=n)
    data["f"] = np.array(list("abcd"))[code % 4]
    data["k"] = np.array(list("pqr"))[rng.integers(0, 3, n)]
    data["site"] = np.char.add("s", (code // 3).astype(str))
    data["two"], data["three"] = code % 2 + 0.5, code % 3 + 0.5
    data["y"] = data["x"] + rng.normal(size=levels)[code] + rng.normal(size=n)
    return data


DATA = made()


def problem(formula: str, data: pd.DataFrame = DATA, **kwargs: Any) -> None:
    """Do what comes before the fit."""
    _ = MixedLM.from_formula(formula, data, **kwargs).problem


# --- the algebra ----------------------------------------------------------------------------------


def dense_count(model: MixedLM, residual: bool) -> int:
    """Count the dependencies among the matrices K'G_iK, K'X = 0, of the textbook."""
    n = len(model.endog)
    root = np.ones(n) if model.weights is None else np.sqrt(model.weights)
    K = linalg.null_space((root[:, None] * model.exog).T)
    images = []
    for term in model.design.terms:
        Z = [root[:, None] * x[:, None] * np.eye(len(term.levels))[term.codes] for x in term.X.T]
        Z = [z / np.linalg.norm(z) for z in Z]
        for a, c in zip(*np.tril_indices(len(Z))):
            if a == c or term.structure == "us":
                images.append(K.T @ (Z[a] @ Z[c].T + Z[c] @ Z[a].T) @ K)
    if residual:
        images.append(np.eye(K.shape[1]))
    values = linalg.svdvals([image.ravel() for image in images])
    return len(images) - int((values > 1e-10).sum())


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (x | g)", "y ~ 1 + (x || g)", "y ~ f + (f | g)", "y ~ f + (0 + f | g)",
        "y ~ g + (x | g)", "y ~ g:x + (x | g)", "y ~ g * x + (x | h)", "y ~ h + (0 + h | g)",
        "y ~ z + (z | g)", "y ~ z + (z || g)", "y ~ x + (1 | g) + (0 + f | g)", "y ~ f + (f || g)",
        "y ~ x + (f | h) + (1 | f:h)", "y ~ x + (1 | g/h)", "y ~ f * x + (x | f)",
        "y ~ g + (0 + h | g)",
    ],
)  # fmt: skip
def test_as_many_directions_are_unseen_as_dense_algebra_finds(formula: str) -> None:
    rng = np.random.default_rng(11)
    relaxed = dict.fromkeys(("levels", "rank"), "ignore")
    for trial in range(8):
        n, levels = int(rng.integers(16, 50)), int(rng.integers(3, 9))
        data = made(trial, n, levels)
        data["f"] = data["g"].astype(int).mod(3).astype(str) if trial % 2 else data["k"]
        data["z"] = data["two"] if trial % 3 else np.round(2.0 * data["x"])
        weights = rng.uniform(0.1, 4.0, n) if trial % 4 == 3 else None
        model = MixedLM.from_formula(formula, data, weights=weights, check=relaxed)
        if model.exog.shape[1] >= n - 1:
            continue
        assembled = assemble(model.design)
        for residual in (False, True):
            found = Image(assembled, residual).null_space().shape[1]
            assert found == dense_count(model, residual), (trial, residual)


@pytest.mark.parametrize("weights", [None, "w"])
def test_a_direction_changes_nothing_that_is_seen(weights: str | None) -> None:
    data = DATA.assign(w=np.random.default_rng(1).uniform(0.5, 2.0, len(DATA)))
    model = MixedLM.from_formula("y ~ 1 + (two | g)", data, weights=weights)
    assembled = assemble(model.design)
    (direction,) = Image(assembled, residual=False).null_space().T
    R = assembled.covariance.terms[0].whitening
    D = np.zeros((2, 2))
    D[assembled.covariance.terms[0].structure.entries] = direction
    D = np.linalg.solve(R, np.linalg.solve(R, D + np.tril(D, -1).T).T)
    for z in (0.5, 1.5):
        seen = np.array([1.0, z]) @ D @ np.array([1.0, z])
        assert abs(seen) < 1e-12 * np.abs(D).max()


def test_combinations_of_columns_inside_the_fixed_part() -> None:
    model = MixedLM.from_formula("y ~ 0 + g + (0 + k | g)", DATA)
    (w,) = inside_fixed(assemble(model.design), 0).T
    lengths = np.sqrt([(DATA["k"] == level).mean() for level in "pqr"])
    assert_allclose(w / lengths / (w[0] / lengths[0]), 1.0, rtol=1e-10)  # k[p] + k[q] + k[r] is 1


def test_small_levels_and_far_origins_do_not_hide_what_is_seen() -> None:
    """One level of 6 rows shows the covariance beside levels of thousands."""
    rng = np.random.default_rng(0)
    n = 60_006
    data = pd.DataFrame({"g": np.r_[np.repeat(np.arange(6), 10_000), np.full(6, 6)]})
    data["f"] = np.where(data["g"] % 2 == 0, "a", "b")
    data.loc[n - 3 :, "f"] = "b"
    data["y"] = rng.normal(size=n)
    problem("y ~ f + (0 + f | g)", data)
    with pytest.raises(DesignError, match="say nothing about the covariance"):
        problem("y ~ f + (0 + f | g)", data.iloc[:-6])
    time = pd.DataFrame({"g": np.repeat(np.arange(30), 10), "t": 1.7e9 + rng.uniform(0, 1e3, 300)})
    time["year"] = np.tile(np.arange(2000, 2010), 30)
    time["y"] = rng.normal(size=300)
    for term in (
        "(t | g)",
        "(t || g)",
        "(year || g)",
        "(year + I(year**2) || g)",
        "(bs(t, 4) | g)",
    ):
        problem(f"y ~ 1 + {term}", time)


def test_heavy_rows_and_far_origins_do_not_hide_what_is_seen() -> None:
    """One level shows the covariance beside levels of a thousand million times the weight."""
    data = DATA.assign(w=np.where(DATA["g"] == "7", 1.0, 1e9))
    data["f"] = np.where(DATA["two"] == 0.5, "a", "b")
    data.loc[data.index[data["g"] == "7"][:9], "f"] = "a"
    problem("y ~ f + (0 + f | g)", data, weights="w")
    far = DATA.assign(two=1e6 + DATA["two"])
    with pytest.raises(DesignError, match="constant within every level"):
        problem("y ~ 1 + (two | g)", far)
    with pytest.raises(DesignError, match="the variances of 'Intercept' and 'two' and the covaria"):
        problem("y ~ 1 + (two | g)", DATA.assign(two=1e7 * DATA["two"]))


# --- what is refused, and how it is said ----------------------------------------------------------

INSIDE = [
    ("y ~ g + x + (x | g)", "'Intercept' of (x | g) lies within the fixed part", "Drop 'g' from the"
     " fixed part, or 'Intercept' from the term."),
    ("y ~ 0 + g + (x | g)", "'Intercept' of (x | g) lies within", "'g' from"),
    ("y ~ g * x + (x | g)", "'Intercept' and 'x' of (x | g) lie within", "or (x | g)."),
    ("y ~ g + g:x + (x || g)", "'Intercept' and 'x' of (x || g) lie within", "or (x || g)."),
    ("y ~ g:x + (x | g)", "'x' of (x | g) lies within", "or 'x' from the term."),
    ("y ~ g:x + (0 + x | g)", "'x' of (0 + x | g) lies within", "or (0 + x | g)."),
    ("y ~ C(g) + (1 | g/h)", "'Intercept' of (1 | g) lies within", "'g' from"),
    ("y ~ g + (1 | f) + (1 | h)", "'Intercept' of (1 | f) lies within",
     "Drop what tells the levels of 'f' apart from the fixed part"),
    ("y ~ g + (0 + k | g)", "the sum of 'k[p]', 'k[q]' and 'k[r]' of (0 + k | g) lies within",
     "or one of these columns"),
    ("y ~ g + (0 + I(2 + x) + I(2 - x) | g)", "the sum of 'I(2 + x)' and 'I(2 - x)' of", "or one"),
    ("y ~ g + (0 + I(2 + x) + I(2 - 3 * x) | g)", "a combination of 'I(2 + x)' and", "or one"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "found", "advice"), INSIDE)
def test_columns_within_the_fixed_part(formula: str, found: str, advice: str) -> None:
    with pytest.raises(DesignError) as caught:
        problem(formula)
    assert str(caught.value).startswith(found)
    assert advice in str(caught.value)
    assert str(caught.value).endswith("pass check={'identified': 'warn'}.")


def test_a_refined_factor_in_the_fixed_part() -> None:
    with (
        pytest.warns(DesignWarning, match="rank deficient"),
        pytest.raises(DesignError, match=re.escape("'Intercept' of (1 | g) lies within")),
    ):
        problem("y ~ 0 + site:g + (1 | g)")


def test_the_sleepstudy_with_subjects_twice() -> None:
    with pytest.raises(DesignError, match=re.escape("'Intercept' of (Days | Subject) lies within")):
        problem("Reaction ~ Subject + Days + (Days | Subject)", load("sleepstudy"))
    data = load("sleepstudy")
    X = np.column_stack([pd.get_dummies(data["Subject"]).astype(float), data["Days"]])
    Z = np.column_stack([np.ones(len(data)), data["Days"]])
    with pytest.raises(DesignError, match="lies within the fixed part"):
        MixedLM(data["Reaction"], X, [RandomTerm(data["Subject"], Z)]).fit()


UNSEEN = [
    ("y ~ 1 + (f | f)", "cannot tell the variances of 'f[T.b]', 'f[T.c]' and 'f[T.d]' and the "
     "covariances of", "'f[T.b]', 'f[T.c]' and 'f[T.d]' are constant within every level of 'f'",
     "Write (1 | f)."),
    ("y ~ 1 + (f | f:h)", "of (f | f:h) apart", "are constant within every level", "(1 | f:h)."),
    ("y ~ 1 + (f | g)", "of (f | g) apart", "constant within every level of 'g'", "Write (1 | g)."),
    ("y ~ 1 + (two | g)", "the variances of 'Intercept' and 'two' and the covariance of "
     "'Intercept' and 'two' of (two | g) apart", "'two' is constant within every level",
     "Write (1 | g)."),
    ("y ~ 1 + (x + two | g)", "of (x + two | g) apart",
     "'two' is constant within every level of 'g'", "Drop 'two' from the term."),
    ("y ~ 1 + (0 + f | g)", "say nothing about the covariances of 'f[a]' and 'f[b]', 'f[a]' and "
     "'f[c]', 'f[a]' and 'f[d]', 'f[b]' and 'f[c]', and 2 more of (0 + f | g)",
     "no level of 'g' has rows of both columns of any of these pairs", "Write (0 + f || g) to"),
    ("y ~ 1 + (0 + f | f)", "say nothing about the covariances", "no level of 'f' has rows of both",
     "Use fewer columns, such as (1 | f)."),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "found", "reason", "advice"), UNSEEN)
def test_covariances_that_no_level_shows(
    formula: str, found: str, reason: str, advice: str
) -> None:
    with pytest.raises(DesignError) as caught:
        problem(formula)
    for words in (found, reason, advice):
        assert words in str(caught.value)


def test_one_pair_that_never_meets() -> None:
    data = DATA[~((DATA["k"] == "p") & DATA["two"].eq(0.5))]
    data = data[~((data["k"] == "q") & data["two"].eq(1.5))]
    with pytest.raises(DesignError) as caught:
        problem("y ~ k + (0 + k | g)", data)
    assert str(caught.value) == (
        "the data say nothing about the covariance of 'k[p]' and 'k[q]' of (0 + k | g): no level "
        "of 'g' has rows of both.\nWrite (0 + k || g) to leave the covariances out. "
        "To fit it all the same, pass check={'identified': 'warn'}."
    )
    with pytest.raises(DesignError, match="of these 3 parameters 2 combinations are seen"):
        problem("y ~ k + (k | g)", data)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ 1 + (three | g)",  # a quadratic in three values
        "y ~ 1 + (x | x3)",
        "y ~ 1 + (two || g)",
        "y ~ k + (0 + k | g)",
        "y ~ k + (k || g)",
        "y ~ f + (0 + f || g)",
        "y ~ h + (x | g)",
        "y ~ g + (0 + x | g)",
        "y ~ g + (0 + I(1 + 0.05 * x) | g)",
        "y ~ g + (1 | g:h)",
        "y ~ x + (1 | g) + (0 + k | g)",
        "y ~ k * x + (x | g) + (1 | h) + (1 | g:h)",
    ],
)
def test_what_is_identified_passes(formula: str) -> None:
    problem(formula, DATA.assign(x3=DATA["x"].round()))


def test_the_data_sets_pass_with_the_models_of_their_sources() -> None:
    for name, formula in (
        ("machines", "score ~ Machine + (Machine | Worker)"),
        ("machines", "score ~ Machine + (0 + Machine | Worker)"),
        ("machines", "score ~ Machine + (1 | Worker) + (0 + Machine | Worker)"),
        ("oats", "Q('yield') ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)"),
        ("oats", "Q('yield') ~ nitro + (Variety | Block) + (1 | Block:Variety)"),
        ("pastes", "strength ~ 1 + (1 | batch/cask)"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
        ("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)"),
        ("sleepstudy", "Reaction ~ Days + (Days || Subject)"),
        ("dyestuff2", "Yield ~ 1 + (1 | Batch)"),
    ):
        problem(formula, load(name), check={"redundant": "ignore"})


def test_a_covariance_that_the_fixed_part_hides() -> None:
    """In each level the fixed part has the one or the other column; each variance is seen."""
    odd = DATA["two"] == 1.5
    data = DATA.assign(v=np.random.default_rng(7).normal(size=len(DATA)))
    data["xo"], data["ve"] = data["x"].where(odd, 0.0), data["v"].where(~odd, 0.0)
    with pytest.raises(DesignError) as caught:
        problem("y ~ g:xo + g:ve + (0 + x + v | g)", data, check={"rank": "ignore"})
    assert str(caught.value).startswith(
        "the data say nothing about the covariance of 'x' and 'v' of (0 + x + v | g): the fixed "
        "part leaves nothing that would show it."
    )


def test_one_warning_for_one_cause() -> None:
    with pytest.warns(DesignWarning) as seen:
        problem("y ~ 1 + (two | g)", check={"identified": "warn", "redundant": "warn"})
    assert len(seen) == 1


def test_terms_that_share_what_is_seen() -> None:
    data = load("machines")
    formula = "score ~ Machine + (1 | Worker) + (0 + Machine | Worker)"
    model = MixedLM.from_formula(formula, data)
    names = redundant_parameters(model.design, model.problem)
    assert names.startswith(
        "the variance of 'Intercept' in (1 | Worker), the variances of 'Machine"
    )
    with pytest.raises(DesignError, match=r"cannot tell .* apart: only combinations"):
        problem(formula, data, check={"redundant": "error"})
    with pytest.warns(DesignWarning, match="Drop one of these terms"):
        problem(formula, data, check={"redundant": "warn"})
    single = MixedLM.from_formula("score ~ Machine + (0 + Machine | Worker)", data)
    assert redundant_parameters(single.design, single.problem) == ""


def test_variances_that_only_the_fixed_part_makes_look_alike() -> None:
    """Two groupings of two levels each: one contrast is left, and both random effects move it."""
    a, b = np.repeat([0, 0, 1, 1], 6), np.repeat([0, 1, 0, 1], 6)
    data = pd.DataFrame({"a": a, "b": b, "c": (a == b) * 1.0, "d": a + b})
    data["y"] = np.random.default_rng(0).normal(size=24)
    with pytest.raises(DesignError) as caught:
        problem("y ~ d + c + (1 | a) + (1 | b)", data)
    assert str(caught.value).startswith(
        "the data cannot tell the variance of 'Intercept' in (1 | a) and the variance of "
        "'Intercept' in (1 | b) apart"
    )


PAIRS = pd.DataFrame({"s": np.repeat(np.arange(10), 2), "c": np.tile([-1.0, 1.0], 10)})
PAIRS["y"] = np.random.default_rng(0).normal(size=20)


def test_random_effects_that_stand_for_the_residual() -> None:
    """Variances of (c || s) and the residual's: at c = 1 and -1 the first two sum to sigma² I."""
    model = MixedLM.from_formula("y ~ c + (c || s)", PAIRS)
    with pytest.raises(DesignError) as caught:
        model.fit()
    assert str(caught.value).startswith(
        "the data cannot tell the variances of 'Intercept' and 'c' in (c || s) and the residual "
        "variance apart"
    )
    with pytest.warns(SingularFitWarning):
        assert model.fit(sigma=1.0).theta[0] > 0.1
    with pytest.raises(DesignError, match="can stand for the residuals"):
        MixedLM.from_formula("y ~ 0 + (c || s)", PAIRS).fit()
    more = pd.concat([PAIRS, PAIRS.tail(1).assign(y=0.3)], ignore_index=True)
    identified = MixedLM.from_formula("y ~ 1 + (c || s)", more)
    check_told_from_residual(identified.design, identified.problem)


def test_known_precisions_need_one_row_a_level_only() -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"study": np.arange(15), "v": rng.uniform(0.1, 2.0, 15)})
    data["y"] = rng.normal(size=15) * np.sqrt(1.0 + data["v"])
    model = MixedLM.from_formula("y ~ 1 + (1 | study)", data, weights=1.0 / data["v"])
    assert model.fit(sigma=1.0).theta[0] > 0


# --- responses that the model reproduces ----------------------------------------------------------


def exact(seed: int = 1) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Predictors, and responses that are sums of them, of groups and of nearly nothing else."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"g": np.repeat(np.arange(12), 10), "t": np.tile(np.arange(10), 12)})
    data["x"], data["z"] = rng.normal(size=(2, 120))
    u, v = rng.normal(size=(2, 12))[:, data["g"]]
    x, z, t = (data[name].to_numpy() for name in "xzt")
    return data, {
        "sum": 3 * x + 2 * z + 1,
        "far": 1e6 + 3 * x,
        "integers": 2.0 * t + 7,
        "groups": u + 2 * x,
        "slopes": u + v * x,
        "almost": 3 * x + 1e-10 * rng.normal(size=120),
    }


@pytest.mark.parametrize("more", [{}, {"weights": 1}, {"offset": 1}], ids=["", "weights", "offset"])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sum", "the fixed part:"),
        ("far", "the fixed part:"),
        ("integers", "the fixed part:"),
        ("groups", "the fixed part and (x | g) together:"),
        ("slopes", "the fixed part and (x | g) together:"),
    ],
)
def test_a_response_that_is_reproduced(name: str, parts: str, more: Mapping[str, int]) -> None:
    data, responses = exact()
    extra = {key: np.random.default_rng(3).uniform(0.2, 3.0, 120) for key in more}
    y = responses[name] + extra.get("offset", 0.0)
    model = MixedLM.from_formula("y ~ x + z + t + (x | g)", data.assign(y=y), **extra)
    for reml in (True, False):
        with pytest.raises(DesignError, match=re.escape(f"reproduced exactly by {parts}")):
            model.fit(reml=reml)


def test_an_offset_larger_than_the_response_sets_the_size_of_rounding() -> None:
    data, _ = exact()
    offset = 1e6 * data["x"] + data["z"]
    data["y"] = offset - 1e6 * data["x"]
    with pytest.raises(DesignError, match="reproduced exactly by the fixed part"):
        MixedLM.from_formula("y ~ x + (1 | g)", data, offset=offset).fit()


@pytest.mark.parametrize("weight", [1e-40, 1.0, 1e40])
def test_the_size_of_residuals_does_not_depend_on_that_of_weights(weight: float) -> None:
    data, responses = exact()
    data["y"], data["w"] = responses["almost"], weight
    model = MixedLM.from_formula("y ~ x + (1 | g)", data, weights="w")
    check_not_reproduced(model.design, model.problem)


def test_a_sum_of_two_factors_with_few_rows_a_level() -> None:
    """Some levels of a, 4 rows each, have so many of b that they would show nothing."""
    rng = np.random.default_rng(5)
    data = pd.DataFrame(
        {"a": np.repeat(np.arange(20), 4), "b": np.r_[:60, rng.permutation(60)[:20]]}
    )
    u, v = rng.normal(size=20), rng.normal(size=60)
    data["y"] = u[data["a"]] + v[data["b"]]
    with pytest.raises(DesignError, match=re.escape("the fixed part and (1 | a) and (1 | b)")):
        MixedLM.from_formula("y ~ 1 + (1 | a) + (1 | b)", data).fit()
    data["y"] += rng.normal(size=80)
    model = MixedLM.from_formula("y ~ 1 + (1 | a) + (1 | b)", data)
    check_not_reproduced(model.design, model.problem)


def test_what_is_almost_reproduced_is_fitted() -> None:
    data, responses = exact()
    with pytest.warns(SingularFitWarning):
        result = MixedLM.from_formula("y ~ x + (1 | g)", data.assign(y=responses["almost"])).fit()
    assert 0.5e-10 < result.sigma < 2e-10
    other = MixedLM.from_formula("y ~ x + (1 | g)", data.assign(y=responses["slopes"])).fit()
    assert other.sigma > 0.1


def test_every_way_to_another_response() -> None:
    data, responses = exact()
    y = np.random.default_rng(4).normal(size=120) + data["g"]
    model = MixedLM.from_formula("y ~ x + z + t + (1 | g)", data.assign(y=y))
    result = model.fit()
    for name in ("sum", "groups"):
        with pytest.raises(DesignError, match="reproduced exactly"):
            result.refit(responses[name])
    frame = pd.DataFrame({**responses, "y": y})
    with pytest.warns(UserWarning, match="did not converge: 'sum', 'far', 'integers', 'groups'"):
        many = model.fit_many(frame)
    assert many.converged.to_dict() == {
        name: name in ("y", "slopes", "almost") for name in frame.columns
    }
    assert many.sigma[["sum", "far", "integers", "groups"]].isna().all()
    assert "reproduces the response exactly" in many.failures["sum"]
    assert model.fit_many(frame[["sum"]], sigma=1e-15).sigma["sum"] == 1e-15
    with pytest.warns(SingularFitWarning):
        assert model.with_response(responses["sum"]).fit(sigma=1.0).sigma == 1.0


def test_as_many_columns_as_rows_reproduce_anything_and_are_no_reason() -> None:
    """n = 12 rows, 2 + 6 + 6 columns: every response lies in the span of [X Z]."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"a": np.tile(np.arange(6), 2), "b": rng.permutation(np.tile(range(6), 2))})
    data["x"], data["y"] = rng.normal(size=(2, 12))
    model = MixedLM.from_formula("y ~ x + (1 | a) + (1 | b)", data)
    check_not_reproduced(model.design, model.problem)
    y = data["a"] + 2.0 * data["x"]
    once = MixedLM.from_formula("y ~ x + (1 | a)", data.assign(y=y))
    with pytest.raises(DesignError, match=re.escape("the fixed part and (1 | a) together")):
        check_not_reproduced(once.design, once.problem)
