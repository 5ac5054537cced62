"""Fits of lme4 and its companions: the files of data/, and our fit of the same model beside each.

Names, the order of terms and the order within interactions are lme4's in the files; the helpers
translate from ours to lme4's.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from places import DATA

from mixedlm_ext import MixedLM, datasets
from mixedlm_ext.errors import SingularFitWarning

CASES = json.loads((DATA / "lme4.json").read_text())["cases"]
REFERENCE = json.loads((DATA / "inference.json").read_text())
SPLIT_PLOT = "angle ~ recipe * temperature + (1 | recipe:replicate)"


# ---------------------------------------------------------------- from our names to lme4's


def our_formula(formula: str) -> str:
    """Write an R formula in patsy's Python."""
    return re.sub(r"\byield\b", "Q('yield')", formula).replace("^", "**")


def r_column(name: str) -> str:
    """`Intercept`, `recipe[T.B]`, `Machine[A]`, `I(Days ** 2)` as R spells them."""
    if name == "Intercept":
        return "(Intercept)"
    return re.sub(r"\[(?:T\.)?([^\]]*)\]", r"\1", name).replace(" ** ", "^")


def r_group(group: str, reference: dict[str, Any]) -> str:
    """lme4's name of our grouping factor: the same factors, maybe in another order."""
    names = {re.sub(r"\.\d+$", "", row["grp"]) for row in reference["varcorr"]}
    (found,) = [n for n in names if sorted(n.split(":")) == sorted(group.split(":"))]
    return found


def r_level(level: Any, group: str, r_name: str) -> str:
    """A level of ours, a tuple for an interaction, as lme4 glues it together."""
    if not isinstance(level, tuple):
        return str(level)
    value = dict(zip(group.split(":"), level, strict=True))
    return ":".join(str(value[factor]) for factor in r_name.split(":"))


def as_list(x: Any) -> list[Any]:
    """Undo R's habit of writing a vector of length one as a scalar."""
    return x if isinstance(x, list) else [x]


def by_name(x: Any) -> dict[str, float]:
    """A named vector; R writes an empty one as a list."""
    return x or {}


# ---------------------------------------------------------------- the fits


class Case:
    """One fit of the file and ours."""

    def __init__(self, reference: dict[str, Any]) -> None:
        self.reference = reference
        name = Path(reference["data"]).stem
        if name == "sleepstudy_weights":
            data = pd.read_csv(DATA / reference["data"], dtype={"Subject": str})
        else:
            data = getattr(datasets, name).load_pandas().data
        formula = our_formula(reference["formula"])
        self.model = MixedLM.from_formula(formula, data, weights=reference["weights"])
        with warnings.catch_warnings(record=True) as self.warnings:
            warnings.simplefilter("always", SingularFitWarning)
            self.result = self.model.fit(reml=reference["reml"])

    def __getitem__(self, key: str) -> Any:
        return self.reference[key]

    @property
    def sigma(self) -> float:
        """Residual standard deviation, the yardstick of what is near zero."""
        return float(self.reference["sigma"])

    @property
    def empty_X_by_reml(self) -> bool:
        """lme4 1.1-31 adds the log-determinant of an empty matrix, an arbitrary number."""
        return self.reference["reml"] and not self.reference["fixef"]

    @property
    def objective(self) -> float:
        """lme4's criterion; where that is an artefact, minus twice lme4's logLik, which is not."""
        return -2 * self["logLik"] if self.empty_X_by_reml else self["objective"]

    def effects(self) -> Iterator[tuple[str, str, pd.Series]]:
        """For each column lme4's group and column, and our modes by lme4's levels."""
        for term in self.model.random_terms:
            group = r_group(term.group, self.reference)
            modes = self.result.random_effects[term.name]
            frame = modes.set_axis([r_level(x, term.group, group) for x in modes.index])
            for column in frame:
                yield group, r_column(column), frame[column]


def case_id(reference: dict[str, Any]) -> str:
    weights = "weighted " if reference["weights"] else ""
    name = Path(reference["data"]).stem.removesuffix("_weights")
    formula = reference["formula"].replace(" ", "")
    return f"{weights}{name} {formula} {'REML' if reference['reml'] else 'ML'}"


# ---------------------------------------------------------------- unbalanced data


def unbalanced(name: str) -> pd.DataFrame:
    """The data of the reference: some rows left out, for "cells" whole combinations too."""
    source = "cake" if name == "cells" else name
    data = getattr(datasets, source).load_pandas().data
    data = data.drop(index=data.index[np.array(REFERENCE["left_out"][source]) - 1])
    if name == "cells":
        levels = data["recipe"].astype(str) + data["temperature"].astype(str)
        data = data[~levels.isin(["B185", "A175"])]
    return data


def fit(formula: str, data: pd.DataFrame, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dropped columns, singular fits
        return MixedLM.from_formula(our_formula(formula), data).fit(**arguments)
