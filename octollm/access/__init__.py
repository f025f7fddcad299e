"""Owners and API keys: who may use the system, and for whom."""
