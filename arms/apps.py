"""Django's entry to this package."""

from importlib import import_module

from django.apps import AppConfig


class ArmsConfig(AppConfig):
    """Settle the app's names and register its checks."""

    name = "arms"
    verbose_name = "Arms and knowledge"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        import_module("arms.checks")
