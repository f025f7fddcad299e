"""Where things are: sockets that fit, addresses that can be read back, stamps, logs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import dj_database_url
import pytest
from redis import ConnectionPool

from octollm.embedded import stamp, tether
from octollm.embedded.errors import AlreadyRunningError, EmbeddedError
from octollm.embedded.instance import (
    Instance,
    ensure_keys,
    read_instance,
    read_keys,
    write_instance,
)
from octollm.embedded.layout import MAX_SOCKET_PATH_BYTES, engine_layout
from octollm.embedded.logs import tail, trim
from octollm.embedded.place import engines_home, held
from octollm.embedded.up import free_port, reachable

LONGEST_INSIDE = MAX_SOCKET_PATH_BYTES - len("/s/.s.PGSQL.5432")


@pytest.mark.parametrize(
    ("home", "is_inside"),
    [
        ("/d", True),
        ("/" + "d" * (LONGEST_INSIDE - 1), True),
        ("/" + "d" * LONGEST_INSIDE, False),
        ("/" + "d" * 147, False),
        # 60 characters of two bytes each: bytes count, not characters.
        ("/" + "é" * 60, False),
    ],
)
def test_sockets_are_in_the_home_if_their_address_fits(
    home: str, is_inside: bool
) -> None:
    layout = engine_layout(Path(home))

    assert (layout.sockets.parent == Path(home)) is is_inside
    assert len(os.fsencode(layout.valkey_socket)) <= MAX_SOCKET_PATH_BYTES


def test_two_homes_with_long_paths_do_not_share_sockets() -> None:
    one, other = (engine_layout(Path("/" + "d" * 147 + end)) for end in "ab")

    assert one.sockets != other.sockets


@pytest.mark.parametrize("home", ["/srv/plain", "/srv/Big A", "/srv/50%41/ü?#@:"])
def test_addresses_lead_to_the_sockets(home: str) -> None:
    layout = engine_layout(Path(home))

    database = dj_database_url.parse(layout.database_url)
    valkey = ConnectionPool.from_url(layout.redis_url).connection_kwargs

    assert database["HOST"] == str(layout.sockets)
    assert (database["USER"], database["NAME"]) == ("octollm", "octollm")
    assert valkey["path"] == str(layout.valkey_socket)


def test_keys_are_made_once_and_only_their_owner_can_read_them(tmp_path: Path) -> None:
    made = ensure_keys(tmp_path)

    assert ensure_keys(tmp_path) == made == read_keys(tmp_path)
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert len({made.secret_key, made.vault_key, made.hmac_key}) == 3


def test_damaged_keys_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")

    with pytest.raises(EmbeddedError, match=r"keys\.json is damaged"):
        ensure_keys(tmp_path)

    assert (tmp_path / "keys.json").read_text() == "{"


def test_instance_counts_only_while_its_supervisor_lives(tmp_path: Path) -> None:
    lock = tmp_path / "tether"
    instance = Instance(
        pid=os.getpid(),
        database_url="postgresql:///x",
        redis_url="unix:///x",
        base_url="http://127.0.0.1:1",
        prometheus_dir="/x",
        tether=str(lock),
    )
    assert read_instance(tmp_path) is None

    with tether.tie(lock):
        write_instance(tmp_path, instance)
        assert read_instance(tmp_path) == instance

    # Its PID still lives (it is ours), as another process's may after a crash.
    assert read_instance(tmp_path) is None


def test_stamp_is_good_until_a_migration_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not stamp.is_prepared(tmp_path)
    stamp.mark_prepared(tmp_path)
    assert stamp.is_prepared(tmp_path)

    installed = tmp_path / "site"
    (installed / "another_app-1.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(installed)

    assert not stamp.is_prepared(tmp_path)


def test_long_log_is_moved_away_and_written_on(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    with log.open("ab", buffering=0) as process:
        process.write(b"old line\n" * 100)

        trim(log, max_bytes=100)
        process.write(b"new line\n")

    assert log.read_text() == "new line\n"
    assert log.with_name("web.log.1").read_text().count("old line") == 100


def test_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text("first line\nsecond line\nthird line\n")

    assert tail(log, max_bytes=20) == "third line"
    assert tail(tmp_path / "none.log") == ""


def test_port_in_use_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port}"):
            free_port("127.0.0.1", port)


def test_port_zero_chooses_one() -> None:
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")],  # noqa: S104
)
def test_server_on_all_addresses_is_asked_on_the_loopback(
    host: str, address: str
) -> None:
    assert reachable(host) == address


def test_second_holder_of_a_data_directory_is_refused(tmp_path: Path) -> None:
    with (
        held(tmp_path, None),
        pytest.raises(AlreadyRunningError, match=f"PID {os.getpid()}"),
        held(tmp_path, None),
    ):
        pytest.fail("both hold it")


def test_data_directory_that_cannot_be_made_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(EmbeddedError, match="Not a directory"),
        held(tmp_path / "file" / "data", None),
    ):
        pytest.fail("made it")


def test_engines_live_in_a_data_directory_that_they_can_reach(tmp_path: Path) -> None:
    assert engines_home(tmp_path, None) == tmp_path / "engines"
