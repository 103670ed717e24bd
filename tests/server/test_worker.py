import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest
import torch
from toys import toy

from ganvas.errors import UserError
from ganvas.sample import Model, render
from ganvas.server.counters import Counters
from ganvas.server.worker import Kind, Worker


class Slow(Worker):
    """Waits before it does anything, and remembers how many pictures it made at once."""

    def __init__(self, model: Model) -> None:
        super().__init__(model, Counters())
        self.go, self.sizes = threading.Event(), list[int]()
        self.thread.submit(self.go.wait, 20)

    def _drawn(self, taken):
        self.sizes.append(len(taken))
        return super()._drawn(taken)


@pytest.fixture
def worker():
    worker = Slow(toy("cat", "dog"))
    yield worker
    worker.go.set()
    worker.close()


def test_requests_that_come_together_are_drawn_together(worker):
    jobs = [worker.draw([Kind(seed, 0)]) for seed in range(16)]
    worker.go.set()
    for seed, job in enumerate(jobs):
        (image,) = job.result(20)
        (alone,) = render(worker.model, seeds=[seed], labels=[0])
        assert (image == alone[0]).all()
    assert worker.sizes == [8, 8]


def test_each_picture_is_the_same_beside_any_others(worker):
    random = np.random.default_rng(0)
    asked = [
        [
            Kind(int(seed), int(random.integers(2)), float(random.choice([0.5, 1.0])))
            for seed in random.integers(0, 99, 5)
        ]
        for _ in range(12)
    ]
    jobs = [worker.draw(kinds) for kinds in asked]
    worker.go.set()
    for kinds, job in zip(asked, jobs, strict=True):
        for kind, image in zip(kinds, job.result(20), strict=True):
            (alone,) = render(worker.model, seeds=[kind.seed], labels=[kind.label], truncation=kind.truncation)
            assert (image == alone[0]).all()
    assert sum(worker.sizes) == 60
    assert len(worker.sizes) < 20


def test_clips_of_one_length_are_drawn_together_and_none_waits_for_ever():
    from ganvas.models.video import Generator, GeneratorConfig

    torch.manual_seed(0)
    network = Generator(GeneratorConfig(channels=1, width=4, height=4, widths=(4,), content=16, motion=16)).eval()
    worker = Slow(Model({"generator": network}))
    jobs = [worker.draw([Kind(seed, frames=frames)]) for seed, frames in enumerate([3, 5, 3, 5, 3])]
    worker.go.set()
    assert [job.result(20)[0].shape for job in jobs] == [(frames, 4, 4, 1) for frames in (3, 5, 3, 5, 3)]
    assert worker.sizes == [3, 2]
    worker.close()


def test_what_is_cancelled_is_not_drawn(worker):
    given_up, kept = worker.draw([Kind(seed, 0) for seed in range(30)]), worker.draw([Kind(3, 1)])
    assert given_up.cancel()
    worker.go.set()
    assert len(kept.result(20)) == 1
    worker.close()
    assert worker.sizes == [1]
    assert worker.counters.waiting._value.get() == 0
    with pytest.raises(CancelledError):
        given_up.result(0)


def test_a_model_that_fails_tells_all_who_wait_and_goes_on(worker, monkeypatch):
    jobs = [worker.draw([Kind(seed, 0), Kind(seed + 8, 0)]) for seed in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr("ganvas.server.worker.render", lambda *_, **__: 1 / 0)
        worker.go.set()
        for job in jobs:
            with pytest.raises(ZeroDivisionError):
                job.result(20)
    assert len(worker.draw([Kind(5, 1)]).result(20)) == 1


def test_a_broken_model_shows_it_before_it_is_served():
    model = toy()
    with torch.no_grad():
        next(model.generator.parameters()).fill_(torch.nan)
    worker = Worker(model, Counters())
    with pytest.raises(UserError, match="not finite"):
        worker.try_out()
    worker.close()


def test_fresh_seeds_fill_whole_batches(worker):
    seeds = [seed for n in (1, 3, 4) for seed in worker.seeds(n)]
    assert sorted(seed % 8 for seed in seeds) == list(range(8))
