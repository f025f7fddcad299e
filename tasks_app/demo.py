"""The demo: sample reviews, the hand-over's goal, progress and result in a terminal."""

from __future__ import annotations

import json
import shutil
import textwrap
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

import httpx2
from django.urls import reverse

import arms.knowledge
from arms.knowledge.documents import NewDocument, ingest_all
from octollm.access import DEFAULT_OWNER
from octollm.access.keys import create_key, get_or_create_owner
from tasks_app.models import Task

COLLECTION = "sample product reviews"
SAMPLE = Path(arms.knowledge.__file__).parent / "samples" / "product_reviews.jsonl"
BODY = {
    "goal": "Analyze sentiment of product reviews",
    "constraints": ["No PII"],
    "acceptance_criteria": ["Sentiment score -1 to 1"],
    "priority": "high",
    "context": {"collection": COLLECTION},
}
POLL_S = 0.2
TIMEOUT_S = 120.0


def run_demo(*, base_url: str, ingests: bool, out: TextIO) -> bool:
    """Run the demo against a running system; say whether the task completed.

    The key it uses acts for the operator's owner and expires within the hour.
    """
    if ingests:
        _ingest_sample(out)
    _, key = create_key(
        owner_name=DEFAULT_OWNER, name="demo", expires_in=timedelta(hours=1)
    )
    with httpx2.Client(
        base_url=base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30
    ) as client:
        began = time.monotonic()
        answer = client.post("/submit", json=BODY)
        answer.raise_for_status()
        task_id = answer.json()["task_id"]
        _print_request(f"{base_url}/tasks/{task_id}", out)
        task = _follow(client, task_id, out)
    _print_result(task, time.monotonic() - began, out)
    page = reverse("admin:tasks_app_task_change", args=[task_id])
    print(f"  all of it: {base_url}{page}", file=out, flush=True)
    return bool(task["status"] == Task.Status.COMPLETED)


def _ingest_sample(out: TextIO) -> None:
    """Ingest the sample once; content that is there already is not stored again."""
    owner = get_or_create_owner(DEFAULT_OWNER)
    rows = [json.loads(line) for line in SAMPLE.read_text().splitlines() if line]
    ingested = ingest_all(
        owner.pk,
        [
            NewDocument(
                collection=COLLECTION,
                title=row["title"],
                text=row["text"],
                metadata=row.get("metadata", {}),
            )
            for row in rows
        ],
    )
    new = sum(document.duplicate_of is None for document in ingested)
    how = f"{new} of them ingested now" if new else "ingested before"
    print(
        f"Sample: {len(rows)} product reviews written for this project, in the "
        f"collection “{COLLECTION}” ({how}).",
        file=out,
    )


def _print_request(address: str, out: TextIO) -> None:
    print("\nPOST /submit", file=out)
    for key, value in BODY.items():
        shown = value if isinstance(value, str) else json.dumps(value)
        print(f"  {key}: {shown}", file=out)
    print(f"→ {address}", file=out, flush=True)


def _follow(client: httpx2.Client, task_id: str, out: TextIO) -> dict[str, Any]:
    """Print each event as it comes, until the task has ended."""
    seen, deadline = 0, time.monotonic() + TIMEOUT_S
    while True:
        task: dict[str, Any] = client.get(f"/tasks/{task_id}").json()
        page = client.get(f"/tasks/{task_id}/events", params={"after": seen}).json()
        for event in page["results"]:
            seen = event["seq"]
            print(f"  {_line(event)}", file=out, flush=True)
        if task["status"] in Task.TERMINAL or time.monotonic() > deadline:
            return task
        time.sleep(POLL_S)


def _line(event: Mapping[str, Any]) -> str:
    data = event["data"]
    shown = data.get("step_id") or data.get("step_ids") or data.get("steps") or ""
    names = ", ".join(shown) if isinstance(shown, list) else str(shown)
    return f"{event['at'][11:23]}  {event['type']:<16} {names}".rstrip()


def _print_result(task: Mapping[str, Any], seconds: float, out: TextIO) -> None:
    result = task["result"] or {}
    cost = Decimal(task["spent"]["cost_usd"]).normalize()
    lines = [
        *(f"{key}: {value}" for key, value in _plain(result)),
        *(
            f"{item['verdict']}: {item['criterion']} ({item['evidence']})"
            for item in (*result.get("criteria", ()), *result.get("constraints", ()))
        ),
    ]
    if task["error"]:
        lines.append(f"{task['error']['code']}: {task['error']['message']}")
    print(
        f"\n{task['status']} after {seconds:.1f} s, ${cost:f}, "
        f"confidence {task['confidence']}",
        *map(_wrapped, lines),
        sep="\n",
        file=out,
        flush=True,
    )


def _wrapped(line: str) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ")


def _plain(result: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Return numbers, then sentences; the answer would only repeat them."""
    hidden = {"answer", "partial"}
    shown = (
        (key, value)
        for key, value in result.items()
        if isinstance(value, str | int | float) and key not in hidden
    )
    return sorted(shown, key=lambda item: isinstance(item[1], str))
