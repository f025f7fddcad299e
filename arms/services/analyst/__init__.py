"""The analyst: work on texts, tables and JSON that needs no model."""
