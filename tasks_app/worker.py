"""A worker process: its name, its heartbeat, its leases, and how it stops."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from types import FrameType
from uuid import uuid4

from django.conf import settings
from django.db import close_old_connections, connections
from django.db.models.functions import Now

from arms import llm, probing, registration, registry
from arms.retry_budget import budgets
from octollm import metrics
from octollm.resilience import leaders, outbound
from octollm.resilience.models import Worker
from reflex import screening
from tasks_app import reaper
from tasks_app.claims import held_claims
from tasks_app.hints import send_missing_hints

logger = logging.getLogger(__name__)

# How long a duty that is under way may take to end when the worker leaves.
LEAVE_S = 5.0


class ThisWorker:
    """The worker that this process is."""

    def __init__(self) -> None:
        """Take a name that no other process has or will have."""
        self.hostname = socket.gethostname()
        self.id = f"{self.hostname}:{os.getpid()}:{uuid4().hex[:8]}"
        self._queues: list[str] = []
        self._thread_count = 0
        self._stopping = threading.Event()
        self._hurrying = threading.Event()
        self._left = threading.Event()
        self._duties: list[threading.Thread] = []
        self._renewed_at = math.inf
        self._prober: probing.Prober | None = None
        self._asked_to_lead_at = -math.inf

    @property
    def is_stopping(self) -> bool:
        """Whether no further step should be claimed."""
        return self._stopping.is_set()

    def start(self, *, queues: list[str], threads: int) -> None:
        """Start the duties; a database that is away now is tried again by each."""
        self._queues, self._thread_count = queues, threads
        self._every(settings.OCTOLLM_LEASE_RENEW_S, self._renew)
        # Apart from the renewal: what an announcement loads and writes takes its time,
        # and steps are claimed already.
        self._every(settings.OCTOLLM_LEASE_RENEW_S, self._beat)
        self._every(settings.OCTOLLM_CANCEL_POLL_S, held_claims.stop_lost)
        self._every(settings.OCTOLLM_REAPER_INTERVAL_S, self._reap)
        # What is under way notices that its instance was found down.
        self._every(registry.FRESH_S, registry.refresh)
        self._every(probing.INTERVAL_S, self._probe)

    def heed_signals(self) -> None:
        """Stop claiming at the first SIGTERM, give back what runs at the second.

        Dramatiq notices the first within a second and ends the process at the second,
        with all that it holds; here that is left to a third.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)

        def on_signal(number: int, frame: FrameType | None) -> None:
            is_first, is_second = not self.is_stopping, not self._hurrying.is_set()
            self._stopping.set()
            if not is_first and is_second:
                self._hurrying.set()
                held_claims.stop_all()
            elif callable(handler):
                handler(number, frame)

        signal.signal(signal.SIGTERM, on_signal)

    def stop(self) -> None:
        """Claim nothing more; after half of the bound stop what still runs."""
        self._stopping.set()
        late = threading.Timer(settings.OCTOLLM_SHUTDOWN_S / 2, held_claims.stop_all)
        late.daemon = True
        late.start()
        Worker.objects.filter(pk=self.id).update(stopping_at=Now())

    def leave(self) -> None:
        """Take the row away: every step is settled or given back."""
        self._left.set()
        for thread in self._duties:
            thread.join(timeout=LEAVE_S)
        outbound.shutdown()
        leaders.resign("reaper", holder=self.id)
        leaders.resign("prober", holder=self.id)
        Worker.objects.filter(pk=self.id).delete()

    def _renew(self) -> None:
        self._notice_a_stall()
        held_claims.renew()

    def _beat(self) -> None:
        budgets.refill()
        known = Worker.objects.filter(pk=self.id).update(heartbeat_at=Now())
        if not known:
            self._announce()

    def _notice_a_stall(self) -> None:
        """Tell of time in which no thread of this process ran.

        A call that keeps the interpreter's lock, a paused process, a machine that
        sleeps: leases ran out meanwhile, and others may have the steps. What was lost
        is stopped before its work is renewed or goes on.
        """
        now = time.monotonic()
        stood_s = now - self._renewed_at - settings.OCTOLLM_LEASE_RENEW_S
        self._renewed_at = now
        if stood_s < settings.OCTOLLM_LEASE_RENEW_S:
            return
        metrics.WORKER_STALLS.inc()
        lost = held_claims.stop_lost()
        logger.warning(
            "the worker stood still",
            extra={"seconds": round(stood_s, 1), "lost_claims": lost},
        )

    def _announce(self) -> None:
        # Compiles the rules, loads libraries: the first step would wait for it.
        screening.is_ready()
        llm.load_client()
        registration.write_local(registry.local_catalogue())
        Worker.objects.create(
            id=self.id,
            hostname=self.hostname,
            pid=os.getpid(),
            queues=self._queues,
            threads=self._thread_count,
        )

    def _reap(self) -> None:
        ttl_s = settings.OCTOLLM_LEADER_TTL_S
        if leaders.lead("reaper", holder=self.id, ttl_s=ttl_s):
            reaper.tick(send_missing_hints)

    def _probe(self) -> None:
        """Look after arms, if this is the worker that does."""
        now, ttl_s = time.monotonic(), settings.OCTOLLM_LEADER_TTL_S
        if now - self._asked_to_lead_at >= ttl_s / 3:
            self._asked_to_lead_at = now
            leads = leaders.lead("prober", holder=self.id, ttl_s=ttl_s)
            if leads != (self._prober is not None):
                self._prober = probing.Prober() if leads else None
        if self._prober is not None:
            self._prober.tick()

    def _every(self, interval_s: float, act: Callable[[], object]) -> None:
        thread = threading.Thread(
            target=self._repeat, args=(interval_s, act), name=f"every-{act.__name__}"
        )
        thread.daemon = True
        thread.start()
        self._duties.append(thread)

    def _repeat(self, interval_s: float, act: Callable[[], object]) -> None:
        """Do something now and until the worker has left, whatever fails meanwhile."""
        is_over = False
        while not is_over:
            try:
                close_old_connections()
                act()
            except Exception:
                logger.exception("a duty of the worker failed: %s", act.__name__)
            is_over = self._left.wait(interval_s)
        connections.close_all()


@cache
def this_worker() -> ThisWorker:
    """Return the worker that this process is; made after the fork, at first use."""
    return ThisWorker()
