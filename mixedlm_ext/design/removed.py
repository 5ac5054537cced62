"""The one guard in front of rows: `remove_data` may have taken them away, or they are elsewhere."""

from __future__ import annotations

from mixedlm_ext.design.design import Design
from mixedlm_ext.errors import RowsRemovedError

__all__ = ["has_rows", "require_rows"]


def has_rows(design: Design) -> bool:
    """Say whether the rows are still there."""
    return len(design.rows) > 0


def require_rows(design: Design, what: str = "") -> None:
    """Raise unless the rows are still there.

    Parameters
    ----------
    design : Design
    what : str
        What they are needed for, as it follows "and with them".

    Raises
    ------
    RowsRemovedError
    """
    if has_rows(design):
        return
    elsewhere = design.rows.elsewhere
    if elsewhere is not None:
        raise elsewhere.gone(what)
    if what:
        raise RowsRemovedError(
            f"the data of the fit were removed by remove_data(), and with them {what}. "
            "Predict at new data, or fit the model again."
        )
    raise RowsRemovedError(
        "the data were removed from this model (remove_data). Build the model again to "
        "work with its rows."
    )
