"""As root the engines run as ``nobody``, who cannot go everywhere."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from octollm.embedded.account import Account, engine_account
from octollm.embedded.binaries import Binaries, packaged_binaries, usable_binaries
from octollm.embedded.engines import prepare_home
from octollm.embedded.errors import EmbeddedError
from octollm.embedded.layout import EngineLayout
from octollm.embedded.place import can_enter, engines_home
from octollm.embedded.processes import run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs as another")


@pytest.fixture
def account() -> Account:
    found = engine_account()
    assert found is not None
    return found


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that everybody can enter."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A directory that only root can enter."""
    tmp_path.chmod(0o700)
    return tmp_path


def test_engines_never_run_as_root(account: Account) -> None:
    assert run(["/usr/bin/id", "-u"], account=account).stdout.strip() != "0"


def test_home_is_elsewhere_when_the_engines_cannot_reach_the_data(
    private: Path, public: Path, account: Account
) -> None:
    places = (private / "also-closed", public / "open")

    home = engines_home(private, account, shared_places=places)

    assert home.parent == public / "open"
    assert can_enter(home, account)
    assert (home / "data-directory").read_text().strip() == str(private)
    assert engines_home(private, account, shared_places=places) == home
    assert private.stat().st_mode & 0o777 == 0o700


def test_home_that_is_gone_is_not_silently_made_anew(
    private: Path, public: Path, account: Account
) -> None:
    home = engines_home(private, account, shared_places=(public / "open",))
    shutil.rmtree(home)

    with pytest.raises(EmbeddedError, match=str(home)):
        engines_home(private, account)


def test_no_place_at_all_is_said_clearly(private: Path, account: Account) -> None:
    with pytest.raises(EmbeddedError, match="Choose another --data-dir"):
        engines_home(private, account, shared_places=(private / "closed",))


def test_data_that_became_unreachable_is_said_clearly(
    private: Path, account: Account
) -> None:
    (private / "engines").mkdir()

    with pytest.raises(EmbeddedError, match="x permission"):
        engines_home(private, account)


def test_home_of_another_user_is_refused(public: Path, account: Account) -> None:
    (public / "engines").mkdir()
    os.chown(public / "engines", account.uid, account.gid)

    with pytest.raises(EmbeddedError, match=f"uid {account.uid}"):
        engines_home(public, account)


def test_socket_directory_of_another_user_is_refused(
    public: Path, account: Account
) -> None:
    layout = EngineLayout(home=public / "home", sockets=public / "sockets")
    layout.sockets.mkdir()
    os.chown(layout.sockets, account.uid, account.gid)

    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        prepare_home(layout, account)


def test_sockets_can_be_reached_by_root_and_the_engines_alone(
    public: Path, account: Account
) -> None:
    layout = EngineLayout(home=public / "home", sockets=public / "home" / "s")

    prepare_home(layout, account)

    found = layout.sockets.stat()
    assert (found.st_uid, found.st_gid) == (0, account.gid)
    assert found.st_mode & 0o777 == 0o770


def test_unreachable_binaries_are_copied_with_their_libraries(
    private: Path, public: Path, account: Account
) -> None:
    packaged = closed_copy(private)

    usable = usable_binaries(public / "bin", account, packaged=packaged)

    assert usable.postgres_bin.is_relative_to(public / "bin")
    initdb = run([str(usable.postgres_bin / "initdb"), "--version"], account=account)
    assert initdb.stdout.startswith("initdb (PostgreSQL) 18")


def test_reachable_binaries_are_used_where_they_are(
    public: Path, account: Account
) -> None:
    if not can_enter(packaged_binaries().postgres_bin, account):
        pytest.skip("this environment itself cannot be reached")

    assert usable_binaries(public / "bin", account) == packaged_binaries()
    assert not (public / "bin").exists()


def closed_copy(private: Path) -> Binaries:
    """Install the engines' packages once more where only root can enter."""
    original = packaged_binaries()
    install = original.postgres_bin.parent
    package = private / install.parent.name
    libraries = install.parent.with_name(f"{package.name}.libs")
    shutil.copytree(install, package / install.name, symlinks=True)
    shutil.copytree(libraries, private / libraries.name)
    shutil.copy2(original.valkey_server, private)
    return Binaries(
        postgres_bin=package / install.name / "bin",
        valkey_server=private / "valkey-server",
    )
