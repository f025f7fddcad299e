"""What an arm process did, in a file of its own that outlives it.

The log of effects is what counts: one row per time that the work was really done.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

# What is written survives a kill of the process; nothing here must survive a power cut.
_SETUP = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS executions (
    request_id TEXT PRIMARY KEY, state TEXT NOT NULL, reply TEXT NOT NULL,
    life TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS effects (
    id INTEGER PRIMARY KEY, request_id TEXT, task_id TEXT, step_id TEXT, at REAL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, request_id TEXT, task_id TEXT, step_id TEXT, does TEXT,
    at REAL);
CREATE INDEX IF NOT EXISTS calls_of_step ON calls (task_id, step_id);
CREATE TABLE IF NOT EXISTS departures (
    id INTEGER PRIMARY KEY, request_id TEXT, at REAL);
"""


class Store:
    """The arm's own side: executions by request id, effects, calls, who left early."""

    def __init__(self, path: Path, *, can_tell: bool = True) -> None:
        """Settle what an earlier life of the arm left unfinished.

        What had its effect is done; what had none was never begun. An arm that cannot
        tell them apart says that they failed, so that nobody tries again.
        """
        self._path = path
        self._local = threading.local()
        self._life = uuid4().hex
        _open(path, is_first=True).close()
        with self._change() as db:
            left = "state = 'running' AND life <> ?"
            if not can_tell:
                db.execute(
                    f"UPDATE executions SET state = 'failed' WHERE {left}",
                    [self._life],
                )
            db.execute(
                f"UPDATE executions SET state = 'done' WHERE {left}"
                " AND request_id IN (SELECT request_id FROM effects)",
                [self._life],
            )
            db.execute(f"DELETE FROM executions WHERE {left}", [self._life])

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "db"):
            self._local.db.close()
            del self._local.db

    def begin(self, request: Any, reply: Any) -> tuple[str, Any]:
        """Take a request on; return its state and reply, ``new`` if nobody had it."""
        with self._change() as db:
            known = self._found(db, request["request_id"])
            if known is None:
                db.execute(
                    "INSERT INTO executions VALUES (?, 'running', ?, ?)",
                    [request["request_id"], json.dumps(reply), self._life],
                )
        return known or ("new", reply)

    def find(self, request_id: str) -> tuple[str, Any] | None:
        """Return state and reply of an execution."""
        return self._found(self._db(), request_id)

    def finish(self, request: Any) -> None:
        """Store that the request is done."""
        with self._change() as db:
            db.execute(
                "UPDATE executions SET state = 'done' WHERE request_id = ?",
                [request["request_id"]],
            )

    def forget(self, request: Any) -> None:
        """Give a request up that had no effect."""
        with self._change() as db:
            db.execute(
                "DELETE FROM executions WHERE request_id = ?", [request["request_id"]]
            )

    def note_effect(self, request: Any) -> None:
        """Do the work: this row is the effect."""
        self._append("effects", *_ids(request), time.time())

    def note_call(self, request: Any, does: str) -> None:
        """Write down what arrived and what is made of it."""
        self._append("calls", *_ids(request), does, time.time())

    def note_departure(self, request: Any) -> None:
        """Write down that the caller left before its answer."""
        self._append("departures", request["request_id"], time.time())

    def count_calls(self, request: Any) -> int:
        """Return how often the request's step was asked for, under any id."""
        (count,) = (
            self._db()
            .execute(
                "SELECT count(*) FROM calls WHERE task_id = ? AND step_id = ?",
                [request["task_id"], request["step_id"]],
            )
            .fetchone()
        )
        return int(count)

    @staticmethod
    def _found(db: sqlite3.Connection, request_id: str) -> tuple[str, Any] | None:
        row = db.execute(
            "SELECT state, reply FROM executions WHERE request_id = ?", [request_id]
        ).fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def _append(self, table: str, *values: Any) -> None:
        with self._change() as db:
            places = ", ".join("?" * len(values))
            db.execute(f"INSERT INTO {table} VALUES (NULL, {places})", values)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        db = self._db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _db(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        if not hasattr(self._local, "db"):
            self._local.db = _open(self._path)
        connection: sqlite3.Connection = self._local.db
        return connection


def effects(path: Path) -> Counter[tuple[str, str]]:
    """Count the effects of each step: by task id and step id."""
    return Counter((row["task_id"], row["step_id"]) for row in rows(path, "effects"))


def rows(path: Path, table: str) -> list[sqlite3.Row]:
    """Return what was written to ``effects``, ``calls`` or ``departures``, in order."""
    db = _open(path, is_first=True)
    db.row_factory = sqlite3.Row
    try:
        return db.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
    finally:
        db.close()


def _open(path: Path, *, is_first: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    if is_first:
        db.executescript(_SETUP)
    db.execute("PRAGMA synchronous = OFF")
    return db


def _ids(request: Any) -> tuple[str, str, str]:
    return request["request_id"], request["task_id"], request["step_id"]
