"""The process of ``octollm arm serve``: starts, serves, drains on SIGTERM, leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from django.conf import settings
from django.db import Error, close_old_connections
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

from arms.contract import Arm
from arms.served import store
from arms.served.announcer import Announcer
from arms.served.http import Application
from arms.served.service import Service

logger = logging.getLogger(__name__)

# How long what was asked to stop may take to do so.
STOP_S = 2.0
POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Where and how an arm is served.

    Attributes:
        url: where workers reach it.
        places: how many requests it works on at a time.
        announce_to: the address of the API that is told; nobody is when empty.
        weight: its share of the calls; nothing: the usual one.
    """

    host: str
    port: int
    url: str
    places: int
    announce_to: str = ""
    weight: int | None = None


class ArmProcess:
    """One arm, served by this process until somebody stops it."""

    def __init__(self, arm: Arm, serving: Serving) -> None:
        """Put the parts together; nothing runs yet."""
        self._serving = serving
        token = settings.OCTOLLM_ARM_TOKEN or secrets.token_urlsafe(32)
        self._service = Service(arm, token=token, places=serving.places)
        self._announcer = _announcer(arm, serving, token)
        self._server = Server(
            Application(self._service, places=serving.places),
            address=serving.host,
            port=serving.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            log_enabled=False,
        )
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._left = Event()

    async def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; a second one ends what runs at once."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        serving = loop.create_task(self._server.serve())
        Thread(target=self._tend, name="tending", daemon=True).start()
        wanted = loop.create_task(self._wanted.wait())
        try:
            await loop.run_in_executor(None, self._await_socket)
            if serving.done():
                # It could not listen; who answers is somebody else.
                serving.result()
            if self._announcer is not None:
                self._announcer.start()
            logger.info("the arm serves: %s", self._service.arm.spec.name)
            await asyncio.wait((serving, wanted), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done():
                await self._drain()
        finally:
            wanted.cancel()
            self._server.stop()  # type: ignore[no-untyped-call]  # granian's
            await serving
            await self._say("gone")
            self._left.set()

    def _on_signal(self) -> None:
        (self._hurried if self._wanted.is_set() else self._wanted).set()

    async def _drain(self) -> None:
        """Take nothing on, and let what runs end within the time there is."""
        self._service.drain()
        until = time.monotonic() + settings.OCTOLLM_SHUTDOWN_S
        await self._say("draining")
        logger.info("the arm drains: %s requests run", self._service.taken)
        await self._until_idle(until - STOP_S, or_when=self._hurried.is_set)
        self._service.stop_all()
        await self._until_idle(time.monotonic() + STOP_S)
        # Answers that were just given are on their way.
        await asyncio.sleep(POLL_S)

    async def _until_idle(
        self, until: float, *, or_when: Callable[[], bool] = lambda: False
    ) -> None:
        while self._service.taken and time.monotonic() < until and not or_when():
            await asyncio.sleep(POLL_S)

    async def _say(self, state: Any) -> None:
        if self._announcer is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, self._announcer.say, state)

    def _await_socket(self) -> None:
        """Wait until the port answers: who is announced is probed at once."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104  # where to look
            self._serving.host, self._serving.host
        )
        while not self._wanted.is_set():
            with contextlib.suppress(OSError):
                socket.create_connection((host, self._serving.port), timeout=1).close()
                return
            time.sleep(POLL_S)

    def _tend(self) -> None:
        while not self._left.wait(store.RENEW_S):
            close_old_connections()
            try:
                self._service.tend()
            except Error as error:
                logger.warning("a renewal failed: %s", type(error).__name__)


def serve(arm: Arm, serving: Serving) -> None:
    """Serve an arm until somebody stops this process."""
    asyncio.run(ArmProcess(arm, serving).run())
    # A thread that did not stop would keep the interpreter from ending.
    logging.shutdown()
    os._exit(0)


def _announcer(arm: Arm, serving: Serving, token: str) -> Announcer | None:
    if not serving.announce_to:
        return None
    said: dict[str, Any] = {"arm": arm.spec.name, "url": serving.url, "token": token}
    if serving.weight:
        said["weight"] = serving.weight
    return Announcer(serving.announce_to, settings.OCTOLLM_ARM_KEY, **said)
