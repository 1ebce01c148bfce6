"""Several threads give the same results as one thread, and an aborted call leaves a team usable."""

import signal
import time
from threading import Event, main_thread

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.inference.evaluation import evaluate
from charrnn.mpi import Ranks
from charrnn.nn.cells import CELLS
from charrnn.nn.dropout import dropout_masks
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team
from charrnn.randomness import generator

T, B, V = 7, 5, 11


def a_window(threads, dtype=np.float64, cell="lstm", reset=None):
    config = ModelConfig(cell, hidden_size=6, layers=2, dropout=0.25)
    model = CharRNN(config, V, generator(1, "weights"), dtype)
    ids = generator(2, "check").integers(V, size=(T + 1, B))
    loss, gradients, state = Team(model, threads).loss_and_gradients(
        ids[:-1], ids[1:], model.initial_state(B), lambda first, last: dropout_masks(config, 3, 4, T, dtype, first, last),
        reset=reset)
    return loss, gradients.flat.copy(), np.array(state)


@pytest.mark.parametrize("threads", [2, 3, 5, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_several_threads_give_the_same_result_as_one_thread(cell, threads):
    for one, several in zip(a_window(1, cell=cell), a_window(threads, cell=cell)):
        np.testing.assert_allclose(several, one, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_several_threads_start_documents_where_one_thread_does(cell, threads):
    reset = generator(5, "check").random((T, B)) < 0.3
    assert len({tuple(column) for column in reset.T}) > 3
    for one, several, other in zip(a_window(1, cell=cell, reset=reset), a_window(threads, cell=cell, reset=reset),
                                   a_window(1, cell=cell)):
        np.testing.assert_allclose(several, one, rtol=1e-10, atol=1e-14)
        assert not np.allclose(one, other)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_number_of_threads_gives_the_same_bits(threads):
    first = a_window(threads, np.float32)
    for _ in range(5):
        for one, again in zip(first, a_window(threads, np.float32)):
            np.testing.assert_array_equal(one, again)


class TwoRanks(Ranks):
    """Rank 0 of two; the other rank always returns the same values."""

    def __init__(self, others):
        super().__init__()
        self.count, self.others = 2, others

    def all(self, value):
        return [value, self.others]


def test_results_of_ranks_are_in_the_order_of_the_tasks():
    team = Team(CharRNN(ModelConfig(hidden_size=4), V), 2, TwoRanks(["b", "d"]))
    assert team.map(str.lower, ["A", "B", "C", "D", "E"]) == ["a", "b", "c", "d", "e"]


def test_an_error_in_a_thread_reaches_the_caller():
    team = Team(CharRNN(ModelConfig(hidden_size=4), V), 2)
    with pytest.raises(ValueError, match="out of range"):
        team.loss_and_gradients(np.full((T, B), V), np.zeros((T, B), int), team.model.initial_state(B))


# An aborted call ends, and leaves the team usable

def a_team():
    return Team(CharRNN(ModelConfig(hidden_size=4), V, generator(1, "weights")), 2)


def fail(_):
    raise ZeroDivisionError


def test_the_tasks_of_an_aborted_call_have_ended_before_it_raises():
    team, started, ended = a_team(), Event(), Event()

    def work(task):
        if task == "fail":
            started.wait()
            raise ZeroDivisionError
        started.set()
        while not team.is_aborted:
            time.sleep(0.001)
        time.sleep(0.05)
        ended.set()

    with pytest.raises(ZeroDivisionError):
        team.map(work, ["fail", "wait"])
    assert ended.is_set()


def test_tasks_that_have_not_begun_are_cancelled():
    team, done = a_team(), []

    def work(task):
        if task == 0:
            raise ZeroDivisionError
        time.sleep(0.02)
        done.append(task)

    with pytest.raises(ZeroDivisionError):
        team.map(work, list(range(50)))
    assert len(done) < 5


def test_an_evaluation_after_an_aborted_call_is_correct():
    team, ids = a_team(), generator(3, "check").integers(V, size=9000).astype(np.uint8)
    expected = evaluate(team.model, ids, streams=40)
    with pytest.raises(ZeroDivisionError):
        team.map(fail, [1, 2, 3])
    assert evaluate(team.model, ids, streams=40, team=team) == expected
    assert not team.is_aborted


def test_a_window_after_an_aborted_one_is_correct():
    team, ids = a_team(), generator(3, "check").integers(V, size=(T + 1, B))

    def window(masks=None):
        loss, gradients, _ = team.loss_and_gradients(ids[:-1], ids[1:], team.model.initial_state(B), masks)
        return loss, gradients.flat.tobytes()

    expected = window()
    with pytest.raises(ZeroDivisionError):
        window(lambda first, last: fail(first))
    assert window() == expected


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to one thread")
def test_ctrl_c_ends_a_call_and_a_later_call_works():
    team = a_team()

    def work(task):
        if task == 0:
            time.sleep(0.05)
            signal.pthread_kill(main_thread().ident, signal.SIGINT)
        while not team.is_aborted:
            time.sleep(0.001)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores the signal
    try:
        with pytest.raises(KeyboardInterrupt):
            team.map(work, [0, 1])
    finally:
        signal.signal(signal.SIGINT, before)
    assert team.map(str, [1, 2, 3]) == ["1", "2", "3"]


def test_a_call_waits_for_tasks_left_by_an_aborted_one(monkeypatch):
    """A second Ctrl-C ends the wait of the first call, while one of its tasks is still running."""
    from charrnn.nn import parallel

    team, started, events = a_team(), Event(), []

    def work(task):
        if task == "fail":
            started.wait()
            raise ZeroDivisionError
        started.set()
        time.sleep(0.2)
        events.append("old")

    right = parallel.wait

    def interrupted(futures):
        if futures:
            monkeypatch.setattr(parallel, "wait", right)
            raise KeyboardInterrupt
        return right(futures)

    monkeypatch.setattr(parallel, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        team.map(work, ["fail", "run"])
    assert not events
    team.map(lambda task: events.append("new"), [1, 2])
    assert events == ["old", "new", "new"]


@pytest.mark.parametrize("threads", [1, 3])
def test_warming_up_does_not_change_the_result(threads):
    model = CharRNN(ModelConfig(hidden_size=4), 5, np.random.default_rng(1))
    ids = np.random.default_rng(2).integers(5, size=(7, 6))
    state = model.initial_state(6)
    team = Team(model, threads)
    loss, gradients, _ = team.loss_and_gradients(ids, ids, state)
    before = gradients.flat.tolist()
    team.warm_up()
    other_loss, other_gradients, _ = team.loss_and_gradients(ids, ids, state)
    assert (loss, before) == (other_loss, other_gradients.flat.tolist())
