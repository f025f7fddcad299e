"""``octollm keys``: what an operator types to let somebody in."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from octollm.access.commands import app
from octollm.access.keys import create_key, find_key
from octollm.access.models import ApiKey, Owner
from octollm.log import configure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["keys", *words])


def test_a_made_key_is_printed_alone() -> None:
    result = run("create", "--name", "ci")
    assert result.exit_code == 0
    assert find_key(result.stdout.strip()) == ApiKey.objects.get()
    assert "only its hash is stored" in result.stderr


def test_a_made_key_is_described_in_json() -> None:
    result = run("create", "--name", "ci", "--owner", "acme", "--json")
    fields = json.loads(result.stdout)
    key = find_key(fields["key"])
    assert key is not None
    assert fields["id"] == str(key.pk)
    assert (fields["prefix"], fields["owner"], fields["name"]) == (
        key.prefix,
        "acme",
        "ci",
    )
    assert (fields["scopes"], fields["expires_at"]) == ([], None)


@pytest.mark.parametrize("scope", ["arms", "arm:word_count"])
def test_a_key_can_be_narrowed_to_announcing(scope: str) -> None:
    result = run("create", "--name", "p", "--scope", scope, "--json")
    assert json.loads(result.stdout)["scopes"] == [scope]


@pytest.mark.parametrize("scope", ["arm:", "arm:No", "arm:a b", "arms:x", "full"])
def test_a_scope_that_there_is_not_makes_no_key(scope: str) -> None:
    result = run("create", "--name", "p", "--scope", scope)
    assert result.exit_code != 0
    assert not ApiKey.objects.exists()


def test_a_key_can_be_narrowed_and_expire() -> None:
    result = run(
        "create", "--name", "p", "--scope", "metrics", "--expires-days", "0.5", "--json"
    )
    fields = json.loads(result.stdout)
    assert fields["scopes"] == ["metrics"]
    assert fields["expires_at"] > fields["created_at"]


@pytest.mark.parametrize(
    "words",
    [
        ("create", "--name", ""),
        ("create", "--name", "x", "--scope", "root"),
        ("create", "--name", "x", "--expires-days", "0"),
        ("create", "--name", "x", "--expires-days", "1e99"),
        ("create",),
        ("revoke", "octo_nobody"),
        ("revoke", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stderr
    assert ApiKey.objects.count() == 0


def test_keys_are_listed_without_their_tokens() -> None:
    key, token = create_key(owner_name="acme", name="ci", scopes=["metrics"])
    plain, listed = run("list").stdout, json.loads(run("list", "--json").stdout)
    assert key.prefix in plain
    assert "acme" in plain
    assert [row["id"] for row in listed] == [str(key.pk)]
    assert token not in plain
    assert "key" not in listed[0]


@pytest.mark.parametrize("by", ["pk", "prefix"])
def test_a_revoked_key_is_refused_from_then_on(by: str) -> None:
    key, token = create_key(owner_name="acme", name="ci")
    result = run("revoke", str(getattr(key, by)))
    again = run("revoke", str(getattr(key, by)))
    assert result.exit_code == again.exit_code == 0
    assert "was revoked before" in again.stdout
    assert find_key(token) is None


def test_a_prefix_of_several_keys_revokes_none() -> None:
    owner = Owner.objects.create(name="acme")
    for digit in "12":
        ApiKey.objects.create(owner=owner, name="x", prefix="octo_same", sha256=digit)
    result = run("revoke", "octo_same")
    assert result.exit_code == 2
    assert "several" in result.stderr
    assert ApiKey.objects.filter(revoked_at=None).count() == 2


def test_the_commands_are_found_without_django() -> None:
    code = (
        "import sys, octollm.access.commands; "
        "sys.exit(any(n == 'django' or n.startswith('django.') for n in sys.modules))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False).returncode == 0  # ours
