"""Checks that a user may relax by name: ``check={"levels": "warn"}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mixedlm_ext.errors import DesignError, DesignWarning, did_you_mean, warn_caller

__all__ = ["CHECKS", "Checks", "read_checks"]

CHECKS = {
    "levels": "error",
    "slopes": "error",
    "repeated": "error",
    "identified": "error",
    "redundant": "ignore",
    "reproduced": "error",
    "rank": "warn",
}
"""Names of the checks, and what is done by default when one finds something."""

_ACTIONS = ("error", "warn", "ignore")


@dataclass(frozen=True)
class Checks:
    """What to do with what each check finds.

    Attributes
    ----------
    given : dict of str to str
        The user's choices; `CHECKS` has the defaults.
    """

    given: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.given.get(name, CHECKS[name])

    def report(self, name: str, error: DesignError | Exception) -> None:
        """Raise an error, make it a warning, or say nothing, as is wanted of check `name`."""
        if self[name] == "error":
            raise error
        if self[name] == "warn":
            warn_caller(str(error), DesignWarning)


def read_checks(check: Any) -> Checks:
    """Read the argument ``check`` of `MixedLM` and `MixedLM.from_formula`.

    Parameters
    ----------
    check : mapping of str to {"error", "warn", "ignore"}, or None

    Returns
    -------
    Checks

    Raises
    ------
    DesignError
        If it is no mapping, a name is no check, or a value no action.

    Examples
    --------
    >>> read_checks({"levels": "warn"})["levels"], read_checks(None)["levels"]
    ('warn', 'error')
    """
    if check is None:
        return Checks()
    if not isinstance(check, Mapping):
        raise DesignError(
            f"check={check!r} names no check. Pass a dict, such as check={{'levels': 'warn'}}; "
            f"the checks are {', '.join(map(repr, CHECKS))}."
        )
    for name, action in check.items():
        if name not in CHECKS:
            raise DesignError(
                f"check has {name!r}, which is no check.{did_you_mean(name, CHECKS)} "
                f"The checks are {', '.join(map(repr, CHECKS))}."
            )
        if not isinstance(action, str) or action not in _ACTIONS:
            raise DesignError(
                f"check={{{name!r}: {action!r}}}: {action!r} is not 'error', 'warn' or 'ignore'."
                f"{did_you_mean(action, _ACTIONS)}"
            )
    return Checks(dict(check))
