"""What looks wrong with a fit, in plain words."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

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
from mixedlm_ext.display import page
from mixedlm_ext.estimation.fitted import Fitted

__all__ = ["Check", "Finding", "check"]

_WIDTH = 78
_NOTHING = "Nothing stands out."
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
    """What a look at a fit found; prints as text, and is a list in a notebook.

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
        found = list(self._paragraphs()) or [_NOTHING]
        note = [textwrap.fill(self.not_looked_at, _WIDTH)] if self.not_looked_at else []
        return "\n\n".join(found + note)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(finding.text)}</li>\n" for finding in self.findings)
        found = f"<ol>\n{items}</ol>" if items else f"<p>{_NOTHING}</p>"
        note = f"\n<p>{html.escape(self.not_looked_at)}</p>" if self.not_looked_at else ""
        return f"{page('Check of the fit')}\n{found}{note}"

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


def check(fitted: Fitted) -> Check:
    """Look for what is wrong with the fit, and say it in plain words.

    Returns
    -------
    Check
        Prints as text; ``findings`` lists what was found, none if nothing stands out.

    Notes
    -----
    Looked at: convergence; random effects without variance, or nearly, and the combination of
    columns concerned; grouping factors with few levels or with levels of one row; levels and
    rows far from all others; columns of very different size; skewness and tails of residuals
    and random effects; groups without which a coefficient changes by more than its standard
    error.

    Examples
    --------
    >>> from mixedlm_ext import MixedLM, datasets
    >>> data = datasets.penicillin.load_pandas().data
    >>> result = MixedLM.from_formula("diameter ~ 1 + (1 | plate) + (1 | sample)", data).fit()
    >>> result.check()
    Nothing stands out.
    """
    fitted.rows("the checks of its rows")
    fit = fitted.fit
    return Check(
        [finding for look in _LOOKS for finding in look(fit)], _DEAR if is_dear(fit) else ""
    )
