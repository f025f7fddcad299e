"""Django's entry to this package."""

from importlib import import_module

from django.apps import AppConfig


class ArmsConfig(AppConfig):
    """Settle the app's names, its checks and what a scrape asks of it."""

    name = "arms"
    verbose_name = "Arms and knowledge"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks and the registry's gauges."""
        from octollm import metrics

        import_module("arms.checks")
        metrics.register_collector("arms", "arms.gauges.collect")
