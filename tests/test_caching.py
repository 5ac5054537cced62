"""Cached properties take no lock, so that threads and forks do not stop one another."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mixedlm_ext
from mixedlm_ext.caching import cached_property

PACKAGE = Path(mixedlm_ext.__file__).parent


class Counted:
    """Counts how often its property is computed."""

    def __init__(self) -> None:
        self.times = 0

    @cached_property
    def value(self) -> int:
        """Whatever the count was."""
        self.times += 1
        return self.times


def test_computed_once_and_forgotten_on_demand() -> None:
    counted, other = Counted(), Counted()
    assert [counted.value, counted.value, other.value] == [1, 1, 1]
    assert vars(counted) == {"times": 1, "value": 1}
    del counted.value
    assert counted.value == 2


def test_looks_like_that_of_functools_from_the_class() -> None:
    assert Counted.value.__doc__ == "Whatever the count was."
    assert Counted.value.attrname == "value"


def in_two_threads(first: Callable[[], None], second: Callable[[], None]) -> None:
    """Run both and wait for them, but not forever."""
    threads = [threading.Thread(target=task, daemon=True) for task in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads), "the threads wait for one another"


def test_two_instances_are_computed_at_the_same_time() -> None:
    """Each computation waits until the other has begun."""
    barrier = threading.Barrier(2)

    class Meeting:
        @cached_property
        def met(self) -> bool:
            barrier.wait(timeout=10)
            return True

    def compute() -> None:
        assert Meeting().met

    in_two_threads(compute, compute)
    assert not barrier.broken


def test_threads_that_compute_one_value_share_the_first() -> None:
    barrier = threading.Barrier(2)

    class Shared:
        @cached_property
        def value(self) -> object:
            barrier.wait(timeout=10)
            return object()

    shared, seen = Shared(), []
    in_two_threads(lambda: seen.append(shared.value), lambda: seen.append(shared.value))
    assert seen[0] is seen[1] is shared.value


def test_nothing_in_the_package_uses_the_property_with_the_lock() -> None:
    locked = re.compile(r"functools\.cached_property|from functools import .*cached_property")
    users = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        # compat.py has it for type checkers only
        if path.name not in ("caching.py", "compat.py")
        and locked.search(path.read_text(encoding="utf-8"))
    ]
    assert not users, f"import cached_property from mixedlm_ext.caching in {users}"


FORK_WHILE_THREADS_FIT = """
import os, signal, sys, threading, time
from mixedlm_ext import MixedLM, datasets

data = datasets.{dataset}.load_pandas().data
model = MixedLM.from_formula("{formula}", data)
expected = model.fit().objective
stop = threading.Event()


def fit_on():
    while not stop.is_set():
        result = MixedLM.from_formula("{formula}", data).fit()
        result.pvalues, result.predict(), result.random_effects


threads = [threading.Thread(target=fit_on, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()
for attempt in range(10):
    time.sleep(0.01 + 0.003 * attempt)
    child = os.fork()
    if child == 0:
        result = MixedLM.from_formula("{formula}", data).fit()
        os._exit(0 if abs(result.objective - expected) < 1e-8 else 3)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"the child of fork {{attempt}} hangs")
        time.sleep(0.005)
    if status:
        sys.exit(f"the child of fork {{attempt}} ended with {{status}}")
stop.set()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("dataset", "formula"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
    ],
)
def test_a_fork_while_threads_fit_can_fit(dataset: str, formula: str) -> None:
    code = FORK_WHILE_THREADS_FIT.format(dataset=dataset, formula=formula)
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
