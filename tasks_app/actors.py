"""The queue's entry points: a message says "look", and names no step."""

from __future__ import annotations

import random
import time

import dramatiq
from django.db import close_old_connections

from tasks_app.claims import claim_next, has_ready
from tasks_app.hints import ACTORS, Hints, send_hints
from tasks_app.pipeline import run_step
from tasks_app.worker import this_worker

# How often to look again when a task that is being changed hides a ready step.
MAX_LOOKS = 50
NO_LIMIT = float("inf")


@dramatiq.actor(
    queue_name="default",
    actor_name=ACTORS["default"],
    max_retries=0,
    time_limit=NO_LIMIT,
)
def look_default() -> None:
    """Run ready steps of the queue ``default`` until there is none."""
    look("default")


@dramatiq.actor(
    queue_name="sandbox",
    actor_name=ACTORS["sandbox"],
    max_retries=0,
    time_limit=NO_LIMIT,
)
def look_sandbox() -> None:
    """Run ready steps of the queue ``sandbox`` until there is none."""
    look("sandbox")


def look(queue: str) -> None:
    """Claim, run and settle the best ready step, and the next, until none is ready."""
    worker = this_worker()
    looks = 0
    while not worker.is_stopping and looks < MAX_LOOKS:
        # A PostgreSQL that was restarted is noticed between steps, not at the end.
        close_old_connections()
        claim = claim_next((queue,), worker=worker.id)
        if claim is None:
            if not has_ready((queue,)):
                return
            looks += 1
            time.sleep(random.uniform(0.002, 0.01))  # noqa: S311  # spreads lookers
            continue
        looks = 0
        hints = run_step(claim)
        # This thread takes one of the ready steps itself, unless it takes none.
        own = 0 if hints.delay_s or worker.is_stopping else 1
        send_hints(queue, Hints(count=hints.count - own, delay_s=hints.delay_s))
        if claim.has_slot:
            # One more of the owner's may start now, and this thread may take another's.
            send_hints(queue, Hints(count=1))
