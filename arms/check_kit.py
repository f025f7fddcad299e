"""The contract as checks, for authors of arms: ``octollm arm check URL``.

Each check is a function that returns nothing, or a remark, and raises what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal
from uuid import uuid4

from jsonschema import Draft202012Validator
from pydantic import ValidationError

from arms.check_calls import WORK_S, Answer, BrokenError, Caller, make_request
from arms.client import ANSWER_TIMEOUT_S
from arms.contract import ArmReply, ArmRequest, Capability
from arms.entries import NAME, Entry, read_entry
from arms.example_input import example_of, misfit_of
from arms.places import Place
from octollm.errors import ArmError
from octollm.types import JSONObject

Outcome = Literal["passed", "failed", "skipped"]
POLL_S = 0.1
# More than any arm needs to take.
LARGE_BYTES = 9 * 2**20


class WrongError(Exception):
    """The arm breaks the contract; the text says how."""


class SkippedError(Exception):
    """The check says nothing of this arm; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to check: where, by which token, and what to ask for."""

    url: str
    token: str = field(default="", repr=False)
    capability: str | None = None
    input: JSONObject | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        means: what the contract wants there.
        detail: what was wrong, or why nothing can be said.
    """

    name: str
    outcome: Outcome
    means: str
    detail: str = ""

    def as_json(self) -> JSONObject:
        """Return it as JSON."""
        return asdict(self)


def check_arm(asked: Asked) -> list[Finding]:
    """Check an arm; one finding per check, in order. It does some steps of its work."""
    kit = _Kit(asked)
    return list(_findings(kit))


def _findings(kit: _Kit) -> Iterator[Finding]:
    for check in _CHECKS:
        name, means = check.__name__, (check.__doc__ or "").rstrip(".")
        outcome: Outcome = "passed"
        try:
            detail = check(kit) or ""
        except (WrongError, BrokenError) as error:
            outcome, detail = "failed", str(error)
        except SkippedError as error:
            outcome, detail = "skipped", str(error)
        yield Finding(name=name, outcome=outcome, means=means, detail=detail)


class _Kit:
    """The arm under check, and what is known of it so far."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        place = Place(name="", url=asked.url.rstrip("/"), token=asked.token)
        self.caller = Caller(place)
        self._entry: Entry | None = None
        self._first: tuple[ArmRequest, ArmReply] | None = None

    @property
    def entry(self) -> Entry:
        """The arm's entry."""
        if self._entry is None:
            raise SkippedError("the arm shows no valid entry")
        return self._entry

    @entry.setter
    def entry(self, entry: Entry) -> None:
        self._entry = entry

    @property
    def first(self) -> tuple[ArmRequest, ArmReply]:
        """The first request that was answered, with its reply."""
        if self._first is None:
            raise SkippedError("no request was answered")
        return self._first

    @first.setter
    def first(self, answered: tuple[ArmRequest, ArmReply]) -> None:
        self._first = answered

    @property
    def capability(self) -> Capability:
        """What is asked for."""
        spec = self.entry.to_spec(may_see=())
        if self.asked.capability is None:
            return spec.capabilities[0]
        found = spec.capability(self.asked.capability)
        if found is None:
            raise SkippedError("the arm has no such capability")
        return found

    def request(self, **options: Any) -> ArmRequest:
        """Return a request that the arm can do, under an id of its own."""
        given = self.asked.input
        if given is None:
            given = example_of(dict(self.capability.input_schema))
        if given is None:
            raise SkippedError(
                "no example could be made of the input's schema: give one by --input"
            )
        return make_request(self.capability.name, given, **options)

    def another(self) -> ArmRequest:
        """Return one like the first; skip what cannot go better than that did."""
        _ = self.first
        return self.request()

    def need_store(self) -> None:
        """Skip what only an arm with a store can be held to."""
        if not self.entry.has_store:
            raise SkippedError("without a store the arm works at least once on a crash")

    def reply_to(self, request: ArmRequest, answer: Answer) -> ArmReply:
        """Return the reply of an answer, waiting for one that was taken on."""
        if answer.status == 202 and self.entry.has_store:
            return self._await(request)
        if answer.status != 200:
            raise WrongError(f"it answers with {answer.shown()}")
        return _reply_of(answer.json())

    def _await(self, request: ArmRequest) -> ArmReply:
        until = time.monotonic() + WORK_S
        while time.monotonic() < until:
            found = self.caller.get(f"executions/{request.request_id}").json()
            state = found.get("state") if isinstance(found, dict) else None
            if state == "done":
                return _reply_of(found.get("reply"))
            if state != "running":
                raise WrongError(f"taken on, it is then “{state}” in the store")
            time.sleep(POLL_S)
        raise WrongError(f"it was taken on and is not done in {WORK_S:.0f} s")


# The checks, in order ------------------------------------------------------------------
def entry(kit: _Kit) -> str:
    """GET / shows a valid catalogue entry: names, schemas, contract version."""
    answer = kit.caller.get("")
    if answer.status != 200:
        raise WrongError(f"it answers with {answer.shown()}")
    shown = answer.json()
    name = shown.get("name") if isinstance(shown, dict) else None
    try:
        kit.entry = read_entry(answer.body, name=str(name))
    except ArmError as error:
        raise WrongError(f"{error.message} (names are {NAME})") from None
    names = [capability.name for capability in kit.entry.capabilities]
    return f"{kit.entry.name} {kit.entry.version}: {', '.join(names)}"


