"""Django's entry to this package."""

from django.apps import AppConfig


class OctoLLMConfig(AppConfig):
    """Settle the app's names."""

    name = "octollm"
    verbose_name = "Access and resilience"
    default_auto_field = "django.db.models.BigAutoField"
