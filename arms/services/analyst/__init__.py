"""The analyst: text and table work that needs no model."""
