"""``kill -9`` of each kind of process: it comes back, or nothing is left of it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.up import Running, alive, remove_engines_elsewhere, running
from tests.waiting import wait_until

GONE_WITHIN_S = 10.0
BACK_WITHIN_S = 40.0

WEB_MASTER = ("-m granian",)
WORKER_MASTER = ("-m dramatiq",)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory that only its owner may enter, as pytest makes them."""
    path = tmp_path_factory.mktemp("up") / "data"
    yield path
    remove_engines_elsewhere(path)


@pytest.fixture(scope="module")
def system(data_dir: Path) -> Iterator[Running]:
    """One running system whose parts are killed one after the other."""
    with running(data_dir) as up:
        yield up


def masters(up: Running, words: tuple[str, ...]) -> list[int]:
    """Return the direct children of the supervisor among those."""
    return [
        pid
        for pid in up.pids(*words)
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        == str(up.process.pid)
    ]


def works(up: Running) -> bool:
    """Tell whether the whole system does, with every worker in place."""
    return (
        up.get("/ready") == 200
        and len(up.pids(*WEB_MASTER)) == 3
        and len(up.pids(*WORKER_MASTER)) >= 4
    )


def kill_and_await_return(up: Running, pid: int, lost: list[int]) -> None:
    """Kill one process; wait until ``lost`` are gone and the system works again."""
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive([pid, *lost]), timeout_s=GONE_WITHIN_S)
    wait_until(lambda: works(up), timeout_s=BACK_WITHIN_S)


def test_killed_web_master_takes_its_workers_along_and_returns(system: Running) -> None:
    wait_until(lambda: works(system))
    master, *workers = system.pids(*WEB_MASTER)

    kill_and_await_return(system, master, workers)

    assert system.process.poll() is None


def test_killed_web_worker_is_replaced(system: Running) -> None:
    wait_until(lambda: works(system))
    master, worker, _ = system.pids(*WEB_MASTER)

    kill_and_await_return(system, worker, [])

    assert master in alive([master])


def test_killed_worker_master_takes_its_process_along_and_returns(
    system: Running,
) -> None:
    wait_until(lambda: works(system))
    master, other = masters(system, WORKER_MASTER)
    below = [pid for pid in system.pids(*WORKER_MASTER) if is_below(pid, master)]
    assert below

    kill_and_await_return(system, master, below)

    assert other in masters(system, WORKER_MASTER)


def test_killed_worker_process_leaves_the_other_worker_alone(system: Running) -> None:
    wait_until(lambda: works(system))
    master, other = masters(system, WORKER_MASTER)
    below = [pid for pid in system.pids(*WORKER_MASTER) if is_below(pid, master)]

    kill_and_await_return(system, below[0], [master])

    assert other in masters(system, WORKER_MASTER)


@pytest.mark.parametrize("engine", ["postgres", "valkey-server"])
def test_killed_engine_returns_with_what_was_committed(
    system: Running, engine: str
) -> None:
    wait_until(lambda: works(system))
    server = masters(system, (engine,))[0]
    backends = [pid for pid in system.descendants() if is_below(pid, server)]

    kill_and_await_return(system, server, backends)

    assert system.process.poll() is None


def test_ordered_stop_after_all_this_leaves_nothing(system: Running) -> None:
    wait_until(lambda: works(system))
    everything = system.descendants()

    assert system.stop() == 0

    assert not alive(everything)
    assert "postgres ended by SIGKILL; starting it again" in system.said
    assert not (system.data_dir / "up.json").exists()


def test_killed_supervisor_leaves_nothing(data_dir: Path) -> None:
    with running(data_dir) as up:
        wait_until(lambda: works(up))
        everything = up.descendants()

        up.process.kill()

        wait_until(lambda: not alive(everything), timeout_s=GONE_WITHIN_S)


def test_everything_killed_at_once_starts_again_on_its_data(data_dir: Path) -> None:
    with running(data_dir) as up:
        for pid in (up.process.pid, *up.descendants()):
            os.kill(pid, signal.SIGKILL)

    with running(data_dir) as again:
        wait_until(lambda: works(again))

        assert again.stop() == 0
        assert "Made at this first start" not in again.said


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_system_survives_forty_kills_in_random_order(data_dir: Path) -> None:
    chance = random.Random(7)
    with running(data_dir) as up:
        for _ in range(40):
            wait_until(lambda: works(up), timeout_s=BACK_WITHIN_S)
            os.kill(chance.choice(list(up.descendants())), signal.SIGKILL)
            # A child that ends five times in a minute would be given up.
            threading.Event().wait(6)
        wait_until(lambda: works(up), timeout_s=BACK_WITHIN_S)
        everything = up.descendants()

        assert up.stop() == 0

        assert not alive(everything)


def is_below(pid: int, ancestor: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == ancestor
