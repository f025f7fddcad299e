"""How the check kit talks to an arm: one bounded exchange at a time."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx2
from django.conf import settings

from arms.contract import ArmRequest, StepBudget
from arms.places import Place
from octollm.types import JSONObject

# How long an arm may take for the example's work.
WORK_S = 30.0
_AROUND_REPLY_BYTES = 4_096


class BrokenError(Exception):
    """No whole answer came; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the arm answered."""

    status: int
    body: bytes
    took_s: float

    def json(self) -> Any:
        """Return the body as JSON, or None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def shown(self) -> str:
        """Say what it was, in a line."""
        return f"status {self.status}: {self.body[:120].decode(errors='replace')}"


class Caller:
    """Sends requests to the arm at one place."""

    def __init__(self, place: Place) -> None:
        """Know where it is; nothing is sent."""
        self._place = place

    def get(self, path: str, *, within_s: float = 10.0) -> Answer:
        """GET a page of the arm's.

        Raises:
            BrokenError: none came in time.
        """
        return self._exchange("GET", path, None, self._place.token, within_s)

    def execute(
        self, body: ArmRequest | bytes | JSONObject, *, within_s: float = WORK_S
    ) -> Answer:
        """POST to ``/execute`` what is given, as it is.

        Raises:
            BrokenError: none came in time.
        """
        content = _content(body)
        return self._exchange("POST", "execute", content, self._place.token, within_s)

    def execute_as(self, token: str, body: ArmRequest) -> Answer:
        """POST with another token; with none if it is empty."""
        return self._exchange("POST", "execute", _content(body), token, WORK_S)

    def twice_at_once(self, body: ArmRequest) -> list[Answer]:
        """POST the same request two times at once."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(self.execute, [body, body]))

    def _exchange(
        self,
        method: str,
        path: str,
        content: bytes | None,
        token: str,
        within_s: float,
    ) -> Answer:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        began = time.monotonic()
        try:
            with httpx2.stream(
                method,
                f"{self._place.url}/{path}",
                content=content,
                headers=headers,
                timeout=within_s,
                trust_env=False,
            ) as response:
                body = _read(response, until=began + within_s)
                status = response.status_code
        except httpx2.HTTPError as error:
            raise BrokenError(f"no answer came ({type(error).__name__})") from None
        return Answer(status=status, body=body, took_s=time.monotonic() - began)


def _read(response: httpx2.Response, *, until: float) -> bytes:
    most = settings.OCTOLLM_MAX_OUTPUT_BYTES + _AROUND_REPLY_BYTES
    body = bytearray()
    for part in response.iter_raw():
        body += part
        if len(body) > most:
            raise BrokenError(f"the answer has more than {most} bytes")
        if time.monotonic() > until:
            raise BrokenError("the answer did not end in time")
    return bytes(body)


def _content(body: ArmRequest | bytes | JSONObject) -> bytes:
    if isinstance(body, ArmRequest):
        return body.model_dump_json().encode()
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def make_request(
    capability: str,
    given: JSONObject,
    *,
    request_id: UUID | None = None,
    deadline_in_s: float = WORK_S,
) -> ArmRequest:
    """Return a request as a worker sends it, of a task that does not exist."""
    return ArmRequest(
        request_id=request_id or uuid4(),
        task_id=uuid4(),
        step_id="check",
        attempt=1,
        capability=capability,
        description="A check of the contract.",
        input=given,
        budget=StepBudget(
            deadline_at=datetime.now(UTC) + timedelta(seconds=deadline_in_s)
        ),
    )
