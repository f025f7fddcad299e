"""The one JSON shape of errors."""