def health(kit: _Kit) -> None:
    """GET /health answers 200 within two seconds, without a token."""
    answer = Caller(Place(name="", url=kit.asked.url.rstrip("/"))).get(
        "health", within_s=ANSWER_TIMEOUT_S
    )
    if answer.status != 200:
        raise WrongError(f"it answers with {answer.shown()}")


def execute(kit: _Kit) -> str:
    """POST /execute with an example answers a valid reply."""
    request = kit.request()
    answer = kit.caller.execute(request)
    kit.first = request, kit.reply_to(request, answer)
    return f"{request.capability}, {answer.took_s:.2f} s"


def output(kit: _Kit) -> None:
    """What it puts out fits the schema that its entry shows."""
    _, reply = kit.first
    validator = Draft202012Validator(dict(kit.capability.output_schema))
    fault = next(iter(validator.iter_errors(reply.output)), None)
    if fault is not None:
        raise WrongError(f"at {fault.json_path}: {fault.message[:200]}")


def repeat(kit: _Kit) -> None:
    """The same request_id gets the same answer."""
    kit.need_store()
    request, reply = kit.first
    _want_same(kit.reply_to(request, kit.caller.execute(request)), reply)


def recall(kit: _Kit) -> None:
    """GET /executions/{request_id} says “done” with that answer."""
    kit.need_store()
    request, reply = kit.first
    answer = kit.caller.get(f"executions/{request.request_id}")
    found = answer.json()
    if not isinstance(found, dict) or found.get("state") != "done":
        raise WrongError(f"it answers with {answer.shown()}")
    _want_same(_reply_of(found.get("reply")), reply)


def unknown(kit: _Kit) -> None:
    """GET /executions of an id that was never sent is 404, or says “unknown”."""
    kit.need_store()
    answer = kit.caller.get(f"executions/{uuid4()}")
    found = answer.json()
    is_said = isinstance(found, dict) and found.get("state") == "unknown"
    if answer.status != 404 and not (answer.status == 200 and is_said):
        raise WrongError(f"it answers with {answer.shown()}")


def at_once(kit: _Kit) -> None:
    """Two requests at once under one id get one answer."""
    kit.need_store()
    request = kit.another()
    answers = kit.caller.twice_at_once(request)
    first, second = (kit.reply_to(request, answer) for answer in answers)
    _want_same(first, second)


def newer(kit: _Kit) -> None:
    """A field of a newer contract is passed over."""
    request = kit.another()
    body = request.model_dump(mode="json") | {"a_field_of_later": {"x": 1}}
    kit.reply_to(request, kit.caller.execute(body))


def malformed(kit: _Kit) -> None:
    """A body that is no JSON is refused by a 4xx."""
    _want_refusal(kit.caller.execute(b'{"request_id": '))


def misshapen(kit: _Kit) -> None:
    """A request without what it needs is refused by a 4xx."""
    _want_refusal(kit.caller.execute({"capability": 7, "input": "none"}))


def wrong_input(kit: _Kit) -> None:
    """An input that does not fit the schema is refused by a 4xx."""
    misfit = misfit_of(dict(kit.capability.input_schema))
    if misfit is None:
        raise SkippedError("the schema seems to allow every object")
    _want_refusal(kit.caller.execute(make_request(kit.capability.name, misfit)))


def wrong_capability(kit: _Kit) -> None:
    """A capability that the entry does not name is refused by a 4xx."""
    request = kit.request()
    other = request.model_copy(update={"capability": "nobody_offers_this"})
    _want_refusal(kit.caller.execute(other))


def no_token(kit: _Kit) -> None:
    """Without its token, or with another, it answers 401."""
    if not kit.asked.token:
        raise SkippedError("no token was given: whoever reaches the arm may use it")
    for token in ("", "x" + kit.asked.token):
        answer = kit.caller.execute_as(token, kit.request())
        if answer.status != 401:
            raise WrongError(f"it answers with {answer.shown()}")


def late(kit: _Kit) -> None:
    """A request whose deadline is over is refused, or answered in two seconds."""
    answer = kit.caller.execute(kit.request(deadline_in_s=-60.0))
    if answer.status < 400 and answer.took_s > ANSWER_TIMEOUT_S:
        raise WrongError(f"it took {answer.took_s:.1f} s over it")


def large(kit: _Kit) -> str:
    """A request of nine megabytes is done or refused, not by a 5xx, and it stays well."""
    body = kit.another().model_dump(mode="json")
    body["description"] = "x" * LARGE_BYTES
    try:
        answer = kit.caller.execute(body)
    except BrokenError:
        # Who refuses may stop reading before all is sent.
        said = "it closed the connection"
    else:
        said = f"status {answer.status}"
        if answer.status >= 500:
            raise WrongError(f"it answers with {answer.shown()}")
    health(kit)
    return said


_CHECKS: tuple[Callable[[_Kit], str | None], ...] = (
    *(entry, health, execute, output, repeat, recall, unknown, at_once, newer),
    *(malformed, misshapen, wrong_input, wrong_capability, no_token, late, large),
)


def _reply_of(found: Any) -> ArmReply:
    try:
        return ArmReply.model_validate(found)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        raise WrongError(f"no valid reply: {place}: {first['msg']}") from None


def _want_same(one: ArmReply, other: ArmReply) -> None:
    if one != other:
        raise WrongError("the answers differ")


def _want_refusal(answer: Answer) -> None:
    if not 400 <= answer.status < 500:
        raise WrongError(f"it answers with {answer.shown()}")
