"""What a pattern cannot say: checksums, ranges, neighbours.

A validator gets the text and the span of a match and returns the span of the
value, which may be shorter or longer, or nothing when there is none. It looks at
a bounded stretch of text only, so that hostile texts stay linear.
"""

from __future__ import annotations

from collections.abc import Mapping

from reflex.validators import addresses, numbers, phones, records, secrets
from reflex.validators.spans import Span, Validator

__all__ = ["VALIDATORS", "Span", "Validator"]

VALIDATORS: Mapping[str, Validator] = {
    validator.__name__: validator
    for validator in (
        addresses.base58,
        addresses.coordinates,
        addresses.email,
        addresses.ipv4,
        addresses.ipv6,
        addresses.mac,
        numbers.card,
        numbers.iban,
        numbers.nhs,
        numbers.routing,
        numbers.ssn,
        numbers.ssn_alone,
        phones.phone_announced,
        phones.phone_cued,
        phones.phone_international,
        phones.phone_planned,
        phones.phone_separated,
        records.account,
        records.birth_date,
        records.identifier,
        secrets.after_cue,
        secrets.assigned_secret,
        secrets.bearer_token,
        secrets.command_secret,
        secrets.mixed_token,
        secrets.private_key,
        secrets.random_value,
        secrets.url_credentials,
        secrets.url_parameter,
    )
}
