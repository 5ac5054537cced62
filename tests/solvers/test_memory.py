"""What does not fit into memory is refused before it is allocated."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixedlm_ext import MixedLM, RandomTerm
from mixedlm_ext.errors import FitError
from mixedlm_ext.products.block_matrix import BlockMatrix
from mixedlm_ext.products.layout import BlockData
from mixedlm_ext.products.noise import EqualVariances
from mixedlm_ext.products.rows import cross_products
from mixedlm_ext.solvers import memory, plan
from mixedlm_ext.solvers.costs import Costs
from mixedlm_ext.solvers.direct import DirectSolver
from mixedlm_ext.solvers.plan import make_plan
from mixedlm_ext.solvers.symbolic import Symbolic


def crossed(rows: int, levels: tuple[int, ...], k: int = 1) -> BlockMatrix:
    """Z'WZ of factors that meet at random."""
    rng = np.random.default_rng(1)
    blocks = [
        BlockData(
            np.concatenate([np.arange(q), rng.integers(0, q, rows - q)]),
            [None, *rng.standard_normal((k - 1, rows))],
            q,
        )
        for q in levels
    ]
    y = rng.standard_normal(rows)
    return cross_products(y, np.ones((rows, 1)), blocks, EqualVariances(rows)).A


# ---------------------------------------------------------------- the machine


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_free_memory(tmp_path: Path) -> None:
    write(tmp_path, {"proc/meminfo": "MemTotal: 900 kB\nMemAvailable:   500 kB\n"})
    assert 500 * 1024 in list(memory._limits(tmp_path))
    assert 0 < memory.available_memory() < np.inf


def test_limits_of_a_container(tmp_path: Path) -> None:
    """Those of its own group and of the groups above; "max" is none."""
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:cpu,memory:/a/b\n3:cpu:/\n0::/c\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "7000",
            "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "2000",
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": "900000",
            "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": "2000",
            "sys/fs/cgroup/c/memory.max": "max",
            "sys/fs/cgroup/c/memory.current": "5",
            "sys/fs/cgroup/memory.max": "4000",
            "sys/fs/cgroup/memory.current": "1000",
        },
    )
    found = list(memory._limits(tmp_path))
    assert {5000.0, 898000.0, 3000.0} <= set(found)
    assert min(found) == 3000.0


def test_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_limits", lambda: iter(()))
    assert memory.available_memory() == np.inf


# ---------------------------------------------------------------- the estimate


@pytest.mark.parametrize(
    ("levels", "k"), [((700, 600), 1), ((900, 700, 300), 1), ((300, 250), 2)], ids=str
)
def test_estimate_of_a_dense_root(levels: tuple[int, ...], k: int) -> None:
    """It holds a factor with its derivatives and covers no more than a few times that."""
    A = crossed(20_000, levels, k)
    solver = DirectSolver.of(A)
    templates = [0.3 * np.eye(k) for k, _ in A.shapes]
    tracemalloc.start()
    factor = solver.factor(templates)
    factor.traces()
    factor.apply(np.ones((int(A.offsets[-1]), 1)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    estimate = solver.symbolic.plan.memory(solver.costs)
    assert 0.5 * peak < estimate < 4.0 * peak


def test_pairs_that_do_not_fit_are_not_listed() -> None:
    """With too little memory for all pairs of neighbours the plan ends with a dense root."""
    rng = np.random.default_rng(2)
    worker = np.repeat(np.arange(3000), 4)
    firm = np.where(np.arange(12_000) % 4 < 2, worker % 900, rng.integers(0, 900, 3000)[worker])
    blocks = [BlockData(codes, [None], codes.max() + 1) for codes in (worker, firm)]
    A = cross_products(
        rng.standard_normal(12_000), np.ones((12_000, 1)), blocks, EqualVariances(12_000)
    ).A
    roomy = Symbolic(A, costs=Costs(small=0, small_rest=0, stage=0.0, pair=0.0, dense_flop=1.0))
    assert len(roomy.plan.stages) > 1
    room = roomy.plan.memory(roomy.costs)
    tight = Costs(small=0, small_rest=0, stage=0.0, pair=0.0, dense_flop=1.0, memory=1e5)
    with pytest.raises(FitError, match="900 of them in one dense matrix"):
        Symbolic(A, costs=tight)
    assert room < 8 * 4 * 900**2


def test_a_plan_that_lists_too_many_edges_ends() -> None:
    """What it would cost says that it does not pay."""
    A = crossed(4000, (1500, 900))
    chains = Costs(small=0, small_rest=0, stage=0.0, pair=0.0, dense_flop=1.0)
    whole = Symbolic(A, costs=chains).plan
    short = make_plan(A.shapes, A.pairs, replace(chains, most_edges=10.0))
    assert len(short.stages) == 1 < len(whole.stages)
    assert short.root_size == 900 > whole.root_size
    assert short.seconds(chains) > whole.seconds(replace(chains, pair=2e-8))


def test_edges_that_are_too_many_are_not_even_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    A = crossed(4000, (1500, 900))
    monkeypatch.setattr(plan, "pairs_in_rows", None)
    assert make_plan(A.shapes, A.pairs, Costs(most_edges=10.0)).root_size == 900


# ---------------------------------------------------------------- the refusal


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 5e6)


@pytest.mark.usefixtures("little_memory")
def test_a_root_that_does_not_fit_is_refused_with_its_size() -> None:
    rng = np.random.default_rng(3)
    f, g = rng.integers(0, 700, 20_000), rng.integers(0, 600, 20_000)
    model = MixedLM(
        rng.standard_normal(20_000), np.ones((20_000, 1)), [RandomTerm(f), RandomTerm(g)]
    )
    with pytest.raises(FitError) as error:
        model.fit(solver="exact")
    text = str(error.value)
    assert "700, 600 random effects" in text
    assert "600 of them in one dense matrix" in text
    assert "0.012 GB of memory" in text and "0.005 GB are free" in text
    assert text.endswith(
        "Fit a linear model with solver='iterative', or join levels with few rows."
    )


@pytest.mark.usefixtures("little_memory")
def test_a_model_that_fits_does_not_mind() -> None:
    g = np.repeat(np.arange(2000), 3)
    rng = np.random.default_rng(4)
    y = rng.standard_normal(6000) + rng.standard_normal(2000)[g]
    assert MixedLM(y, np.ones((6000, 1)), [RandomTerm(g)]).fit().converged
