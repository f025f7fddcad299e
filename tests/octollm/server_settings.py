"""The tests' settings with views that take bodies from anybody."""

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.octollm.api_urls"
