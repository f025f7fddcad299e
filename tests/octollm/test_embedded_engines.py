"""The engines start, answer, survive what a crash leaves behind, and stop."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection

from octollm.embedded import engines as embedded
from octollm.embedded import leash, tether
from octollm.embedded.account import engine_account
from octollm.embedded.engines import Engine, Postgres, Valkey, prepare_home
from octollm.embedded.errors import EngineError
from octollm.embedded.layout import EngineLayout, engine_layout
from octollm.embedded.postmaster import look_at
from octollm.embedded.processes import kill_group, spawn
from tests.engines import FAST_POSTGRES, TestEngines, remove_abandoned
from tests.up import ROOT, alive, clean_environment, descendants, new_data_dir
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def layout() -> Iterator[EngineLayout]:
    """A home whose path is too long for sockets: 147 bytes."""
    with new_data_dir() as path:
        home = path.with_name("d" * (146 - len(str(path.parent))))
        assert len(str(home)) == 147
        layout = engine_layout(home)
        prepare_home(layout, engine_account())
        yield layout
        layout.sockets.rmdir()


@pytest.fixture
def postgres(layout: EngineLayout, tmp_path: Path) -> Postgres:
    return make(Postgres, layout, tmp_path, *FAST_POSTGRES)  # type: ignore[return-value]


@pytest.fixture
def valkey(layout: EngineLayout, tmp_path: Path) -> Valkey:
    return make(Valkey, layout, tmp_path)  # type: ignore[return-value]


def make(kind: type[Engine], layout: EngineLayout, logs: Path, *options: str) -> Engine:
    account = engine_account()
    return kind(
        layout,
        binaries=prepare_home(layout, account),
        account=account,
        log=logs / "engine.log",
        options=options,
    )


@pytest.mark.django_db
def test_tests_run_on_a_database_of_their_own(engines: TestEngines) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")

        assert cursor.fetchone() == ("test_octollm",)


def test_valkey_keeps_what_it_is_given(engines: TestEngines) -> None:
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as client:
        config = client.config_get("*")

    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["port"] == "0"


def test_cluster_is_made_once_and_listens_on_nothing_but_its_socket(
    postgres: Postgres, layout: EngineLayout
) -> None:
    process = embedded.start(postgres)
    try:
        with psycopg.connect(layout.database_url) as database:
            database.execute("CREATE TABLE kept (n int)")
            listening = database.execute("SHOW listen_addresses").fetchone()
        embedded.stop(postgres, process)
        process = embedded.start(postgres)

        with psycopg.connect(layout.database_url) as database:
            kept = database.execute("SELECT count(*) FROM kept").fetchone()
    finally:
        embedded.stop(postgres, process)

    assert listening == ("",)
    assert kept == (0,)


def test_log_of_postgres_quotes_no_data(
    postgres: Postgres, layout: EngineLayout
) -> None:
    process = embedded.start(postgres)
    try:
        with psycopg.connect(layout.database_url, autocommit=True) as database:
            database.execute("CREATE TEMP TABLE goals (text text UNIQUE)")
            database.execute("INSERT INTO goals VALUES ('a private goal')")
            with pytest.raises(psycopg.errors.UniqueViolation):
                database.execute("INSERT INTO goals VALUES ('a private goal')")
    finally:
        embedded.stop(postgres, process)

    log = postgres.log.read_text()
    assert "violates unique constraint" in log
    assert "a private goal" not in log


def test_engine_gets_none_of_our_environment(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTOLLM_SECRET_KEY", "a" * 40)
    process = embedded.start(postgres)
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        embedded.stop(postgres, process)

    assert b"PATH=" in environment
    assert b"OCTOLLM" not in environment


def test_lock_files_that_name_a_live_foreign_process_are_no_obstacle(
    postgres: Postgres, layout: EngineLayout, tmp_path: Path
) -> None:
    foreign = spawn(
        ["/bin/sleep", "60"],
        environment={},
        log=tmp_path / "foreign.log",
        account=engine_account(),
    )
    leave_lock_files(layout, foreign.pid)

    process = embedded.start(postgres)

    embedded.stop(postgres, process)
    assert foreign.poll() is None
    kill_group(foreign)


def test_lock_file_of_a_zombie_is_no_obstacle(
    postgres: Postgres, layout: EngineLayout
) -> None:
    zombie = subprocess.Popen(["/bin/true"])
    wait_until(lambda: (seen := look_at(zombie.pid)) and seen.is_zombie)
    leave_lock_files(layout, zombie.pid)

    process = embedded.start(postgres)

    embedded.stop(postgres, process)
    zombie.wait()


def test_orphaned_postmaster_is_ended_first(postgres: Postgres) -> None:
    orphan = embedded.start(postgres)

    process = embedded.start(postgres)

    assert orphan.wait(timeout=5) == 0
    embedded.stop(postgres, process)


def test_killed_postmaster_is_no_obstacle(
    postgres: Postgres, layout: EngineLayout
) -> None:
    process = embedded.start(postgres)
    with psycopg.connect(layout.database_url, autocommit=True) as database:
        database.execute("CREATE TABLE committed (n int)")
    process.kill()

    again = embedded.start(postgres)

    with psycopg.connect(layout.database_url) as database:
        found = database.execute("SELECT count(*) FROM committed").fetchone()
    embedded.stop(postgres, again)
    kill_group(process)
    assert found == (0,)


def test_cluster_of_another_version_is_refused(
    postgres: Postgres, layout: EngineLayout, tmp_path: Path
) -> None:
    postgres.layout = replace(layout, home=tmp_path)
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")

    with pytest.raises(EngineError, match="PostgreSQL 16") as caught:
        postgres.prepare()

    assert "--data-dir" in caught.value.message


def test_failed_start_quotes_the_log(postgres: Postgres) -> None:
    postgres.options = ("--no_such_setting=1",)

    with pytest.raises(EngineError, match="no_such_setting"):
        embedded.start(postgres)


def test_killed_valkey_leaves_no_obstacle_and_no_loss(
    valkey: Valkey, layout: EngineLayout
) -> None:
    process = embedded.start(valkey)
    with redis.Redis.from_url(layout.redis_url) as client:
        client.rpush("queue", *range(500))
    process.kill()
    process.wait()
    assert layout.valkey_socket.exists()

    again = embedded.start(valkey)

    with redis.Redis.from_url(layout.redis_url) as client:
        assert client.llen("queue") == 500
    embedded.stop(valkey, again)


def test_valkey_that_loads_is_not_ready(valkey: Valkey, layout: EngineLayout) -> None:
    """A server that says LOADING to a ping, as Valkey does."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(layout.valkey_socket))
        server.listen()
        server.settimeout(5)
        answer = b"-LOADING Valkey is loading the dataset in memory\r\n"
        asked = subprocess.Popen(
            [sys.executable, "-c", _ASK_VALKEY.format(path=str(layout.sockets))],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        peer, _ = server.accept()
        with peer:
            peer.sendall(answer)
            said, _ = asked.communicate(timeout=10)

    layout.valkey_socket.unlink()
    assert said == b"False\n"


_ASK_VALKEY = """
from pathlib import Path
from octollm.embedded.binaries import packaged_binaries
from octollm.embedded.engines import Valkey
from octollm.embedded.layout import EngineLayout
layout = EngineLayout(home=Path("/"), sockets=Path({path!r}))
valkey = Valkey(layout, binaries=packaged_binaries(), account=None, log=Path("/x"))
print(valkey.is_ready())
"""


def test_engines_of_a_killed_test_run_end(tmp_path: Path) -> None:
    home = Path(tempfile.gettempdir(), f"octollm-tests-{os.urandom(8).hex()}")
    ready = tmp_path / "ready"
    run = subprocess.Popen(
        [sys.executable, "-c", _RUN_ENGINES, str(ready)],
        env={**clean_environment(), "OCTOLLM_TEST_HOME": str(home)},
        cwd=ROOT,
    )
    wait_until(ready.exists)
    started = descendants(run.pid)

    run.kill()
    run.wait()

    assert len(started) >= 2
    wait_until(lambda: not alive(started), timeout_s=10)
    assert home.exists()
    remove_abandoned(home.parent)
    assert not home.exists()


_RUN_ENGINES = """
import pathlib, sys, time
from tests.engines import running_engines
with running_engines():
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
"""


def test_leash_ends_a_program_when_the_holder_is_gone(tmp_path: Path) -> None:
    held = tether.tie(tmp_path / "tether")
    process = spawn(
        leash.leashed(
            ["/bin/sleep", "60"],
            path=tmp_path / "tether",
            death_signal=signal.SIGTERM,
        ),
        environment=clean_environment(),
        log=tmp_path / "log",
    )
    program = wait_until(lambda: descendants(process.pid))

    held.close()

    assert process.wait(timeout=10) == 128 + signal.SIGTERM
    assert not alive(program)


def leave_lock_files(layout: EngineLayout, pid: int) -> None:
    """Leave behind what a crash does, but with the PID of another process."""
    for path in (
        layout.postgres_data / "postmaster.pid",
        layout.sockets / ".s.PGSQL.5432.lock",
    ):
        path.write_text(f"{pid}\n{layout.postgres_data}\n1700000000\n5432\n")
