"""Cores, and BLAS held to one thread."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import threadpoolctl

from charrnn.cpu import blas, cores, one_blas_thread


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_threads():
    """BLAS with two threads, so that a limit shows."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        if set(before) != {2}:
            pytest.skip("this BLAS has no threads")
        yield before


def test_cores_are_those_that_the_process_may_use():
    if hasattr(os, "sched_getaffinity"):
        assert cores() == len(os.sched_getaffinity(0))
    assert cores() >= 1


def test_blas_has_a_name():
    assert blas() != "unknown"


def test_importing_it_loads_neither_numpy_nor_threadpoolctl():
    program = "import sys, charrnn.cpu; sys.exit(bool({'numpy', 'threadpoolctl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_blas_of_numpy_is_found_without_numpy_imported_before():
    program = "from charrnn.cpu import blas; print(blas())"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True
                          ).stdout.strip() == blas()


def test_blas_is_left_as_it_was_found(two_threads):
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads


def test_blas_is_restored_after_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == two_threads


def test_an_inner_context_leaves_the_limit_of_the_outer_one(two_threads):
    with one_blas_thread():
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads


def test_contexts_may_end_in_any_order(two_threads):
    first, second = one_blas_thread(), one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert blas_threads() == two_threads


def test_the_last_to_leave_need_not_be_the_first_that_entered(two_threads):
    """A thread that is not the one that set the limit restores it, while the other one is alive."""
    inside, leave = Event(), Event()

    def enter_first():
        with one_blas_thread():
            inside.set()
            leave.wait()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(enter_first)
        inside.wait()
        with one_blas_thread():
            leave.set()
            first.result()
            assert set(blas_threads()) == {1}
        assert blas_threads() == two_threads


def test_many_threads_enter_and_leave(two_threads):
    start = Barrier(4)

    def work(seed):
        rng = random.Random(seed)
        start.wait()
        for _ in range(300):
            with one_blas_thread():
                if rng.random() < 0.3 and set(blas_threads()) != {1}:
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
    assert blas_threads() == two_threads


def test_a_limit_is_what_it_is_at_the_first_entry(two_threads):
    with one_blas_thread():
        pass
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        with one_blas_thread():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads
