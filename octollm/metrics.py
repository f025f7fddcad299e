"""The project's own Prometheus metrics, and how they are collected.

With ``PROMETHEUS_MULTIPROC_DIR`` set before a process starts, prometheus_client
keeps its values in files there, and ``/metrics`` adds up the files of all
processes, whichever of them answers. Of django-prometheus only the exporter is
used: its two middlewares keep some twenty series per request, which costs 0.3 ms,
and its database wrapper more again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.module_loading import import_string
from django_prometheus.exports import ExportToDjangoView
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

_SUB_SECOND = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MINUTES = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0)

HTTP_REQUESTS = Counter(
    "octollm_http_requests_total",
    "Requests by method, name of the route (never the path) and class of status.",
    ["method", "route", "status"],
)
HTTP_DURATION = Histogram(
    "octollm_http_request_duration_seconds",
    "Time until the answer was ready.",
    ["method", "route"],
    buckets=_SUB_SECOND,
)
TASKS = Counter("octollm_tasks_total", "Tasks that reached a status.", ["status"])
TASK_DURATION = Histogram(
    "octollm_task_duration_seconds",
    "Time from submission to the end of a task.",
    ["status"],
    buckets=_MINUTES,
)
STEPS = Counter("octollm_steps_total", "Steps that ended.", ["arm", "status"])
STEP_DURATION = Histogram(
    "octollm_step_duration_seconds",
    "Time of one attempt at a step.",
    ["arm"],
    buckets=_MINUTES,
)
CLAIMS = Counter(
    "octollm_claims_total", "Attempts to claim a step, by how they ended.", ["outcome"]
)
ARM_CALLS = Counter(
    "octollm_arm_calls_total",
    "Requests to arms by where they went (in-process or elsewhere) and what came: done, "
    "failed (the instance's fault), refused (the request's), unstarted or stopped.",
    ["arm", "place", "outcome"],
)
ARM_DURATION = Histogram(
    "octollm_arm_call_duration_seconds",
    "Time of requests to arms that were answered.",
    ["arm", "place"],
    buckets=_MINUTES,
)
ARM_IN_FLIGHT = Gauge(
    "octollm_arm_calls_in_flight",
    "Requests to arms that are under way.",
    ["arm"],
    multiprocess_mode="livesum",
)
ARM_WAITS = Counter(
    "octollm_arm_waits_total",
    "Steps put back because their arm could not take them: away or busy.",
    ["arm", "why"],
)
STEP_QUEUED = Histogram(
    "octollm_step_queued_seconds",
    "Time from a step's being ready until an attempt at it began.",
    ["arm"],
    buckets=_MINUTES,
)
WORKER_STALLS = Counter(
    "octollm_worker_stalls_total",
    "Times that no thread of a worker ran for longer than it renews its leases.",
)
LLM_TOKENS = Counter(
    "octollm_llm_tokens_total",
    "Tokens of model calls; direction is input or output.",
    ["model", "direction"],
)
LLM_COST = Counter(
    "octollm_llm_cost_usd_total", "Cost of model calls in US dollars.", ["model"]
)
LLM_CALLS = Counter(
    "octollm_llm_calls_total", "Model calls by outcome.", ["model", "outcome"]
)
LLM_OVERRUNS = Counter(
    "octollm_llm_overruns_total",
    "Model calls that used more than was held for them.",
    ["arm", "model"],
)
LATE_BOOKINGS = Counter(
    "octollm_late_bookings_total",
    "What came for a charge that had ended, and changed nothing: the act (settle, "
    "presume, release) and the charge's state.",
    ["act", "state"],
)
LLM_DURATION = Histogram(
    "octollm_llm_duration_seconds",
    "Time of model calls that were answered.",
    ["provider", "model", "purpose"],
    buckets=_MINUTES,
)
PLAN_CACHE = Counter(
    "octollm_plan_cache_total",
    "What planning with a model met in the cache: hit; waited for another caller's "
    "plan; miss: the model was asked; stale: dropped as it cannot be used, and looked "
    "up again; negative: told of a failure moments ago; uncacheable: a plan that was "
    "made and not kept; unavailable: Redis is away, the model was asked.",
    ["outcome"],
)
LLM_ANSWERS = Counter(
    "octollm_llm_answers_total",
    "Answers of models by how strictly their form was asked for and what came: ok, "
    "ignored, refused_format, truncated, refused, empty or malformed.",
    ["model", "rung", "outcome"],
)
PLANS = Counter(
    "octollm_plans_total",
    "Plans that were drafted, by source, rung of the answer and outcome: valid, "
    "corrected (valid after the re-ask) or invalid.",
    ["source", "rung", "outcome"],
)
REFLEX_SCREENINGS = Counter(
    "octollm_reflex_screenings_total",
    "Screenings by checkpoint and by what was decided.",
    ["checkpoint", "action"],
)
REFLEX_DURATION = Histogram(
    "octollm_reflex_duration_seconds",
    "Time of one screening.",
    ["checkpoint"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25),
)
REFLEX_FINDINGS = Counter(
    "octollm_reflex_findings_total",
    "Findings by family of their rules and by what the policy says of them.",
    ["family", "action"],
)
REFLEX_CACHE = Counter(
    "octollm_reflex_cache_total",
    "Texts that /reflex/process was asked about, by where the answer was found: "
    "process, redis or none.",
    ["place"],
)
REFLEX_REMOTE = Counter(
    "octollm_reflex_remote_total",
    "Requests to the remote reflex by outcome: answered, failed or refused.",
    ["outcome"],
)
_scrape_time: dict[str, str] = {}
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


def register_collector(name: str, path: str) -> None:
    """Name a function that is asked at each scrape, by its dotted path.

    It takes nothing and returns ``prometheus_client`` metric families, such as
    gauges of what a query counts. Registering a name again replaces it.
    """
    _scrape_time[name] = path


def gauge(name: str, text: str, values: dict[str, float], *, label: str) -> Metric:
    """Return one gauge family for a collector, a sample per label value."""
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


class _ScrapeTimeCollector(Collector):
    """Asks what was registered; one that fails is missing, not the whole page."""

    def collect(self) -> Iterator[Metric]:
        succeeded: dict[str, float] = {}
        for name, path in _scrape_time.items():
            families = _ask(name, path)
            succeeded[name] = float(families is not None)
            yield from families or ()
        if succeeded:
            yield gauge(
                "octollm_collector_up",
                "Whether a collector answered this scrape.",
                succeeded,
                label="collector",
            )


def _ask(name: str, path: str) -> list[Metric] | None:
    try:
        return list(import_string(path)())
    except Exception:
        logger.exception("The collector %s failed", name)
        return None


def export(request: HttpRequest) -> HttpResponse:
    """Return all metrics in Prometheus' text format."""
    response: HttpResponse = ExportToDjangoView(request)  # type: ignore[no-untyped-call] # has no types
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ScrapeTimeCollector())
    response.write(generate_latest(registry))
    return response


class RequestMetricsMiddleware:
    """Count each request and its duration under the name of its route."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        """Keep the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Observe one request."""
        started = time.perf_counter()
        response = self._get_response(request)
        elapsed = time.perf_counter() - started
        match = request.resolver_match
        route = (match.view_name if match else None) or "unmatched"
        # The method is text of the caller's, too: unknown ones share a series.
        method = request.method if request.method in _METHODS else "OTHER"
        status = f"{response.status_code // 100}xx"
        HTTP_REQUESTS.labels(method, route, status).inc()
        HTTP_DURATION.labels(method, route).observe(elapsed)
        return response
