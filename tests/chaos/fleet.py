"""The processes of a chaos run: started, killed, started again, and looked after.

Everything happens in the thread that calls, without waiting: `tick` does what is due.
It should be the main thread, since Linux ends children with the thread that started
them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis

from octollm.embedded import engines
from octollm.embedded.engines import Engine
from octollm.embedded.processes import adopt_orphans, kill_group, kill_orphans
from octollm.embedded.services import Program, Service, ask
from octollm.programs import web_command, worker_command, worker_environment
from tests.chaos.schedule import Strike
from tests.engines import EngineHome
from tests.up import descendants
from tests.waiting import wait_until

# What ended by itself is started again after so long.
RESTART_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Blow:
    """A strike as it was carried out.

    Attributes:
        at: seconds since the epoch, just before.
        target: who was hit, empty when nobody was there to be.
        pids: those of the processes that were hit.
    """

    at: float
    at_s: float
    kind: str
    target: str
    pids: frozenset[int] = frozenset()


@dataclass
class Member:
    """A service that is kept running.

    Attributes:
        back_at: when it is to be started again, or goes on after a pause.
        down_since: since when it has not been answering.
        outages: how long it was away each time, in seconds.
        deaths: how often it ended without having been struck.
    """

    service: Service
    process: subprocess.Popen[bytes] | None = None
    back_at: float | None = None
    is_paused: bool = False
    down_since: float | None = None
    outages: list[float] = field(default_factory=list)
    deaths: int = 0

    @property
    def is_up(self) -> bool:
        """Whether it answers, as far as `tick` saw."""
        return self.process is not None and self.down_since is None

    @property
    def pids(self) -> frozenset[int]:
        """Its process and what that started."""
        if self.process is None:
            return frozenset()
        return frozenset({self.process.pid, *descendants(self.process.pid)})

    def start(self) -> None:
        """Start the process without waiting for it."""
        self.back_at = None
        if self.down_since is None:
            self.down_since = time.monotonic()
        self.service.prepare()
        self.process = self.service.spawn()

    def kill(self, *, down_s: float) -> None:
        """Kill it with its group; ``tick`` starts it again after ``down_s``."""
        assert self.process is not None
        kill_group(self.process)
        self.process, self.is_paused = None, False
        self._away(down_s)

    def pause(self, *, down_s: float) -> None:
        """Let the whole group sleep for so long."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP)
        self.is_paused = True
        self._away(down_s)

    def tick(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            self.deaths += 1
            self.kill(down_s=RESTART_S)
        elif self.back_at is not None and now >= self.back_at:
            self._come_back()
        elif self.down_since is not None and self.back_at is None:
            self._look()

    def _away(self, down_s: float) -> None:
        now = time.monotonic()
        self.back_at = now + down_s
        if self.down_since is None:
            self.down_since = now

    def _come_back(self) -> None:
        if self.is_paused and self.process is not None:
            os.killpg(self.process.pid, signal.SIGCONT)
            self.back_at, self.is_paused = None, False
        else:
            self.start()

    def _look(self) -> None:
        """Note when it answers again."""
        if self.down_since is not None and self.service.is_ready():
            self.outages.append(time.monotonic() - self.down_since)
            self.down_since = None


class Fleet:
    """The engines, arms elsewhere, a web server and workers."""

    def __init__(
        self,
        place: EngineHome,
        *,
        environment: Mapping[str, str],
        port: int,
        workers: int,
        arms: Sequence[Program],
        logs: Path,
    ) -> None:
        """Take the places; nothing is started yet."""
        self.port = port
        self.began = time.monotonic()
        self.blows: list[Blow] = []
        self._place = place
        self._engines = [Member(place.postgres), Member(place.valkey)]
        self._arms = [Member(arm) for arm in arms]
        self._web = Member(_web(environment, port=port, logs=logs))
        self.workers = [
            Member(_worker(environment, name=f"worker-{number}", logs=logs))
            for number in range(1, workers + 1)
        ]

    @property
    def members(self) -> dict[str, Member]:
        """All of them by name, engines first."""
        everyone = [*self._engines, *self._arms, self._web, *self.workers]
        return {member.service.name: member for member in everyone}

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have the engines run; at the end nothing that was started runs any more."""
        adopt_orphans()
        try:
            for member in self._engines:
                assert isinstance(member.service, Engine)
                member.process = engines.start(member.service)
            yield
        finally:
            self._end()

    def start_programs(self) -> None:
        """Start the web server and the workers, and wait until they are there."""
        for member in (*self._arms, self._web, *self.workers):
            member.start()
        self.settle(within_s=60)
        for member in self.members.values():
            member.outages.clear()
        self.began = time.monotonic()

    def tick(self) -> None:
        """Start again what is due, and note what is back."""
        for member in self.members.values():
            member.tick()

    def settle(self, *, within_s: float) -> None:
        """Bring everything back now, and wait until it answers."""
        for member in self.members.values():
            if member.back_at is not None:
                member.back_at = 0.0

        def all_up() -> bool:
            self.tick()
            return all(member.is_up for member in self.members.values())

        wait_until(all_up, timeout_s=within_s)

    def strike(self, strike: Strike) -> None:
        """Carry out a strike on whom it names, unless that one is away already."""
        at, at_s = time.time(), time.monotonic() - self.began
        target, pids = getattr(self, f"_strike_{strike.kind}")(strike)
        self.blows.append(
            Blow(
                at=at,
                at_s=at_s,
                kind=strike.kind,
                target=target,
                pids=frozenset(pids),
            )
        )

    # The kinds ------------------------------------------------------------------
    def _strike_worker(self, strike: Strike) -> tuple[str, Iterable[int]]:
        return self._kill(self.workers, strike)

    def _strike_web(self, strike: Strike) -> tuple[str, Iterable[int]]:
        return self._kill([self._web], strike)

    def _strike_postgres(self, strike: Strike) -> tuple[str, Iterable[int]]:
        return self._kill([self.members["postgres"]], strike)

    def _strike_arm(self, strike: Strike) -> tuple[str, Iterable[int]]:
        return self._kill(self._arms[:1], strike)

    def _strike_valkey(self, strike: Strike) -> tuple[str, Iterable[int]]:
        return self._kill([self.members["valkey"]], strike)

    def _strike_flush(self, strike: Strike) -> tuple[str, Iterable[int]]:
        client = redis.Redis.from_url(self._place.engines.redis_url, socket_timeout=1)
        with contextlib.suppress(redis.RedisError), client:
            client.flushall()
            return "valkey", ()
        return "", ()

    def _strike_backend(self, strike: Strike) -> tuple[str, Iterable[int]]:
        postmaster = self.members["postgres"].process
        found = descendants(postmaster.pid).items() if postmaster else ()
        ours = sorted(pid for pid, line in found if "postgres: octollm" in line)
        if not ours:
            return "", ()
        pid = ours[strike.choice % len(ours)]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return "postgres", (pid,)

    def _strike_pause(self, strike: Strike) -> tuple[str, Iterable[int]]:
        member = _chosen(self.workers, strike)
        if member is None or member.process is None:
            return "", ()
        pids = member.pids
        member.pause(down_s=strike.down_s)
        return member.service.name, pids

    def _kill(self, among: list[Member], strike: Strike) -> tuple[str, Iterable[int]]:
        member = _chosen(among, strike)
        if member is None or member.process is None:
            return "", ()
        pids = member.pids
        member.kill(down_s=strike.down_s)
        return member.service.name, pids

    def _end(self) -> None:
        for member in (self._web, *self.workers, *self._arms):
            if member.process is not None:
                kill_group(member.process)
        for member in reversed(self._engines):
            if member.process is not None:
                # Its directory goes: nothing need be written any more.
                kill_group(member.process)
        kill_orphans(())


def _chosen(among: list[Member], strike: Strike) -> Member | None:
    """Return the one that is meant among those that are there and awake."""
    there = [m for m in among if m.process is not None and m.back_at is None]
    return there[strike.choice % len(there)] if there else None


def _web(environment: Mapping[str, str], *, port: int, logs: Path) -> Program:
    return Program(
        name="web",
        command=web_command(host="127.0.0.1", port=port, workers=1),
        environment=environment,
        log=logs / "web.log",
        probe=lambda: ask("127.0.0.1", port, "/health", timeout_s=0.5).status == 200,
    )


def _worker(environment: Mapping[str, str], *, name: str, logs: Path) -> Program:
    return Program(
        name=name,
        command=worker_command(),
        environment={**environment, **worker_environment()},
        log=logs / f"{name}.log",
    )
