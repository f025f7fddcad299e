"""All settings, read from the environment once; defaults suit a laptop.

`docs/configuration.md` explains each name. A name `X` may be given as `X_FILE`,
the path of a file that holds the value, where a comment says "secret".
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import dj_database_url
import django_stubs_ext
import redis
from environs import Env

from octollm import __version__
from octollm.embedded.instance import data_dir, read_instance, read_keys

django_stubs_ext.monkeypatch()
env = Env()


def secret(name: str, default: str) -> str:
    """Return the value of ``name``, or the content of the file ``<name>_FILE``."""
    path: str = env.str(f"{name}_FILE", "")
    return Path(path).read_text().strip() if path else env.str(name, default)


def optional_decimal(name: str) -> Decimal | None:
    """Return the number in ``name``; empty, as compose passes it on, means unset."""
    value: Decimal | None = env.decimal(name) if env.str(name, "").strip() else None
    return value


def json_or_none(text: str) -> Any:
    """Return what a JSON text holds; None for what is none, which a check reports."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def named_variables(entries: Any, key: str) -> dict[str, str]:
    """Return the values of the variables that entries of a list name under ``key``."""
    listed = entries if isinstance(entries, list) else []
    names = [each.get(key) for each in listed if isinstance(each, dict)]
    return {name: env.str(name, "") for name in names if isinstance(name, str) and name}


# Where we are ----------------------------------------------------------------
BASE_DIR = Path(__file__).resolve().parent.parent
OCTOLLM_DATA_DIR = data_dir()
_instance = read_instance(OCTOLLM_DATA_DIR)
_keys = read_keys(OCTOLLM_DATA_DIR)
DEBUG = env.bool("OCTOLLM_DEBUG", False)
ALLOWED_HOSTS = env.list("OCTOLLM_ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("OCTOLLM_CSRF_TRUSTED_ORIGINS", [])
ENVIRONMENT_LABEL = env.str("OCTOLLM_ENVIRONMENT", "development")

# Keys (secret): environment first, then the embedded system's own file ---------
SECRET_KEY = secret("OCTOLLM_SECRET_KEY", _keys.secret_key if _keys else "")
# The first vault key encrypts; all of them decrypt, so keys can rotate.
OCTOLLM_VAULT_KEYS = [
    key
    for key in secret("OCTOLLM_VAULT_KEYS", _keys.vault_key if _keys else "").split(",")
    if key
]
OCTOLLM_HMAC_KEY = secret("OCTOLLM_HMAC_KEY", _keys.hmac_key if _keys else "")

# Applications: django_dramatiq before the apps that have actors ----------------
INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_dramatiq",
    "django_prometheus",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "drf_standardized_errors",
    "octollm",
    "reflex",
    "arms",
    "planner",
    "tasks_app",
]
MIDDLEWARE = [
    "octollm.log.RequestContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "octollm.security.ContentSecurityPolicyMiddleware",
    "octollm.metrics.RequestMetricsMiddleware",
    "octollm.security.BodyGuardMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "octollm.urls"
WSGI_APPLICATION = "octollm.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "octollm.switch_admin.maintenance_banner",
                "reflex.banner.blocking_banner",
            ]
        },
    }
]

