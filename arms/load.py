"""How busy each instance is, as far as this process has seen.

Each process looks at its own calls only: that costs no write, and all of them see the
same instances slow down.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

# A call this long ago counts a third of one now.
MEMORY_S = 3.0


@dataclass
class _Load:
    in_flight: int = 0
    latency_s: float | None = None
    at: float = 0.0


class Loads:
    """In-flight calls and latencies by instance. Safe to use from any thread."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._lock = threading.Lock()
        self._loads: dict[UUID, _Load] = defaultdict(_Load)

    def of(
        self, instance_id: UUID, *, probed_s: float | None
    ) -> tuple[int, float | None]:
        """Return the calls under way and the latency of one in seconds.

        What was seen fades towards what probes see: who was slow is tried again.
        """
        with self._lock:
            load = self._loads.get(instance_id)
            if load is None:
                return 0, probed_s
            if load.latency_s is None:
                return load.in_flight, probed_s
            kept = math.exp(-(time.monotonic() - load.at) / MEMORY_S)
            floor_s = min(load.latency_s, probed_s or 0.0)
            return load.in_flight, floor_s + (load.latency_s - floor_s) * kept

    @contextmanager
    def measured(self, instance_id: UUID) -> Iterator[None]:
        """Count a call while it runs, and how long it took."""
        began = time.monotonic()
        with self._lock:
            self._loads[instance_id].in_flight += 1
        try:
            yield
        finally:
            now = time.monotonic()
            with self._lock:
                load = self._loads[instance_id]
                load.in_flight -= 1
                self._note(load, now - began, now)

    def reset(self) -> None:
        """Start anew."""
        self.__init__()  # type: ignore[misc]  # as a new one

    @staticmethod
    def _note(load: _Load, took_s: float, now: float) -> None:
        """Let a slower call count at once and a faster one little by little.

        Source: the "peak EWMA" of Twitter's Finagle.
        """
        if load.latency_s is None or took_s > load.latency_s:
            kept = 0.5 if load.latency_s is not None else 0.0
        else:
            kept = 0.8
        before = load.latency_s or 0.0
        load.latency_s = before * kept + took_s * (1 - kept)
        load.at = now


loads = Loads()


# Another thread of the parent may have held the lock at the fork.
os.register_at_fork(after_in_child=loads.reset)
