"""The cores that a process may use, and BLAS with one thread."""

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import threadpoolctl

from charrnn.cpu import blas, core_numbers, cores, one_blas_thread, within_quota
from charrnn.mpi import Ranks
from charrnn.nn import parallel


def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


@pytest.fixture
def two_threads():
    """Set BLAS to two threads, so that a limit has a visible effect."""
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        if set(before) != {2}:
            pytest.skip("this BLAS has no threads")
        yield before


def test_the_affinity_mask_and_the_quota_limit_the_cores():
    if hasattr(os, "sched_getaffinity"):
        assert core_numbers() == os.sched_getaffinity(0)
    assert cores() == within_quota(len(core_numbers()))
    assert cores() >= 1


V1 = "4:memory:/box\n2:cpu,cpuacct:/box/inner\n1:name=systemd:/\n"
QUOTAS = {
    "no control groups": ({}, 8),
    "version 2": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "version 2, rounded up": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
    "version 2, less than one core": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "5000 100000\n"}, 1),
    "version 2, no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
    "version 2, more than the cores": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
    "version 2, of a parent group": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                                     "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 3),
    "version 2, the smaller of two": ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
                                       "sys/fs/cgroup/a/b/cpu.max": "100000 50000\n"}, 2),
    "version 2, path of the host": ({"proc/self/cgroup": "0::/box/4f\n", "sys/fs/cgroup/cpu.max": "50000 25000\n"}, 2),
    "version 1": ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu,cpuacct/box/inner/cpu.cfs_quota_us": "150000\n",
                   "sys/fs/cgroup/cpu,cpuacct/box/inner/cpu.cfs_period_us": "50000\n"}, 3),
    "version 1, no limit": ({"proc/self/cgroup": V1, "sys/fs/cgroup/cpu,cpuacct/box/inner/cpu.cfs_quota_us": "-1\n",
                             "sys/fs/cgroup/cpu,cpuacct/box/inner/cpu.cfs_period_us": "50000\n"}, 8),
    "version 1, path of the host": ({"proc/self/cgroup": "1:cpu:/box/4f\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                                     "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
    "version 1, mounted under one of two names": (
        {"proc/self/cgroup": "1:cpuacct,cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
         "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000"}, 2),
    "version 1, another controller": (
        {"proc/self/cgroup": "1:cpuset:/\n", "sys/fs/cgroup/cpuset/cpu.cfs_quota_us": "100000",
         "sys/fs/cgroup/cpuset/cpu.cfs_period_us": "100000"}, 8),
    "unreadable": ({"proc/self/cgroup": "0::/\nno colon\n\n", "sys/fs/cgroup/cpu.max": "much\n"}, 8),
    "a period of zero": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, 8),
}


@pytest.mark.parametrize(("files", "expected"), QUOTAS.values(), ids=QUOTAS)
def test_the_quota_of_a_container_limits_the_cores(files, expected, tmp_path):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert within_quota(8, tmp_path) == expected


@pytest.mark.parametrize(("batch_size", "cores_each", "count", "threads"), [
    (32, 64, 1, 4), (32, 2, 1, 2), (7, 64, 1, 1), (15, 64, 1, 1), (16, 64, 1, 2), (64, 64, 4, 2), (8, 9, 4, 1)])
def test_each_thread_has_at_least_eight_streams_by_default(batch_size, cores_each, count, threads, monkeypatch):
    ranks = Ranks(cores=cores_each)
    ranks.count = count
    monkeypatch.setattr(parallel, "ranks", lambda: ranks)
    assert parallel.default_threads(batch_size) == threads


def test_blas_has_a_name():
    assert blas() != "unknown"


def test_importing_the_module_loads_neither_numpy_nor_threadpoolctl():
    program = "import sys, charrnn.cpu; sys.exit(bool({'numpy', 'threadpoolctl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_finds_the_blas_of_numpy_before_numpy_is_imported():
    program = "from charrnn.cpu import blas; print(blas())"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True
                          ).stdout.strip() == blas()


def test_restores_the_number_of_blas_threads(two_threads):
    with one_blas_thread():
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads


def test_restores_the_number_of_blas_threads_after_an_error(two_threads):
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas_threads() == two_threads


def test_an_inner_context_keeps_the_limit_of_the_outer_one(two_threads):
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


def test_the_last_thread_to_leave_restores_the_limit_that_the_first_one_set(two_threads):
    """The thread that set the limit is still alive when another one restores it."""
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


def test_many_threads_can_enter_and_leave_at_once(two_threads):
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


def test_restores_the_limit_that_was_set_at_the_first_entry(two_threads):
    with one_blas_thread():
        pass
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        with one_blas_thread():
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {1}
    assert blas_threads() == two_threads
