"""Compiled databases are kept, and only our own are believed."""

from pathlib import Path

import pytest

from reflex.compiled import discard, kept
from reflex.engine import HyperscanEngine
from reflex.rules import Pattern

PATTERNS = [Pattern(text="a{3}", is_case_sensitive=False, gate="x")]


@pytest.fixture
def directory(tmp_path: Path, settings) -> Path:
    settings.OCTOLLM_REFLEX_RULES_DIR = tmp_path / "rules"
    return tmp_path / "rules"


def test_made_once_and_kept(directory: Path):
    made = []

    def compile_() -> bytes:
        made.append(1)
        return b"database"

    assert kept("a", compile_) == kept("a", compile_) == b"database"
    assert len(made) == 1
    assert [path.stat().st_mode & 0o777 for path in directory.iterdir()] == [0o600]


@pytest.mark.parametrize("change", [b"", b"x", b"0" * 40])
def test_changed_file_is_made_anew(directory: Path, change: bytes):
    kept("a", lambda: b"database")
    (directory / "a.hsdb").write_bytes(change)

    assert kept("a", lambda: b"again") == b"again"


def test_file_of_another_name_or_key_is_made_anew(directory: Path, settings):
    kept("a", lambda: b"database")
    (directory / "b.hsdb").write_bytes((directory / "a.hsdb").read_bytes())

    assert kept("b", lambda: b"other") == b"other"
    settings.OCTOLLM_HMAC_KEY = "another key of this installation"
    assert kept("a", lambda: b"signed anew") == b"signed anew"


def test_nowhere_to_keep_it_is_no_error(settings):
    settings.OCTOLLM_REFLEX_RULES_DIR = "/nonexistent/octollm/rules"

    assert kept("a", lambda: b"database") == b"database"
    discard("a")


def test_engine_reads_what_it_kept_and_mends_what_it_cannot_read(directory: Path):
    HyperscanEngine(PATTERNS)
    [path] = directory.iterdir()
    name = path.stem
    before = path.read_bytes()

    assert len(HyperscanEngine(PATTERNS).scan(b"aaa")) == 1
    assert path.read_bytes() == before
    discard(name)
    kept(name, lambda: b"no database at all")
    assert len(HyperscanEngine(PATTERNS).scan(b"aaa")) == 1
    assert path.read_bytes()[32:] == before[32:]
