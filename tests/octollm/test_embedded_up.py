"""``octollm up``: a first start, a second one, other engines, another user."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from octollm.embedded.account import Account
from octollm.embedded.instance import read_instance
from octollm.embedded.processes import run
from octollm.embedded.services import ask
from octollm.embedded.up import free_port
from tests.engines import TestEngines
from tests.up import (
    NOBODY,
    ROOT,
    Running,
    alive,
    clean_environment,
    descendants,
    new_data_dir,
    running,
    start,
)
from tests.waiting import wait_until

is_root = os.geteuid() == 0


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """A path of 147 bytes, too long for sockets in it."""
    with new_data_dir() as path:
        yield path.with_name("d" * (146 - len(str(path.parent))))


@pytest.fixture(scope="module")
def system(data_dir: Path) -> Iterator[Running]:
    """A first start, which the tests before the stop share."""
    with running(data_dir, with_demo=True) as up:
        yield up


def octollm(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "octollm", *arguments, f"--data-dir={data_dir}"],
        env=clean_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_first_start_shows_addresses_and_an_account(system: Running) -> None:
    url = system.instance.base_url

    assert system.get("/ready") == 200
    assert re.search(r"ready in \d+\.\d s", system.said)
    for address in (f"{url}/docs", f"{url}/admin/", str(system.data_dir)):
        assert address in system.said
    assert re.search(r"operator  \S{20}\n", system.said)
    assert re.search(r"API key +octo_\S{43}\n", system.said)


def test_shown_key_opens_the_api(system: Running) -> None:
    key = re.search(r"octo_\S{43}", system.said)
    assert key

    assert system.get("/arms") == 401
    assert system.get("/arms", key=key[0]) == 200


def test_first_start_carries_the_sample_goal_to_a_result(system: Running) -> None:
    wait_until(lambda: "The system stays up" in system.said)

    assert "sentiment_score: 0." in system.said
    assert "met: Sentiment score -1 to 1" in system.said
    assert re.search(r"completed after \d+\.\d s, \$0, confidence 0\.\d", system.said)
    assert f"all of it: {system.instance.base_url}/admin/" in system.said
    assert system.process.poll() is None


def test_secrets_are_for_their_owner_alone(system: Running) -> None:
    for name in ("keys.json", "up.json"):
        assert (system.data_dir / name).stat().st_mode & 0o777 == 0o600
    assert (system.data_dir / "logs").stat().st_mode & 0o777 == 0o700


def test_second_start_is_refused_at_once(system: Running, tmp_path: Path) -> None:
    began = time.monotonic()

    second = start(system.data_dir, output=tmp_path / "output")

    assert second.wait(timeout=10) == 1
    assert time.monotonic() - began < 5
    said = (tmp_path / "output").read_text()
    assert f"already runs in {system.data_dir} (PID {system.process.pid})" in said
    assert system.get("/ready") == 200


def test_other_commands_join(system: Running) -> None:
    joined = octollm(system.data_dir, "migrate")

    assert joined.returncode == 0
    assert "No migrations to apply" in joined.stderr


def test_engines_run_as_another_user_than_root(system: Running) -> None:
    (postmaster,) = system.pids("bin/postgres -D")
    owner = Path(f"/proc/{postmaster}").stat().st_uid

    assert owner != 0
    assert (owner == os.geteuid()) is not is_root


def test_terminal_interrupt_stops_everything(system: Running) -> None:
    everything = system.descendants()

    code = system.stop(signal.SIGINT)

    assert code == 0
    assert not alive(everything)
    assert read_instance(system.data_dir) is None
    assert "django imported: False" in system.said
    assert octollm(system.data_dir, "migrate").returncode == 5


def test_next_start_prepares_nothing(data_dir: Path) -> None:
    prepared = data_dir / "logs" / "prepare.log"
    before = prepared.stat()

    with running(data_dir) as again:
        assert again.stop() == 0
        assert "shown only now" not in again.said

    assert prepared.stat().st_mtime_ns == before.st_mtime_ns


def test_stop_during_the_start_leaves_nothing(data_dir: Path, tmp_path: Path) -> None:
    starting = start(data_dir, "--no-demo", output=tmp_path / "output")
    wait_until(lambda: len(descendants(starting.pid)) > 3)
    begun = descendants(starting.pid)

    starting.terminate()

    assert starting.wait(timeout=40) == 0
    assert not alive(begun)


def test_engines_named_by_the_environment_are_used_instead(
    engines: TestEngines, other_database: str
) -> None:
    named = {
        "OCTOLLM_DATABASE_URL": other_database,
        "OCTOLLM_REDIS_URL": engines.redis_url.replace("db=0", "db=9"),
    }

    with new_data_dir() as path, running(path, environment=named) as up:
        assert up.get("/ready") == 200
        assert not up.pids("postgres -D") + up.pids("valkey-server")
        assert not (path / "engines").exists()
        assert up.stop() == 0


@pytest.fixture
def other_database(engines: TestEngines) -> Iterator[str]:
    """An empty database of the run's server."""
    name = "octollm_up"
    with psycopg.connect(engines.database_url, autocommit=True) as database:
        database.execute(f"DROP DATABASE IF EXISTS {name}")
        database.execute(f"CREATE DATABASE {name}")
        yield engines.database_url_of(name)
        database.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.skipif(not is_root, reason="the whole suite runs as a plain user")
def test_plain_user_can_run_it(tmp_path: Path) -> None:
    python = reachable_python()
    with new_data_dir() as path:
        shutil.chown(path.parent, NOBODY)
        environment = {
            "HOME": str(path.parent),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        }

        with running(
            path,
            python=python,
            environment=environment,
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
        ) as up:
            assert up.get("/ready") == 200
            assert up.stop() == 0


def reachable_python() -> str:
    """Return an interpreter of exactly our version that everybody may run."""
    nobody = Account(uid=NOBODY, gid=NOBODY)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import octollm; print(sys.version)"
    for python in (sys.executable, shutil.which("python3", path="/usr/bin") or ""):
        with contextlib.suppress(OSError):
            checked = run([python, "-c", script, str(ROOT)], account=nobody)
            if checked.stdout.strip() == sys.version:
                return python
    pytest.skip("no interpreter of this version that a plain user can run")


def test_worker_keeps_its_pid_and_stops_in_order(
    engines: TestEngines, django_db_setup: None, tmp_path: Path
) -> None:
    log = tmp_path / "worker.log"
    worker = engines.python(
        "-m", "octollm", "worker", "--queues=default", "--threads=2", log=log
    )
    wait_until(lambda: "ready for action" in log.read_text())
    command = Path(f"/proc/{worker.pid}/cmdline").read_text().split("\0")

    worker.terminate()

    assert worker.wait(timeout=15) == 0
    assert "dramatiq" in command
    assert command[command.index("--queues") + 1 :] == ["default", ""]


def test_web_process_runs_by_itself(
    engines: TestEngines, django_db_setup: None, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    web = engines.python(
        "-m",
        "octollm",
        "web",
        f"--port={port}",
        "--workers=1",
        log=tmp_path / "web.log",
    )

    answer = wait_until(lambda: ask("127.0.0.1", port, "/health").status)

    web.terminate()
    assert web.wait(timeout=15) == 0
    assert answer == 200
