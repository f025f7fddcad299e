"""Owners and API keys: who may use the system, and for whom."""

# Whom the first start makes an account and a key for. What is ingested without a name
# and a key that is made without one belong together, so it is theirs, too.
DEFAULT_OWNER = "operator"
