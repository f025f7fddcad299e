"""The settings of a process that does nothing but screen: no database, no admin.

Everything that may be set is in `octollm/settings.py`; this leaves out what is not
needed, so that the process starts without any of it.
"""

from __future__ import annotations

import os
import secrets

from octollm.settings import *  # noqa: F403  # all of them, but for what follows
from octollm.settings import (
    MIDDLEWARE as _MIDDLEWARE,
)
from octollm.settings import (
    OCTOLLM_HMAC_KEY as _HMAC_KEY,
)
from octollm.settings import (
    REST_FRAMEWORK as _REST_FRAMEWORK,
)
from octollm.settings import (
    SECRET_KEY as _SECRET_KEY,
)

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "reflex",
]
_NEEDED = (
    "octollm.log.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "octollm.security.ContentSecurityPolicyMiddleware",
    "octollm.metrics.RequestMetricsMiddleware",
    "octollm.security.BodyGuardMiddleware",
    "django.middleware.common.CommonMiddleware",
)
MIDDLEWARE = [name for name in _MIDDLEWARE if name in _NEEDED]
ROOT_URLCONF = "reflex.serving_urls"
WSGI_APPLICATION = "reflex.serving.application"
DATABASES.clear()  # noqa: F405  # the dictionary is this process's own
REST_FRAMEWORK = _REST_FRAMEWORK | {
    "DEFAULT_AUTHENTICATION_CLASSES": ["reflex.serving_access.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["reflex.serving_access.MayScreen"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
# Its callers reach it by whatever name their network has for it; it makes no links and
# keeps no sessions, so a wrong name misleads nobody.
ALLOWED_HOSTS = ["*"]
# Whoever speaks HTTPS stands in front of it; probes do not follow a redirect.
SECURE_SSL_REDIRECT = False
# It finds in this process, whatever the rest of the system is set to.
OCTOLLM_REFLEX_URL = ""
# Without a Redis of its own it counts and remembers by itself.
if not {"OCTOLLM_REDIS_URL", "OCTOLLM_REDIS_URL_FILE"} & set(os.environ):
    REDIS_URL = ""
# They sign and mark nothing that outlives the process, unless they are set.
SECRET_KEY = _SECRET_KEY or secrets.token_urlsafe(48)
OCTOLLM_HMAC_KEY = _HMAC_KEY or secrets.token_urlsafe(48)
