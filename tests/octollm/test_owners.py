"""What an operator does to owners: from code, the command line and the admin."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.test import Client
from typer.testing import CliRunner, Result

from octollm.access import owners
from octollm.access.callers import owner_of_user
from octollm.access.commands import app
from octollm.access.keys import get_or_create_owner
from octollm.access.models import Owner
from octollm.errors import OwnerStoppedError
from octollm.log import configure
from octollm.resilience import switches
from octollm.resilience.models import Slot, Switch

pytestmark = pytest.mark.django_db

OWNERS = "/admin/octollm/owner/"
SWITCHES = "/admin/octollm/switch/"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "_followers", [])


@pytest.fixture
def owner() -> Owner:
    return Owner.objects.create(name="acme")


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ada", password="x"))
    return client


def places(owner: Owner) -> int:
    return Slot.objects.filter(scope=f"owner:{owner.pk}").count()


class TestLimits:
    def test_new_owner_has_no_limit_unless_the_settings_say_so(self):
        made = get_or_create_owner("acme")

        assert (made.max_running, places(made)) == (None, 0)

    @pytest.mark.parametrize("usual", [4, 99_999])
    def test_new_owner_gets_the_usual_limit_with_its_slots(self, settings, usual):
        settings.OCTOLLM_OWNER_MAX_RUNNING = usual
        expected = min(usual, 1_000)

        made = get_or_create_owner("acme")
        account = owner_of_user(User.objects.create_user("bob"))

        assert (made.max_running, places(made)) == (expected, expected)
        assert (account.max_running, places(account)) == (expected, expected)

    def test_owner_who_is_there_keeps_its_limit(self, settings, owner):
        settings.OCTOLLM_OWNER_MAX_RUNNING = 4

        assert get_or_create_owner("acme") == owner
        owner.refresh_from_db()
        assert (owner.max_running, places(owner)) == (None, 0)

    def test_slots_follow_the_limit(self, owner):
        owners.limit(owner, 5)
        assert places(owner) == 5
        owners.limit(owner, 2)
        assert places(owner) == 2
        owners.limit(owner, None)

        owner.refresh_from_db()
        assert (owner.max_running, places(owner)) == (None, 0)

    @pytest.mark.parametrize("count", [0, -1, 1_001])
    def test_limit_out_of_range_changes_nothing(self, owner, count):
        owners.limit(owner, 2)

        with pytest.raises(ValueError, match="from 1 to 1000"):
            owners.limit(owner, count)

        assert places(owner) == 2

    def test_database_refuses_a_limit_that_lets_nothing_run(self, owner):
        with pytest.raises(IntegrityError), transaction.atomic():
            Owner.objects.update(max_running=0)


class TestStops:
    def test_stopped_owner_is_refused_until_it_goes_on(self, owner):
        owners.require_started(owner)
        owners.stop(owner, by="ada", reason="unpaid")
        owner.refresh_from_db()
        with pytest.raises(OwnerStoppedError) as caught:
            owners.require_started(owner)

        assert owners.start(owner, by="ada")

        owner.refresh_from_db()
        owners.require_started(owner)
        assert (caught.value.code, caught.value.http_status) == ("owner_stopped", 403)
        assert "unpaid" not in caught.value.message

    def test_stop_says_who_and_why_and_when(self, owner):
        owners.stop(owner, by="ada", reason="unpaid")

        switch = Switch.objects.get(name=f"owner:{owner.pk}")

        assert (switch.by, switch.reason, switch.ended_at) == ("ada", "unpaid", None)

    def test_stop_of_one_leaves_the_other(self, owner):
        other = Owner.objects.create(name="other")

        owners.stop(owner, by="ada")

        other.refresh_from_db()
        assert other.stopped_at is None

    def test_first_moment_of_a_stop_stays_when_it_is_stopped_again(self, owner):
        owners.stop(owner, by="ada")
        owner.refresh_from_db()
        first = owner.stopped_at

        owners.stop(owner, by="bob", is_now=True)

        owner.refresh_from_db()
        assert owner.stopped_at == first
        assert Switch.objects.filter(ended_at=None).get().by == "bob"

    def test_letting_go_on_who_was_not_stopped_changes_nothing(self, owner):
        assert not owners.start(owner, by="ada")
        assert not Switch.objects.exists()


class TestCommands:
    @pytest.fixture(autouse=True)
    def _joined(self, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
        """Have the command find a system: the tests' own."""
        monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
        yield
        # The command set up logging to the stream that its runner caught and closed.
        configure(settings.LOGGING)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["owners", *words])

    def test_owner_is_limited_and_the_limit_lifted(self, owner):
        assert self.run("limit", "acme", "--running", "3").exit_code == 0
        assert places(owner) == 3

        assert self.run("limit", "acme", "--running", "none").exit_code == 0
        assert places(owner) == 0

    @pytest.mark.parametrize(
        "words",
        [
            ("limit", "acme", "--running", "0"),
            ("limit", "acme", "--running", "many"),
            ("limit", "nobody", "--running", "3"),
            ("limit", "acme"),
            ("stop", "nobody"),
            ("start", "nobody"),
        ],
    )
    def test_what_makes_no_sense_is_refused_with_a_reason(self, owner, words):
        result = self.run(*words)

        assert result.exit_code == 2
        assert result.stderr
        assert (places(owner), Switch.objects.count()) == (0, 0)

    def test_owner_is_stopped_with_a_reason_and_goes_on(self, owner):
        stopped = self.run("stop", "acme", "--reason", "unpaid", "--now")
        switch = Switch.objects.get()
        started, again = self.run("start", "acme"), self.run("start", "acme")

        assert stopped.stdout == "acme is stopped. 0 steps were given back.\n"
        assert (switch.reason, switch.is_now) == ("unpaid", True)
        assert "at the command line" in switch.by
        assert (started.stdout, again.stdout) == (
            "acme goes on.\n",
            "acme was not stopped.\n",
        )

    def test_owners_are_listed_with_limits_and_stops(self, owner):
        owners.limit(owner, 3)
        owners.stop(owner, by="ada", reason="unpaid")
        Owner.objects.create(name="free")

        plain, rows = self.run("list").stdout, json.loads(
            self.run("list", "--json").stdout
        )

        assert "acme  runs 3 at once  stopped since" in plain
        assert "unpaid" in plain
        assert "free  runs any number at once" in plain
        assert [row["max_running"] for row in rows] == [3, None]
        assert (rows[0]["stopped"]["by"], rows[1]["stopped"]) == ("ada", None)


