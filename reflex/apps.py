"""Django's entry to this package."""

from importlib import import_module

from django.apps import AppConfig


class ReflexConfig(AppConfig):
    """Settle the app's names and register its checks."""

    name = "reflex"
    verbose_name = "Reflex layer"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        import_module("reflex.checks")
