"""Django's entry to this package."""

from django.apps import AppConfig


class OctoLLMConfig(AppConfig):
    """Settle the app's names, its checks and what a scrape asks of it."""

    name = "octollm"
    verbose_name = "Access and resilience"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register what other modules look up by name."""
        # Here, because they need the app registry that is being filled just now.
        from octollm import (
            checks,  # noqa: F401  # it registers
            health,
            metrics,
            openapi,  # noqa: F401  # it registers
        )

        health.register("database", "octollm.health.is_database_ready")
        health.register("migrations", "octollm.health.are_migrations_applied")
        health.register("redis", "octollm.health.is_redis_ready")
        health.register("maintenance", "octollm.resilience.switches.say_maintenance")
        metrics.register_collector("breakers", "octollm.resilience.breakers.collect")
        metrics.register_collector("switches", "octollm.resilience.switches.collect")
