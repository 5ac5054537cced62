"""Summaries as files: arrays in NumPy's npz, a description in JSON, a checksum of each.

Nothing in a file is code: arrays are read without pickle, labels come back as plain values.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixedlm_ext.batches.facts import RowFacts, VectorFacts
from mixedlm_ext.batches.levels import GroupCoder, coder_of, values_of_levels
from mixedlm_ext.batches.reading import Tally
from mixedlm_ext.batches.summing import Summed
from mixedlm_ext.errors import DataError
from mixedlm_ext.prediction.portable import decode, encode_keys
from mixedlm_ext.products.basis import Basis
from mixedlm_ext.products.batches import Counts
from mixedlm_ext.products.block_matrix import BlockMatrix, Coupling
from mixedlm_ext.products.layout import Layout, Place
from mixedlm_ext.products.products import CrossProducts
from mixedlm_ext.sites.coding import parsed
from mixedlm_ext.sites.sums import SiteSums, specs_of

__all__ = ["FORMAT", "load", "save"]

MARK = "mixedlm_ext summary"
"""The key of the description that says what it is."""
FORMAT = 1
"""Number of the layout of the file, the value of that key."""

Arrays = dict[str, npt.NDArray[Any]]

_VECTORS = ("y", "residual", "offset", "weights")
_COLUMNS = ("low", "high", "ones", "nonzero")
_OF_TERMS = ("low", "high", "one_level", "level")
_TALLY = ("n_data", "n_subset", "n_missing", "n_zero_weight", "n_used")


def save(sums: SiteSums, path: str | os.PathLike[str]) -> None:
    """Write sums to a file, which appears when it is complete."""
    name = os.fspath(path)
    arrays = _arrays(sums)
    description = {
        MARK: FORMAT,
        "coding": {name: value for name, value in sums.coding.items() if name != "parsed"},
        "groups": [_group(group) for group in sums.groups.values()],
        "places": [[p.block, p.first] for p in sums.summed.products.layout.places],
        "pairs": [list(pair) for pair in sums.summed.products.couplings],
        "indicators": [term.indicators for term in sums.summed.facts.terms],
        "tally": {key: int(getattr(sums.summed.tally, key)) for key in _TALLY},
        "checksums": {key: _checksum(array) for key, array in arrays.items()},
    }
    text = np.frombuffer(json.dumps(description).encode(), dtype=np.uint8)
    handle, partial = tempfile.mkstemp(dir=os.path.dirname(name) or ".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            checked: Any = {"description": text, "checksum": np.array(_checksum(text)), **arrays}
            np.savez_compressed(file, **checked)
        os.replace(partial, name)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def load(path: str | os.PathLike[str]) -> SiteSums:
    """Read sums from a file that `save` wrote.

    Raises
    ------
    DataError
        If the file holds no summary, is damaged, or is of another version.
    """
    name = repr(os.fspath(path))
    description, arrays = _read(path, name)
    version = description.get(MARK)
    if version is None:
        raise DataError(f"{name} holds no summary. Write one with summarize(...).save(path).")
    if version != FORMAT:
        raise DataError(
            f"{name} has the layout {version} of summaries; this version of mixedlm_ext reads "
            f"layout {FORMAT}. Make it again, with the same version at all sites."
        )
    for key, checksum in description["checksums"].items():
        if key not in arrays or _checksum(arrays[key]) != checksum:
            raise _damaged(name, f"its part {key!r} is not what was written")
    try:
        return _sums(description, arrays)
    except DataError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}") from error


def _read(path: str | os.PathLike[str], name: str) -> tuple[dict[str, Any], Arrays]:
    """Return the description and the arrays of a file."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            if not hasattr(file, "files") or "description" not in file.files:
                raise DataError(f"{name} holds no summary. Write one with summarize(...).save().")
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise DataError(f"there is no file {name}.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        why = "it has no arrays of plain numbers" if "pickle" in str(error) else str(error)
        raise _damaged(name, why) from error
    text = arrays.pop("description")
    checksum = arrays.pop("checksum", None)
    if checksum is None or _checksum(text) != str(checksum):
        raise _damaged(name, "its description is not what was written")
    description: dict[str, Any] = json.loads(text.tobytes().decode())
    return description, arrays


def _damaged(name: str, why: str) -> DataError:
    """Return the error of a file that is not as it was written."""
    return DataError(
        f"{name} is no summary, or a damaged one ({why}). Ask the site to write it again."
    )


def _checksum(array: npt.NDArray[Any]) -> str:
    """Return SHA-256 of the type, the shape and the values of an array."""
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


# --- to arrays ------------------------------------------------------------------------------------


def _arrays(sums: SiteSums) -> Arrays:
    """Return all numbers of some sums by name."""
    cp, facts, counts = sums.summed.products, sums.summed.facts, sums.summed.counts
    assert counts is not None
    out: Arrays = {
        "R": cp.layout.R,
        "beta0": cp.layout.beta0,
        "shapes": np.array(cp.shapes, dtype=np.int64).reshape(-1, 2),
        "ZX": cp.ZX,
        "Zy": cp.Zy,
        "XX": cp.XX,
        "Xy": cp.Xy,
        "n": np.array(cp.n),
        "totals": np.array([cp.yy, cp.logdet_W]),
    }
    for i, place in enumerate(cp.layout.places):
        out[f"whitening{i}"] = place.whitening
    for i, (D, rows) in enumerate(zip(cp.diagonal, counts.levels)):
        out[f"diagonal{i}"], out[f"count{i}"] = D, rows
    for (i, j), c in cp.couplings.items():
        out[f"rows{i}_{j}"], out[f"columns{i}_{j}"] = c.rows, c.columns
        out[f"values{i}_{j}"] = c.values
    for i, root in enumerate(sums.roots):
        out[f"root{i}"] = root
    for g, group in enumerate(sums.groups.values()):
        if isinstance(group.levels, pd.MultiIndex):
            for f, codes in enumerate(group.levels.codes):
                out[f"group{g}_{f}"] = np.asarray(codes, dtype=np.int64)
    return out | _facts(facts)


def _facts(facts: RowFacts) -> Arrays:
    """Return the extremes and comparisons by name."""
    out: Arrays = {}
    for name in _VECTORS:
        own: VectorFacts = getattr(facts, name)
        out[f"facts_{name}"] = np.array([own.n, own.low, own.high, own.total])
    for name in _COLUMNS:
        out[f"facts_X_{name}"] = getattr(facts.X, name)
    for i, term in enumerate(facts.terms):
        for name in _OF_TERMS:
            out[f"facts_term{i}_{name}"] = getattr(term, name)
    for i, j in facts.pairs.near:
        out[f"near{i}_{j}"], out[f"equal{i}_{j}"] = facts.pairs.near[i, j], facts.pairs.equal[i, j]
    return out


def _group(group: GroupCoder) -> dict[str, Any]:
    """Return the labels of a grouping in terms of JSON."""
    levels = group.levels
    several = isinstance(levels, pd.MultiIndex)
    factors = list(levels.levels) if isinstance(levels, pd.MultiIndex) else [levels]
    names = [str(name) for name in levels.names]
    return {
        "names": names,
        "several": several,
        "levels": [encode_keys(f.tolist(), f"a level of {n!r}") for f, n in zip(factors, names)],
        "dtypes": [str(factor.dtype) for factor in factors],
        "categories": [
            None if own is None else encode_keys(own.tolist(), "a category")
            for own in group.categories
        ],
    }


# --- from arrays ----------------------------------------------------------------------------------


def _sums(description: Mapping[str, Any], arrays: Arrays) -> SiteSums:
    """Put sums together again."""
    coding = description["coding"]
    keys = list(dict.fromkeys(spec.group for spec in parsed(coding).random))
    groups = {
        key: _coder(own, [arrays[f"group{g}_{f}"] for f in range(len(own["names"]))]
                    if own["several"] else [])
        for g, (key, own) in enumerate(zip(keys, description["groups"], strict=True))
    }  # fmt: skip
    shapes = tuple((int(k), int(q)) for k, q in arrays["shapes"])
    places = tuple(
        Place(int(block), int(first), Basis(arrays[f"whitening{i}"]))
        for i, (block, first) in enumerate(description["places"])
    )
    if len(places) != len(coding["terms"]):
        raise ValueError("a term has no place")
    layout = Layout(shapes, places, Basis(arrays["R"]), arrays["beta0"])
    couplings = {
        (i, j): Coupling(*(arrays[f"{n}{i}_{j}"] for n in ("rows", "columns", "values")))
        for i, j in description["pairs"]
    }
    A = BlockMatrix(shapes, [arrays[f"diagonal{i}"] for i in range(len(shapes))], couplings)
    yy, logdet_W = map(float, arrays["totals"])
    cp = CrossProducts(
        layout=layout,
        n=int(arrays["n"]),
        A=A,
        ZX=arrays["ZX"],
        Zy=arrays["Zy"],
        XX=arrays["XX"],
        Xy=arrays["Xy"],
        yy=yy,
        logdet_W=logdet_W,
    )
    facts = RowFacts(coding["x_names"], specs_of(coding, groups), parsed(coding).response)
    _set_facts(facts, description, arrays)
    counts = Counts([arrays[f"count{i}"] for i in range(len(shapes))], {})
    summed = Summed(cp, facts, Tally(**description["tally"]), counts)
    return SiteSums(coding, groups, summed, [arrays[f"root{i}"] for i in range(len(places) + 1)])


def _coder(own: Mapping[str, Any], codes: list[npt.NDArray[np.int64]]) -> GroupCoder:
    """Return the levels of a grouping."""
    factors = [
        pd.Index([decode(v) for v in values], dtype=_dtype(dtype), name=name, tupleize_cols=False)
        for values, dtype, name in zip(own["levels"], own["dtypes"], own["names"], strict=True)
    ]
    categories = [
        None if values is None else pd.Index([decode(v) for v in values])
        for values in own["categories"]
    ]
    levels: pd.Index = factors[0]
    if own["several"]:
        levels = pd.MultiIndex(levels=factors, codes=codes, names=own["names"])  # type: ignore[arg-type]
    return coder_of(levels, [values_of_levels(levels, categories)])


def _dtype(name: str) -> Any:
    """Return the type of labels; of categories, whose labels are of any type, None."""
    return None if name == "category" else name


def _set_facts(facts: RowFacts, description: Mapping[str, Any], arrays: Arrays) -> None:
    """Fill in extremes and comparisons."""
    for name in _VECTORS:
        own: VectorFacts = getattr(facts, name)
        n, own.low, own.high, own.total = map(float, arrays[f"facts_{name}"])
        own.n = int(n)
    facts.X.n = facts.y.n
    for name in _COLUMNS:
        setattr(facts.X, name, arrays[f"facts_X_{name}"])
    for i, term in enumerate(facts.terms):
        term.n, term.indicators = facts.y.n, bool(description["indicators"][i])
        for name in _OF_TERMS:
            setattr(term, name, arrays[f"facts_term{i}_{name}"])
    for i, j in facts.pairs.near:
        facts.pairs.near[i, j] = arrays[f"near{i}_{j}"]
        facts.pairs.equal[i, j] = arrays[f"equal{i}_{j}"]
