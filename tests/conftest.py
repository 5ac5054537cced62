"""Data and fits that tests of several folders look at. Made once a session: nobody changes them."""

from __future__ import annotations

import hypothesis
import pandas as pd
import pytest

from mixedlm_ext import MixedLM, MixedLMResults, datasets

# A busy machine takes its time: that an example is slow is no fault of it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def sleepstudy() -> pd.DataFrame:
    return datasets.sleepstudy.load_pandas().data


@pytest.fixture(scope="session")
def result(sleepstudy: pd.DataFrame) -> MixedLMResults:
    """The fit of a test that needs just any; modules with a fit of their own call theirs so too."""
    return MixedLM.from_formula("Reaction ~ Days + (Days | Subject)", sleepstudy).fit()


@pytest.fixture(scope="session")
def penicillin() -> MixedLMResults:
    data = datasets.penicillin.load_pandas().data
    return MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