# PostgreSQL: one kept connection per thread (CONN_MAX_AGE=0 costs 2.8x) --------
DATABASE_URL = secret(
    "OCTOLLM_DATABASE_URL",
    _instance.database_url if _instance else "postgresql:///octollm",
)
DATABASES = {
    "default": dj_database_url.parse(
        # The hand-over's URLs name a driver: postgresql+asyncpg://
        re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", DATABASE_URL),
        conn_max_age=600,
        conn_health_checks=True,
    )
}
# A worker that is paused or cut off within a turn would hold its task's lock for as
# long as it is away, and nobody could take the step back. A URL with `options` decides
# itself.
DATABASES["default"].setdefault("OPTIONS", {}).setdefault(
    "options", "-c idle_in_transaction_session_timeout=30s"
)
# Planning costs PostgreSQL more than running these statements: each connection has one
# planned once when it is met again.
_prepare_after = env.int("OCTOLLM_DATABASE_PREPARE_AFTER", 3)
DATABASES["default"]["OPTIONS"] |= {
    "server_side_binding": _prepare_after > 0,
    "prepare_threshold": _prepare_after or None,
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Redis or Valkey and the queue --------------------------------------------------
REDIS_URL = secret(
    "OCTOLLM_REDIS_URL",
    _instance.redis_url if _instance else "redis://127.0.0.1:6379/0",
)
DRAMATIQ_BROKER = {
    "BROKER": "dramatiq.brokers.redis.RedisBroker",
    "OPTIONS": {
        # A hung server must not hold a request for redis-py's default 5 s. Given the
        # URL itself, Dramatiq drops all other options of the client.
        "connection_pool": redis.ConnectionPool.from_url(
            REDIS_URL, socket_timeout=1.0, socket_connect_timeout=1.0
        ),
        # Dramatiq's defaults bring a killed worker's messages back after minutes.
        "heartbeat_timeout": 15_000,
        "maintenance_chance": 100_000,
    },
    # Replaces Dramatiq's list whole. Not among them: AdminMiddleware, which keeps a
    # second record of every task and costs 7x, and Prometheus, which listens.
    "MIDDLEWARE": [
        "dramatiq.middleware.AgeLimit",
        "dramatiq.middleware.TimeLimit",
        "dramatiq.middleware.ShutdownNotifications",
        "dramatiq.middleware.Callbacks",
        "dramatiq.middleware.Retries",
        "django_dramatiq.middleware.DbConnectionsMiddleware",
        "tasks_app.middleware.WorkerMiddleware",
    ],
}
DRAMATIQ_AUTODISCOVER_MODULES = ["actors"]

# REST -----------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "octollm.access.authentication.ApiKeyAuthentication",
        "octollm.access.authentication.StaffSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["octollm.access.permissions.HasAccess"],
    "DEFAULT_PARSER_CLASSES": ["octollm.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "rest_framework.renderers.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_SCHEMA_CLASS": "octollm.api.Schema",
    "EXCEPTION_HANDLER": "octollm.api.exception_handler",
    "COERCE_DECIMAL_TO_STRING": True,
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "octollm.api.ProblemHandler",
    "EXCEPTION_FORMATTER_CLASS": "octollm.api.ProblemFormatter",
    "ENABLE_IN_DEBUG_FOR_UNHANDLED_EXCEPTIONS": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "OctoLLM",
    "DESCRIPTION": "Submit a goal; get a judged result with evidence and cost.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["octollm.access.permissions.HasAccess"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    # By default the page shows every schema's address to a validator elsewhere.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": "none"},
    "COMPONENT_SPLIT_REQUEST": True,
    "LICENSE": {"name": "Apache-2.0"},
    # Fields of one name with other choices; it would number them.
    "ENUM_NAME_OVERRIDES": {
        "ArmStateEnum": "arms.overview.STATES",
        "ArmInstanceStateEnum": "arms.registry_models.ArmInstance.State",
        "BreakerStateEnum": "octollm.resilience.models.Breaker.State",
    },
}
# Bytes; our parser enforces them before anything is read.
OCTOLLM_MAX_BODY_BYTES = env.int("OCTOLLM_MAX_BODY_BYTES", 2 * 2**20)
OCTOLLM_MAX_DOCUMENTS_BODY_BYTES = env.int(
    "OCTOLLM_MAX_DOCUMENTS_BODY_BYTES", 110 * 2**20
)

