"""Keyed fingerprints: equal values can be told, the values cannot be guessed.

A plain hash of a social security number is the number, since all can be tried.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from django.conf import settings

from octollm.types import JSONValue


def fingerprint(value: bytes | JSONValue, *, purpose: str) -> str:
    """Return the HMAC-SHA256, in hex, of bytes or of a JSON value.

    Equal JSON values have equal fingerprints whatever the order of their keys.
    The ``purpose`` keeps fingerprints of different uses apart.
    """
    tag, payload = _canonical(value)
    message = b"\x00".join((purpose.encode(), tag, payload))
    key = settings.OCTOLLM_HMAC_KEY.encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _canonical(value: bytes | JSONValue) -> tuple[bytes, bytes]:
    if isinstance(value, bytes):
        return b"bytes", value
    if isinstance(value, str):
        return b"text", value.encode("utf-8", "surrogatepass")
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return b"json", canonical.encode()
