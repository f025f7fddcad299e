"""The queue's entry points: messages name no step, and a lost one does no harm."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from tasks_app import actors, hints, pipeline
from tasks_app.actors import look, look_default, look_sandbox
from tasks_app.hints import ACTORS, Hints, send_hints, send_missing_hints
from tasks_app.models import Step, Task
from tasks_app.turn import Claim
from tasks_app.worker import ThisWorker, this_worker
from tests.builders import make_planned_task, make_step, make_task, statuses


class TestMessages:
    @pytest.mark.parametrize("actor", [look_default, look_sandbox])
    def test_message_carries_nothing(self, actor):
        message = actor.message()

        assert (message.args, message.kwargs) == ((), {})

    @pytest.mark.parametrize("actor", [look_default, look_sandbox])
    def test_queue_retries_nothing_and_interrupts_nothing(self, actor):
        assert actor.options["max_retries"] == 0
        assert actor.options["time_limit"] == float("inf")
        assert "notify_shutdown" not in actor.options

    def test_every_queue_has_its_actor(self):
        broker = dramatiq.get_broker()

        for queue, name in ACTORS.items():
            assert broker.get_actor(name).queue_name == queue

    def test_middleware_is_the_whole_list(self):
        names = [type(m).__name__ for m in dramatiq.get_broker().middleware]

        assert names == [
            "AgeLimit",
            "TimeLimit",
            "ShutdownNotifications",
            "Callbacks",
            "Retries",
            "DbConnectionsMiddleware",
            "WorkerMiddleware",
        ]


def _refuse(*_: object, **__: object) -> None:
    raise RedisConnectionError("down")


@pytest.fixture
def _rested(monkeypatch):
    monkeypatch.setattr(hints, "_rest", hints._Rest())


@pytest.mark.usefixtures("_rested")
class TestHints:
    def test_as_many_messages_as_steps_are_sent(self, engines):
        queue: Any = dramatiq.get_broker()
        queue.flush_all()

        send_hints("default", Hints(count=3))

        assert queue.client.llen("dramatiq:default") == 3
        queue.flush_all()

    def test_hint_for_a_retry_is_delayed(self, engines):
        queue: Any = dramatiq.get_broker()
        queue.flush_all()

        send_hints("default", Hints(count=1, delay_s=30))

        assert queue.client.llen("dramatiq:default") == 0
        assert queue.client.llen("dramatiq:default.DQ") == 1
        queue.flush_all()

    def test_queue_that_is_down_is_no_error(self, monkeypatch, caplog):
        monkeypatch.setattr(dramatiq.get_broker(), "enqueue", _refuse)

        send_hints("default", Hints(count=1))

        assert "a hint could not be sent: ConnectionError" in caplog.text

    def test_queue_that_failed_is_left_alone_for_a_while(self, monkeypatch):
        tried: list[None] = []

        def refuse(*_: object, **__: object) -> None:
            tried.append(None)
            raise RedisConnectionError("down")

        monkeypatch.setattr(dramatiq.get_broker(), "enqueue", refuse)

        for _ in range(5):
            send_hints("default", Hints(count=1))

        assert len(tried) == 1

    def test_queue_that_recovered_is_used_again(self, engines, monkeypatch):
        monkeypatch.setattr(hints, "REST_S", 0.0)
        queue: Any = dramatiq.get_broker()
        queue.flush_all()
        with monkeypatch.context() as broken:
            broken.setattr(queue, "enqueue", _refuse)
            send_hints("default", Hints(count=1))

        for _ in range(2):
            send_hints("default", Hints(count=1))

        assert queue.client.llen("dramatiq:default") == 2
        queue.flush_all()

    def test_queue_that_hangs_is_given_up_soon(self):
        # What reads the answer is the connection, not the client.
        pool = dramatiq.get_broker().client.connection_pool  # type: ignore[attr-defined]  # of Redis

        connection = pool.connection_class(**pool.connection_kwargs)

        assert (connection.socket_timeout, connection.socket_connect_timeout) == (1, 1)

    def test_hints_that_wait_already_are_not_sent_again(self, engines):
        queue: Any = dramatiq.get_broker()
        queue.flush_all()

        for count in (2, 3, 1):
            send_missing_hints("default", count)

        assert queue.client.llen("dramatiq:default") == 3
        queue.flush_all()

    @pytest.mark.parametrize("count", [0, -1])
    def test_no_step_needs_no_hint(self, count, monkeypatch):
        monkeypatch.setattr(dramatiq.get_broker(), "enqueue", None)

        send_hints("default", Hints(count=count))


@pytest.mark.django_db(transaction=True)
class TestLook:
    @pytest.fixture(autouse=True)
    def _hints(self, monkeypatch):
        self.hints: list[Hints] = []
        monkeypatch.setattr(
            actors, "send_hints", lambda queue, hints: self.hints.append(hints)
        )

    def test_one_look_runs_a_task_to_its_end(self):
        task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))

        look("default")

        task.refresh_from_db()
        assert task.status == "completed"
        assert set(statuses(task).values()) == {"done"}

    def test_thread_takes_one_step_itself_and_hints_for_the_rest(self):
        make_planned_task(
            make_step("a"),
            make_step("b", depends_on=("a",)),
            make_step("c", depends_on=("a",)),
            make_step("d", depends_on=("a",)),
        )

        look("default")

        assert max(hints.count for hints in self.hints) == 2

    def test_queue_without_ready_steps_is_left_at_once(self):
        task = make_task()

        look("sandbox")

        assert statuses(task) == {"plan": "ready"}

    def test_stopping_worker_claims_nothing(self, monkeypatch):
        stopping = ThisWorker()
        stopping._stopping.set()
        monkeypatch.setattr(actors, "this_worker", lambda: stopping)
        task = make_task()

        look("default")

        assert statuses(task) == {"plan": "ready"}

    def test_worker_that_stops_meanwhile_leaves_the_next_step_to_others(
        self, monkeypatch
    ):
        stopping = ThisWorker()
        monkeypatch.setattr(actors, "this_worker", lambda: stopping)
        run = pipeline.run_step

        def run_and_stop(claim: Claim) -> Hints:
            stopping._stopping.set()
            return run(claim)

        monkeypatch.setattr(actors, "run_step", run_and_stop)
        task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))

        look("default")

        assert statuses(task)["b"] == "ready"
        assert self.hints == [Hints(count=1)]

    def test_message_that_comes_twice_does_nothing_twice(self):
        task = make_planned_task(make_step("a"))

        look("default")
        look("default")

        assert Step.objects.get(task=task, step_id="a").attempt_count == 1
        assert Task.objects.get(pk=task.pk).results.count() == 1


def test_worker_has_a_name_of_its_own():
    assert this_worker() is this_worker()
    assert ThisWorker().id != ThisWorker().id
