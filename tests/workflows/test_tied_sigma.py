"""Influence with theta held where a fixed standard deviation ties sigma: against fits by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from oracle_residual import Dense
from simulation import quietly
from test_residual_structures import DATA, FORMULA

from mixedlm_ext import MixedLM

KINDS: dict[str, dict[str, str]] = {
    "correlated": {"correlation": "ar1(week | g)"},
    "both": {"correlation": "ar1(week | g)", "variance": "sex"},
    "strata": {"variance": "sex"},
    "plain": {},
}


def everything(result: Any) -> dict[str, float]:
    """All parameters in the user's units, by the names that fix= knows."""
    sds = [float(np.sqrt(C[0, 0])) for C in result.fit_record.random_cov]
    out = {"sigma": float(result.sigma), "g.Intercept": sds[0], "item.Intercept": sds[1]}
    structure = result.fit_record.design.residual
    for parameter in () if structure is None else structure.parameters:
        name = "Residual.rho" if parameter.kind == "cor" else f"ratio(Residual, {parameter.name})"
        out[name] = structure.value_of(parameter)
    return out


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_estimates_without_a_group_where_sigma_is_tied(name: str, reml: bool) -> None:
    """theta[0] is held and so is the standard deviation 1.3 of g: sigma has to stay as well."""
    model = MixedLM.from_formula(FORMULA, DATA, **KINDS[name])
    result = quietly(model, reml=reml, fix={"g.Intercept": 1.3})
    assert_allclose(result.theta[0] * result.sigma, 1.3, rtol=1e-8)
    found = result.influence("item", refit=False)
    assert not found.failures.size
    for item in (0, 3):
        rest = DATA[DATA["item"] != item].reset_index(drop=True)
        alone = MixedLM.from_formula(FORMULA, rest, **KINDS[name])
        by_hand = quietly(alone, reml=reml, fix=everything(result))
        assert_allclose(found.sigma[item], result.sigma, rtol=1e-12)
        assert_allclose(found.params.loc[item], by_hand.params, rtol=1e-6)
        assert_allclose(found.bse.loc[item], by_hand.bse, rtol=1e-6)
        assert_allclose(found.objective[item], by_hand.objective, rtol=1e-8)
        if name != "plain":
            dense = Dense(result.fit_record.design)
            V = dense.V(result.theta, result.fit_record.design.residual.values)
            away = dense.X @ (found.params.loc[item] - result.params).to_numpy()
            rise = 0.0 if reml else away @ np.linalg.solve(V, away) / result.sigma**2
            assert_allclose(found.displacement[item], rise, rtol=1e-5, atol=1e-7)
