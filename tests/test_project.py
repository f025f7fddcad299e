"""The project as a whole: settings, migrations, addresses, files, locks."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from django.core import checks
from django.core.management import call_command
from django.db.migrations import (
    AddField,
    CreateModel,
    DeleteModel,
    Migration,
    RemoveField,
    RenameField,
)
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.urls import URLPattern, URLResolver, get_resolver

ROOT = Path(__file__).resolve().parent.parent
OWN_APPS = ("octollm", "reflex", "arms", "planner", "tasks_app")
LOCKS = ("requirements.lock", "requirements-dev.lock")
# Put together here, or this file would be the first to be found.
FORBIDDEN = re.compile(
    "|".join(
        [
            "pypi" + r"\.org",
            "python" + r"hosted\.org",
            "npmjs" + r"\.org",
            "://[^\\s\"'`)]*/" + r"simple\b",
            "index" + "-url *=",
            "extra-index" + "-url",
            "/" + r"work/(main|shared)\b",
            "/" + r"farm/",
            "/" + r"root/",
            "/" + r"home/[a-z]",
        ]
    )
)
# The lock's own options, which say that no address is written.
ALLOWED = "--no-emit-index" + "-url"


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607  # git from the path, as ever
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\0")
    paths = [ROOT / name for name in listed if name]
    if not paths:  # an unpacked archive has no git, and what grew beside it is hidden
        paths = [p for p in ROOT.rglob("*") if "/." not in str(p.relative_to(ROOT))]
        paths = [p for p in paths if not str(p.relative_to(ROOT)).startswith(".")]
    return [path for path in paths if path.is_file()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def make_targets() -> list[str]:
    makefile = text_of(ROOT / "Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    return phony.group(1).split()


def production_environment() -> dict[str, str]:
    """What an operator sets, on top of nothing that the tests' shell has set."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "octollm.settings",
        "OCTOLLM_DATA_DIR": "/nonexistent",
        "OCTOLLM_HTTPS": "true",
        "OCTOLLM_ALLOWED_HOSTS": "octollm.example.org",
        "OCTOLLM_SECRET_KEY": secrets.token_urlsafe(48),
        "OCTOLLM_HMAC_KEY": secrets.token_urlsafe(32),
        "OCTOLLM_VAULT_KEYS": base64.urlsafe_b64encode(
            secrets.token_bytes(32)
        ).decode(),
    }


def check_deployment(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    return subprocess.run(  # our own interpreter
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_system_checks_pass() -> None:
    assert checks.run_checks() == []


def test_a_production_deployment_passes_its_checks() -> None:
    result = check_deployment(production_environment())
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_deployment_without_keys_is_told_what_to_set() -> None:
    environment = production_environment()
    for name in list(environment):
        if name.endswith(("_KEY", "_KEYS", "_HOSTS")):
            del environment[name]
    result = check_deployment(environment)
    assert result.returncode != 0
    for found in ("octollm.E001", "octollm.E002", "octollm.E004", "octollm.W001"):
        assert found in result.stderr


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_migration_lets_the_code_before_it_go_on() -> None:
    """Old workers and web processes run beside new ones while a deploy is under way.

    They write rows without the new columns, so those have a default in the database.
    """
    loader = MigrationLoader(None)
    found = [
        f"{name}: {operation.describe()}"
        for (app, name), migration in loader.disk_migrations.items()
        if app in OWN_APPS and not migration.initial
        for operation in migration.operations
        if not _is_additive(operation, new=_models_made_by(migration))
    ]

    assert found == []


def _models_made_by(migration: Migration) -> set[str]:
    """Return the models that nobody before wrote rows of."""
    made = [each for each in migration.operations if isinstance(each, CreateModel)]
    return {each.name_lower for each in made}


def _is_additive(operation: Operation, *, new: set[str]) -> bool:
    if isinstance(operation, AddField):
        is_left_out = operation.field.null or operation.field.has_db_default()
        return is_left_out or operation.model_name_lower in new
    return not isinstance(operation, RemoveField | RenameField | DeleteModel)


def test_no_two_addresses_share_a_name() -> None:
    names = Counter(url_names(get_resolver().url_patterns))
    assert [name for name, count in names.items() if count > 1] == []


def url_names(
    patterns: list[URLPattern | URLResolver], namespace: str = ""
) -> list[str]:
    names: list[str] = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{namespace}{pattern.namespace or ''}:"
            names += url_names(pattern.url_patterns, inner)
        elif pattern.name:
            names.append(f"{namespace}{pattern.name}")
    return names


def test_no_address_of_the_api_ends_in_a_slash() -> None:
    own = [p for p in get_resolver().url_patterns if isinstance(p, URLPattern)]
    assert own
    assert [str(p.pattern) for p in own if str(p.pattern).endswith("/")] == []


def test_no_file_names_a_registry_or_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked_files()
        for line in text_of(path).splitlines()
        if FORBIDDEN.search(line.replace(ALLOWED, ""))
    ]
    assert found == []


@pytest.mark.parametrize(
    "word", ["://host/x/" + "simple", "/" + "farm/in", "pypi" + ".org"]
)
def test_the_rule_sees_what_it_forbids(word: str) -> None:
    assert FORBIDDEN.search(f"see {word} there")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_everything_and_no_address(name: str) -> None:
    text = text_of(ROOT / name)
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    pins = [block for block in blocks if re.match(r"[A-Za-z0-9._-]+(\[.*\])?==", block)]
    assert len(pins) > 30
    assert [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in text


def test_the_lock_of_running_is_part_of_the_lock_of_testing() -> None:
    pinned = r"^([A-Za-z0-9._-]+(?:\[.*\])?==\S+)"
    run, dev = (
        set(re.findall(pinned, text_of(ROOT / name), re.MULTILINE)) for name in LOCKS
    )
    assert run - dev == set()


@pytest.mark.parametrize("target", make_targets())
def test_every_make_target_explains_itself(target: str) -> None:
    assert re.search(
        rf"^{target}:[^\n]*## \S", text_of(ROOT / "Makefile"), re.MULTILINE
    )


def test_make_help_lists_every_target() -> None:
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"],  # noqa: S607  # from the path
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[0] for line in listed.splitlines() if line} == set(
        make_targets()
    )
