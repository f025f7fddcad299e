"""The tests' settings with no engine anywhere, and views that take any body."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.octollm.api_urls"
DATABASES["default"]["HOST"] = "/nonexistent"  # noqa: F405
REDIS_URL = "unix:///nonexistent/redis.sock"
