"""Django's entry to this package."""

from importlib import import_module

from django.apps import AppConfig

from octollm import health


class ReflexConfig(AppConfig):
    """Settle the app's names and register its checks."""

    name = "reflex"
    verbose_name = "Reflex layer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and the readiness check."""
        import_module("reflex.checks")
        health.register("reflex", "reflex.screening.is_ready", timeout_s=5.0)
