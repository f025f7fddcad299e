"""The project's own Prometheus metrics."""
