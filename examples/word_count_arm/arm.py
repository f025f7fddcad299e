"""A whole arm in forty lines of code: it counts words. README.md says how to run it."""

import hmac
import json
from os import environ
from pathlib import Path
from sqlite3 import connect
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field


class Input(BaseModel):
    """What a step gives; entry.json describes it."""

    text: str = Field(min_length=1)


class Request(BaseModel):
    """What this arm needs of an ArmRequest; it passes over the rest."""

    request_id: str = Field(max_length=64)
    capability: Literal["count_words"]
    input: Input


ENTRY = json.loads(Path(__file__).with_name("entry.json").read_text())
TOKEN, RUNNING = environ["ARM_TOKEN"], json.dumps({"state": "running"})
db = connect(environ["ARM_STORE"], isolation_level=None, check_same_thread=False)
db.execute("CREATE TABLE IF NOT EXISTS executions (id TEXT PRIMARY KEY, found TEXT)")
# What the last life left unfinished had no effect: it may be done again.
db.execute("DELETE FROM executions WHERE found = ?", [RUNNING])


def is_known(authorization: Annotated[str, Header()] = "") -> None:
    """Let in who shows the token."""
    if not hmac.compare_digest(authorization.encode(), f"Bearer {TOKEN}".encode()):
        raise HTTPException(401)


app, known = FastAPI(), [Depends(is_known)]
app.get("/health")(lambda: {"status": "healthy"})
app.get("/", dependencies=known)(lambda: ENTRY)


@app.post("/execute", dependencies=known)
def execute(request: Request, response: Response) -> Any:
    """Do the work, once per request id: whoever writes its row first does it."""
    # Its own row back, for a count of changes would be the connection's, not ours.
    claim = "INSERT OR IGNORE INTO executions VALUES (?, ?) RETURNING id"
    if not db.execute(claim, [request.request_id, RUNNING]).fetchall():
        found = execution(request.request_id)
        response.status_code = 200 if "reply" in found else 202
        return found.get("reply", found)
    reply = {"output": {"words": len(request.input.text.split())}}
    done = [json.dumps({"state": "done", "reply": reply}), request.request_id]
    db.execute("UPDATE executions SET found = ? WHERE id = ?", done)
    return reply


@app.get("/executions/{request_id}", dependencies=known)
def execution(request_id: str) -> Any:
    """Say what was done under a request id."""
    rows = db.execute("SELECT found FROM executions WHERE id = ?", [request_id])
    return json.loads((rows.fetchone() or ['{"state": "unknown"}'])[0])
