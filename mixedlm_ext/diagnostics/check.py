"""What looks wrong with a fit, in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixedlm_ext.diagnostics.check_data import (
    extreme_levels,
    extreme_rows,
    influential_groups,
    is_dear,
    normality,
)
from mixedlm_ext.diagnostics.check_model import (
    Finding,
    convergence,
    few_levels,
    redundancy,
    scales,
    single_rows,
    singularity,
)

if TYPE_CHECKING:
    from mixedlm_ext.results import MixedLMResults

__all__ = ["Check", "Finding", "check_fit"]

_WIDTH = 78
_DEAR = (
    "Not looked at, because it takes a while in a model of this size: whether results depend on "
    "single levels. Ask influence(groups=...)."
)
_LOOKS = (
    convergence,
    redundancy,
    singularity,
    few_levels,
    single_rows,
    scales,
    extreme_rows,
    extreme_levels,
    normality,
    influential_groups,
)


@dataclass(frozen=True)
class Check:
    """What a look at a fit found; prints as text.

    Attributes
    ----------
    findings : list of Finding
        Each with a ``topic``, the random-effects term ``where`` (or None), and the ``text``.
    not_looked_at : str
        What would have taken too long, or "".
    """

    findings: list[Finding]
    not_looked_at: str = ""

    def __str__(self) -> str:
        found = list(self._paragraphs()) or ["Nothing stands out."]
        note = [textwrap.fill(self.not_looked_at, _WIDTH)] if self.not_looked_at else []
        return "\n\n".join(found + note)

    __repr__ = __str__

    def _paragraphs(self) -> Iterator[str]:
        """Number and wrap the findings."""
        for number, finding in enumerate(self.findings, start=1):
            head = f"{number}. "
            yield textwrap.fill(
                finding.text,
                _WIDTH,
                initial_indent=head,
                subsequent_indent=" " * len(head),
                break_long_words=False,
                break_on_hyphens=False,
            )


def check_fit(results: MixedLMResults) -> Check:
    """Look at a fit from every side (see `DiagnosticMethods.check`)."""
    results._need_rows("the checks of its rows")
    fit = results.fit_record
    return Check(
        [finding for look in _LOOKS for finding in look(fit)], _DEAR if is_dear(fit) else ""
    )