# The pipeline -----------------------------------------------------------------------
OCTOLLM_LEASE_S = env.float("OCTOLLM_LEASE_S", 30.0)
OCTOLLM_LEASE_RENEW_S = env.float("OCTOLLM_LEASE_RENEW_S", 10.0)
OCTOLLM_REAPER_INTERVAL_S = env.float("OCTOLLM_REAPER_INTERVAL_S", 5.0)
OCTOLLM_LEADER_TTL_S = env.float("OCTOLLM_LEADER_TTL_S", 10.0)
OCTOLLM_HINT_AFTER_S = env.float("OCTOLLM_HINT_AFTER_S", 5.0)
OCTOLLM_CANCEL_POLL_S = env.float("OCTOLLM_CANCEL_POLL_S", 1.0)
OCTOLLM_QUEUE_TTL_S = env.float("OCTOLLM_QUEUE_TTL_S", 24 * 3600.0)
OCTOLLM_APPROVAL_TTL_S = env.float("OCTOLLM_APPROVAL_TTL_S", 7 * 24 * 3600.0)
OCTOLLM_MAX_ATTEMPTS = env.int("OCTOLLM_MAX_ATTEMPTS", 3)
# Plan versions that one run may ask for beyond what it starts with.
OCTOLLM_MAX_REPLANS = env.int("OCTOLLM_MAX_REPLANS", 2)
OCTOLLM_RETRY_MIN_S = env.float("OCTOLLM_RETRY_MIN_S", 1.0)
OCTOLLM_RETRY_MAX_S = env.float("OCTOLLM_RETRY_MAX_S", 60.0)
OCTOLLM_MAX_OUTPUT_BYTES = env.int("OCTOLLM_MAX_OUTPUT_BYTES", 8 * 2**20)
# What a new owner gets, and when work that waits counts as more urgent; 0: none, never.
OCTOLLM_OWNER_MAX_RUNNING = env.int("OCTOLLM_OWNER_MAX_RUNNING", 0)
OCTOLLM_PRIORITY_AGE_S = env.float("OCTOLLM_PRIORITY_AGE_S", 300.0)
OCTOLLM_SHUTDOWN_S = env.float("OCTOLLM_SHUTDOWN_S", 20.0)

# Retention in days, 0 for ever; of tasks from their end on, of other rows by age ------
OCTOLLM_RETAIN_EVENTS_DAYS = env.float("OCTOLLM_RETAIN_EVENTS_DAYS", 90.0)
OCTOLLM_RETAIN_RESULTS_DAYS = env.float("OCTOLLM_RETAIN_RESULTS_DAYS", 0.0)
OCTOLLM_RETAIN_VAULT_DAYS = env.float("OCTOLLM_RETAIN_VAULT_DAYS", 0.0)
OCTOLLM_RETAIN_IDEMPOTENCY_DAYS = env.float("OCTOLLM_RETAIN_IDEMPOTENCY_DAYS", 30.0)
OCTOLLM_RETAIN_SCREENINGS_DAYS = env.float("OCTOLLM_RETAIN_SCREENINGS_DAYS", 90.0)
OCTOLLM_RETAIN_EXECUTIONS_DAYS = env.float("OCTOLLM_RETAIN_EXECUTIONS_DAYS", 14.0)
OCTOLLM_RETAIN_HEALTH_CHECKS_DAYS = env.float("OCTOLLM_RETAIN_HEALTH_CHECKS_DAYS", 2.0)

