"""A model in a line, and in a notebook."""

from __future__ import annotations

from mixedlm_ext.design import Design
from mixedlm_ext.display import page
from mixedlm_ext.tables import Table

__all__ = ["headline", "model_page"]


def headline(design: Design, nobs: int) -> str:
    """Return a model in a line: its formula, residual structure, rows and levels."""
    levels = dict.fromkeys(f"{len(term.levels):,} levels of {term.group}" for term in design.terms)
    residuals = [] if design.residual is None else [f"residuals {design.residual.text}"]
    return ", ".join([design.text, *residuals, f"{nobs:,} observations", *levels])


def model_page(kind: str, design: Design, nobs: int) -> str:
    """Return the HTML of a model: its line, random terms and fixed effects."""
    terms = Table(
        {
            "columns": [", ".join(term.columns) for term in design.terms],
            "levels": [len(term.levels) for term in design.terms],
        },
        index=[term.name for term in design.terms],
    )
    fixed = f"Fixed effects: {', '.join(design.x_names) or 'none'}."
    return page(f"{kind}: {headline(design, nobs)}", [terms] if len(terms) else [], [fixed])
