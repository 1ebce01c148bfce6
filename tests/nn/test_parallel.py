"""Streams shared out over threads give what one thread gives."""

import numpy as np
import pytest
import threadpoolctl

from charrnn.config import ModelConfig
from charrnn.mpi import Ranks
from charrnn.nn.cells import CELLS
from charrnn.nn.dropout import dropout_masks
from charrnn.nn.model import CharRNN
from charrnn.nn.parallel import Team, one_blas_thread
from charrnn.randomness import generator

T, B, V = 7, 5, 11


def a_window(threads, dtype=np.float64, cell="lstm", fresh=None):
    config = ModelConfig(cell, hidden_size=6, layers=2, dropout=0.25)
    model = CharRNN(config, V, generator(1, "weights"), dtype)
    ids = generator(2, "check").integers(V, size=(T + 1, B))
    loss, gradients, state = Team(model, threads).loss_and_gradients(
        ids[:-1], ids[1:], model.initial_state(B), lambda first, last: dropout_masks(config, 3, 4, T, dtype, first, last),
        fresh=fresh)
    return loss, gradients.flat.copy(), np.array(state)


@pytest.mark.parametrize("threads", [2, 3, 5, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_give_what_one_thread_gives(cell, threads):
    for one, several in zip(a_window(1, cell=cell), a_window(threads, cell=cell)):
        np.testing.assert_allclose(several, one, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_threads_start_documents_where_one_thread_does(cell, threads):
    fresh = generator(5, "check").random((T, B)) < 0.3
    assert len({tuple(column) for column in fresh.T}) > 3
    for one, several, other in zip(a_window(1, cell=cell, fresh=fresh), a_window(threads, cell=cell, fresh=fresh),
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
    """Rank 0 of two, where the other one always answers the same."""

    def __init__(self, others):
        super().__init__()
        self.count, self.others = 2, others

    def all(self, value):
        return [value, self.others]


def test_what_ranks_have_done_is_put_in_the_order_of_the_tasks():
    team = Team(CharRNN(ModelConfig(hidden_size=4), V), 2, TwoRanks(["b", "d"]))
    assert team.map(str.lower, ["A", "B", "C", "D", "E"]) == ["a", "b", "c", "d", "e"]


def test_blas_is_left_as_it_was_found():
    def threads():
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        with one_blas_thread():
            assert set(threads()) == {1}
        assert threads() == before


def test_an_error_in_a_thread_reaches_the_caller():
    team = Team(CharRNN(ModelConfig(hidden_size=4), V), 2)
    with pytest.raises(IndexError):
        team.loss_and_gradients(np.full((T, B), V), np.zeros((T, B), int), team.model.initial_state(B))