# The reflex: auto takes the first of hyperscan, re2 and re that works here ------------
OCTOLLM_REFLEX_ENGINE = env.str("OCTOLLM_REFLEX_ENGINE", "auto")
# Turned off, nothing is blocked; values are concealed all the same.
OCTOLLM_REFLEX_ENABLED = env.bool("OCTOLLM_REFLEX_ENABLED", True)
# A reflex elsewhere that finds in place of this process's own (the token is a secret,
# and what `octollm reflex serve` wants of its callers, too).
OCTOLLM_REFLEX_URL = env.str("OCTOLLM_REFLEX_URL", "")
OCTOLLM_REFLEX_TOKEN = secret("OCTOLLM_REFLEX_TOKEN", "")
OCTOLLM_REFLEX_TIMEOUT_S = env.float("OCTOLLM_REFLEX_TIMEOUT_S", 10.0)
# What `/reflex/process` grants one caller, and each user that a caller names (0: no
# limit), and for how long it remembers findings.
OCTOLLM_REFLEX_RATE_PER_MINUTE = env.int("OCTOLLM_REFLEX_RATE_PER_MINUTE", 30_000)
OCTOLLM_REFLEX_USER_RATE_PER_MINUTE = env.int("OCTOLLM_REFLEX_USER_RATE_PER_MINUTE", 0)
OCTOLLM_REFLEX_CACHE_TTL_S = env.float("OCTOLLM_REFLEX_CACHE_TTL_S", 300.0)
# Whether a screening keeps the words around what looked like an attack.
OCTOLLM_REFLEX_EXCERPTS = env.bool("OCTOLLM_REFLEX_EXCERPTS", True)
OCTOLLM_REFLEX_RULES_DIR = env.str(
    "OCTOLLM_REFLEX_RULES_DIR", str(Path(OCTOLLM_DATA_DIR) / "reflex")
)
OCTOLLM_REFLEX_DETECTOR = env.str("OCTOLLM_REFLEX_DETECTOR", "")

# Arms that run in this process: dotted paths of classes without arguments ----------
OCTOLLM_ARMS = [
    "planner.arm.PlannerArm",
    "arms.services.retriever.arm.RetrieverArm",
    "arms.services.analyst.arm.AnalystArm",
    "arms.services.judge.arm.JudgeArm",
    *env.list("OCTOLLM_EXTRA_ARMS", []),
]
# JSON: arms elsewhere, and the variables that its entries name by `token_env`.
OCTOLLM_REMOTE_ARMS = json_or_none(env.str("OCTOLLM_REMOTE_ARMS", "") or "[]")
OCTOLLM_REMOTE_ARM_TOKENS = named_variables(OCTOLLM_REMOTE_ARMS, "token_env")
# Secrets of `octollm arm serve`: the key by which it announces itself, and the token
# that workers must show it; without one it makes one.
OCTOLLM_ARM_KEY = secret("OCTOLLM_ARM_KEY", "")
OCTOLLM_ARM_TOKEN = secret("OCTOLLM_ARM_TOKEN", "")
# JSON: what plans may use; planner/grants.py reads it, a check finds what is wrong.
OCTOLLM_BREAKER_OPEN_S = env.float("OCTOLLM_BREAKER_OPEN_S", 60.0)
OCTOLLM_PROBE_INTERVAL_S = env.float("OCTOLLM_PROBE_INTERVAL_S", 10.0)
OCTOLLM_PROBE_RISE = env.int("OCTOLLM_PROBE_RISE", 2)
OCTOLLM_PROBE_FALL = env.int("OCTOLLM_PROBE_FALL", 3)
OCTOLLM_HEARTBEAT_TTL_S = env.float("OCTOLLM_HEARTBEAT_TTL_S", 30.0)
OCTOLLM_PLAN_POLICY = env.str("OCTOLLM_PLAN_POLICY", "")

