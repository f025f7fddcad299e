"""What is logged helps an operator and holds nothing of what was sent."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from uuid import UUID

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import Client

from octollm.access.models import Owner
from octollm.errors import IllegalStateError
from octollm.log import configure, format_exception, safe_text

CARD = "4111 1111 1111 1111"


def raised(action: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # any, by design
        action()
    return caught.value


def rendered(error: BaseException) -> str:
    return format_exception((type(error), error, error.__traceback__))


def fail_on_a_value() -> None:
    card_number = CARD
    int(card_number)


def fail_because_of_a_value() -> None:
    try:
        fail_on_a_value()
    except ValueError as error:
        raise IllegalStateError("The task is finished.") from error


@pytest.fixture
def restore_logging(settings):
    yield
    configure(settings.LOGGING)


def test_frames_are_shown_and_values_are_not() -> None:
    text = rendered(raised(fail_on_a_value))
    assert "fail_on_a_value" in text
    assert "int(card_number)" in text
    assert "ValueError: (text withheld" in text
    assert "4111" not in text


def test_causes_are_shown_first_and_without_values() -> None:
    text = rendered(raised(fail_because_of_a_value))
    assert text.index("ValueError") < text.index("IllegalStateError")
    assert "The task is finished." in text
    assert "4111" not in text


def test_a_hidden_context_stays_hidden() -> None:
    def fail() -> None:
        try:
            fail_on_a_value()
        except ValueError:
            raise KeyError(CARD) from None

    text = rendered(raised(fail))
    assert "ValueError" not in text
    assert "4111" not in text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OperationalError("connection refused"), "connection refused"),
        (FileNotFoundError(2, "No such file", "socket"), "No such file"),
        (AttributeError("no attribute 'x'"), "no attribute"),
        (KeyError(CARD), "withheld"),
        (ValueError(CARD), "withheld"),
        (IntegrityError(CARD), "withheld"),
        (RuntimeError(CARD), "withheld"),
    ],
)
def test_text_is_kept_only_where_it_cannot_quote(error: Exception, text: str) -> None:
    assert text in safe_text(error)


def test_all_text_is_shown_in_debug(settings) -> None:
    settings.DEBUG = True
    assert safe_text(ValueError(CARD)) == CARD


@pytest.mark.django_db
def test_a_broken_constraint_is_named_without_its_row() -> None:
    def insert() -> None:
        with transaction.atomic():
            Owner.objects.create(name=CARD)
            Owner.objects.create(name=CARD)

    text = rendered(raised(insert))
    assert "23505" in text
    assert "owners_name" in text
    assert "4111" not in text


@pytest.mark.django_db
def test_a_statement_that_fails_is_not_quoted() -> None:
    def select() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT %s FROM nowhere", [CARD])

    text = rendered(raised(select))
    assert 'relation "nowhere" does not exist' in text
    assert "4111" not in text


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_style_shows_locals(style: str, capsys, restore_logging) -> None:
    configure({"level": "INFO", "format": style})
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sys.stderr)

    try:
        fail_on_a_value()
    except ValueError:
        logging.getLogger("octollm.tests").exception("It failed")

    text = capsys.readouterr().err
    assert "It failed" in text
    assert "fail_on_a_value" in text
    assert "4111" not in text


def test_a_line_is_one_json_object_with_its_request(capsys, restore_logging) -> None:
    configure({"level": "INFO", "format": "json"})
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sys.stderr)

    logging.getLogger("octollm.tests").info("Step %s is ready", "s1")

    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "Step s1 is ready"
    assert line["level"] == "info"
    assert line["logger"] == "octollm.tests"


@pytest.mark.parametrize(
    ("offered", "is_kept"),
    [
        ("0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b", True),
        ("0190A1B2-C3D4-7E5F-8A9B-0C1D2E3F4A5B", True),
        (CARD, False),
        ("jane@example.org", False),
        ("", False),
    ],
)
def test_a_callers_request_id_is_kept_only_if_it_is_an_id(
    offered: str, is_kept: bool
) -> None:
    response = Client().get("/health", headers={"X-Request-ID": offered})
    assert str(UUID(response["X-Request-ID"])) == response["X-Request-ID"]
    assert (response["X-Request-ID"] == offered.lower()) is is_kept


def test_an_unknown_host_is_not_logged(caplog) -> None:
    with caplog.at_level(logging.INFO):
        Client().get("/health", headers={"Host": "evil.example"})
    assert "DisallowedHost" in caplog.text
    assert "evil" not in caplog.text


def test_a_line_carries_our_ids_and_nothing_that_others_attach(
    capsys, restore_logging
) -> None:
    configure({"level": "INFO", "format": "json"})
    handler = logging.getLogger().handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(sys.stderr)

    logging.getLogger("octollm.x").info(
        "a step ended", extra={"task_id": "7", "request": "the whole request"}
    )

    line = json.loads(capsys.readouterr().err)
    assert line["task_id"] == "7"
    assert "request" not in line