class TestAdmin:
    def chosen(self, owner: Owner, action: str, **values: str) -> dict[str, object]:
        return {"action": action, "_selected_action": [str(owner.pk)], **values}

    @pytest.mark.parametrize("action", ["stop", "stop_now"])
    def test_owner_is_stopped_after_a_second_question(
        self, operator: Client, owner: Owner, action: str
    ):
        question = operator.post(OWNERS, self.chosen(owner, action))
        assert question.status_code == 200
        assert b"submissions are refused" in question.content
        assert not Switch.objects.exists()

        answer = self.chosen(owner, action, confirmed="1", reason="unpaid")
        operator.post(OWNERS, answer)

        switch = Switch.objects.get()
        assert (switch.by, switch.reason) == ("ada", "unpaid")
        assert switch.is_now is (action == "stop_now")

    def test_owner_goes_on_after_a_second_question(
        self, operator: Client, owner: Owner
    ):
        owners.stop(owner, by="ada")
        operator.post(OWNERS, self.chosen(owner, "start"))
        assert Switch.objects.filter(ended_at=None).exists()

        operator.post(OWNERS, self.chosen(owner, "start", confirmed="1"))

        owner.refresh_from_db()
        assert owner.stopped_at is None

    def test_who_may_only_look_stops_nobody(self, owner: Owner):
        viewer = User.objects.create_user("viewer", is_staff=True)
        viewer.user_permissions.add(
            Permission.objects.get(codename="view_owner"),
            Permission.objects.get(codename="view_switch"),
        )
        client = Client()
        client.force_login(viewer)

        client.post(OWNERS, self.chosen(owner, "stop", confirmed="1"))
        refused = client.post(f"{SWITCHES}stop-all/", {"confirmed": "1"})

        assert refused.status_code == 403
        assert not Switch.objects.exists()

    def test_limit_is_set_with_its_slots(self, operator: Client, owner: Owner):
        page = f"{OWNERS}{owner.pk}/change/"

        operator.post(page, {"name": "acme", "is_active": "on", "max_running": "3"})

        owner.refresh_from_db()
        assert (owner.max_running, places(owner)) == (3, 3)
        assert "is_active" in operator.get(page).content.decode()

    @pytest.mark.parametrize("wrong", ["0", "1001", "x"])
    def test_limit_that_makes_no_sense_is_refused(
        self, operator: Client, owner: Owner, wrong: str
    ):
        page = f"{OWNERS}{owner.pk}/change/"

        operator.post(page, {"name": "acme", "is_active": "on", "max_running": wrong})

        assert places(owner) == 0

    def test_new_owner_is_offered_the_usual_limit(self, operator: Client, settings):
        settings.OCTOLLM_OWNER_MAX_RUNNING = 17

        assert b'value="17"' in operator.get(f"{OWNERS}add/").content

    def test_maintenance_is_turned_after_a_question_and_every_page_says_so(
        self, operator: Client
    ):
        assert b"Turn maintenance on" in operator.get(SWITCHES).content
        question = operator.get(f"{SWITCHES}turn-on/")
        assert b"No step starts" in question.content
        assert not Switch.objects.exists()

        operator.post(f"{SWITCHES}turn-on/", {"reason": "<b>disk</b>"})

        assert Switch.objects.get().by == "ada"
        for page in ("/admin/", OWNERS, SWITCHES, "/admin/tasks_app/task/"):
            content = operator.get(page).content.decode()
            assert "Maintenance is on since" in content
            assert "&lt;b&gt;disk" in content
        operator.post(f"{SWITCHES}turn-off/", {})
        assert "Maintenance is on" not in operator.get("/admin/").content.decode()

    def test_banner_is_not_for_who_has_not_signed_in(self, client: Client):
        switches.turn_on(switches.MAINTENANCE, by="ada")

        assert "Maintenance" not in client.get("/admin/login/").content.decode()

    def test_everything_is_stopped_now(self, operator: Client):
        operator.post(f"{SWITCHES}stop-all/", {"reason": "it burns"})

        switch = Switch.objects.get()
        assert (switch.name, switch.is_now) == ("maintenance", True)