# Models (optional): any servers that speak OpenAI's chat completions -----------------
# Either a list of providers in order of preference (a secret, as it may hold keys), or
# one of them in the names below it.
OCTOLLM_LLM_PROVIDERS = json_or_none(secret("OCTOLLM_LLM_PROVIDERS", "") or "[]")
# The variables that its entries name by `api_key_env`.
OCTOLLM_LLM_KEYS = named_variables(OCTOLLM_LLM_PROVIDERS, "api_key_env")
OCTOLLM_LLM_BASE_URL = env.str("OCTOLLM_LLM_BASE_URL", "")
OCTOLLM_LLM_API_KEY = secret("OCTOLLM_LLM_API_KEY", "")
OCTOLLM_LLM_MODEL = env.str("OCTOLLM_LLM_MODEL", "")
OCTOLLM_LLM_MODEL_PLANNING = env.str("OCTOLLM_LLM_MODEL_PLANNING", "")
OCTOLLM_LLM_MODEL_JUDGING = env.str("OCTOLLM_LLM_MODEL_JUDGING", "")
OCTOLLM_LLM_MODEL_CODING = env.str("OCTOLLM_LLM_MODEL_CODING", "")
OCTOLLM_LLM_MODEL_ANALYSIS = env.str("OCTOLLM_LLM_MODEL_ANALYSIS", "")
# USD per million tokens; unset means: look it up, 0 for a loopback or private host.
OCTOLLM_LLM_PRICE_INPUT = optional_decimal("OCTOLLM_LLM_PRICE_INPUT")
OCTOLLM_LLM_PRICE_OUTPUT = optional_decimal("OCTOLLM_LLM_PRICE_OUTPUT")
OCTOLLM_LLM_PRICE_CACHED = optional_decimal("OCTOLLM_LLM_PRICE_CACHED")
# Whether a model may be asked whose price nobody knows: its calls are booked at 0.
OCTOLLM_LLM_ALLOW_UNPRICED = env.bool("OCTOLLM_LLM_ALLOW_UNPRICED", False)
OCTOLLM_LLM_TIMEOUT_S = env.float("OCTOLLM_LLM_TIMEOUT_S", 60.0)
# Half of the web process's threads: planning never keeps /health from answering.
OCTOLLM_PLANNER_WAITS = env.int("OCTOLLM_PLANNER_WAITS", 2)
OCTOLLM_PLAN_TIMEOUT_S = env.float("OCTOLLM_PLAN_TIMEOUT_S", 30.0)
# How long a model's plan serves equal requests; 0: each asks the model.
OCTOLLM_PLAN_CACHE_TTL_S = env.float("OCTOLLM_PLAN_CACHE_TTL_S", 24 * 3600.0)

# Time, language, static files ---------------------------------------------------------
# One language: the texts of errors are part of the API.
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
# Without a module of ours, Django's English formats come before any setting.
FORMAT_MODULE_PATH = ["octollm.formats"]
STATIC_URL = "/static/"
# Named where `collectstatic` has filled it, as in the image; otherwise the files are
# served from where the packages have them.
STATIC_ROOT = env.str("OCTOLLM_STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None

# Accounts and transport ---------------------------------------------------------------
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "/admin/login/"
CSRF_FAILURE_VIEW = "octollm.error_pages.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = env.bool(
    "OCTOLLM_HTTPS", False
)
SECURE_HSTS_SECONDS = env.int(
    "OCTOLLM_HSTS_SECONDS", 31_536_000 if SECURE_SSL_REDIRECT else 0
)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
if env.bool("OCTOLLM_BEHIND_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# Logs: JSON for machines, plain lines for people; never with locals -------------------
OCTOLLM_LOG_LEVEL = env.str("OCTOLLM_LOG_LEVEL", "INFO").upper()
OCTOLLM_LOG_FORMAT = env.str("OCTOLLM_LOG_FORMAT", "json")
LOGGING_CONFIG = "octollm.log.configure"
LOGGING = {"level": OCTOLLM_LOG_LEVEL, "format": OCTOLLM_LOG_FORMAT}

# Admin --------------------------------------------------------------------------------
UNFOLD = {
    "SITE_TITLE": "OctoLLM",
    "SITE_HEADER": "OctoLLM",
    "SITE_SUBHEADER": __version__,
    "ENVIRONMENT": "octollm.admin.environment_badge",
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "navigation": "octollm.admin.navigation"},
}
# Groups of the sidebar: models in this order, then what else the apps have.
OCTOLLM_ADMIN_GROUPS = {
    "Work": ["tasks_app.task", "tasks_app.taskresult", "tasks_app", "planner"],
    "Arms and safety": ["arms", "reflex"],
    "System": ["octollm.owner", "octollm.apikey", "octollm", "auth"],
}
