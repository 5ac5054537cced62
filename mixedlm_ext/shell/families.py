"""Families and links by the names that the command line takes."""

from __future__ import annotations

import argparse
from typing import Any

from statsmodels.genmod import families
from statsmodels.genmod.families import links

from mixedlm_ext.errors import did_you_mean
from mixedlm_ext.shell.reading import UsageError

__all__ = ["FAMILIES", "LINKS", "family_of"]

FAMILIES: dict[str, Any] = {
    "binomial": families.Binomial,
    "poisson": families.Poisson,
    "negative-binomial": lambda link: families.NegativeBinomial(link, alpha=1.0),
    "gamma": families.Gamma,
    "inverse-gaussian": families.InverseGaussian,
    "gaussian": families.Gaussian,
}
"""By name what makes a family of a link; alpha of the negative binomial is estimated."""
LINKS: dict[str, Any] = {
    "logit": links.Logit,
    "probit": links.Probit,
    "cloglog": links.CLogLog,
    "loglog": links.LogLog,
    "cauchit": links.Cauchy,
    "log": links.Log,
    "identity": links.Identity,
    "inverse": links.InversePower,
    "inverse-squared": links.InverseSquared,
    "sqrt": links.Sqrt,
}
_ONLY_GENERALIZED = ("link", "nagq", "exposure")
_ONLY_LINEAR = ("ml", "ddf", "correlation", "variance")


def family_of(options: argparse.Namespace) -> Any:
    """Return the family that the options ask for, None for a linear model.

    Raises
    ------
    UsageError
        If a name is not known, or options of the other kind of model are among them.
    """
    if options.family is None:
        for name in _ONLY_GENERALIZED:
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} belongs to a generalized model. Name its --family")
        return None
    for name in _ONLY_LINEAR:
        if getattr(options, name) not in (None, False):
            raise UsageError(
                f"--{name} is of linear models; generalized ones are fitted by maximum likelihood "
                "and tested by the normal distribution. Leave it out"
            )
    make = _known(options.family, FAMILIES, "--family")
    link = None if options.link is None else _known(options.link, LINKS, "--link")()
    try:
        return make(link)
    except ValueError:
        raise UsageError(
            f"the family {options.family} does not go with the link {options.link}"
        ) from None


def _known(name: str, known: dict[str, Any], option: str) -> Any:
    """Return what a name stands for."""
    found = known.get(name.lower().replace("_", "-"))
    if found is None:
        near = did_you_mean(name, known)
        raise UsageError(f"{option} {name} is not known.{near} Use one of {', '.join(known)}")
    return found
