"""Metrics: counted by name, read by whom they concern, right in any process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from prometheus_client import REGISTRY, Metric
from rest_framework.test import APIClient

from octollm import metrics
from octollm.access.keys import create_key

pytestmark = pytest.mark.urls("tests.octollm.api_urls")

AWAY = "192.0.2.1"


def counted(method: str, route: str, status: str) -> float:
    labels = {"method": method, "route": route, "status": status}
    return REGISTRY.get_sample_value("octollm_http_requests_total", labels) or 0.0


def two_queues() -> Iterator[Metric]:
    yield metrics.gauge(
        "octollm_queue_messages", "Messages.", {"default": 3, "sandbox": 0}, label="q"
    )


def breaks() -> Iterator[Metric]:
    yield from two_queues()
    raise RuntimeError("no database")


@pytest.fixture(autouse=True)
def _own_collectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_scrape_time", {})


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/health", ("GET", "health", "2xx")),
        ("GET", "/raise/illegal", ("GET", "raise", "4xx")),
        ("POST", "/health", ("POST", "health", "4xx")),
        ("GET", "/tasks-of/jane", ("GET", "unmatched", "4xx")),
        ("JANE", "/health", ("OTHER", "health", "4xx")),
    ],
)
def test_a_request_counts_under_the_name_of_its_route(
    method: str, path: str, labels: tuple[str, str, str]
) -> None:
    before = counted(*labels)
    APIClient().generic(method, path)
    assert counted(*labels) == before + 1


def test_nothing_of_the_path_becomes_a_label() -> None:
    APIClient().get("/raise/illegal")
    APIClient().get("/secret-path")
    page = APIClient().get("/metrics").content.decode()
    assert 'route="raise"' in page
    assert "secret-path" not in page
    assert "illegal" not in page


def test_the_duration_is_observed() -> None:
    labels = {"method": "GET", "route": "health"}
    name = "octollm_http_request_duration_seconds_count"
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    APIClient().get("/health")
    assert REGISTRY.get_sample_value(name, labels) == before + 1


def test_every_metric_of_ours_has_its_prefix_and_a_base_unit() -> None:
    ours = [m for m in vars(metrics).values() if hasattr(m, "_labelnames")]
    names = [metric.describe()[0].name for metric in ours]
    assert len(names) >= 12
    assert all(name.startswith("octollm_") for name in names)
    assert not [n for n in names if re.search(r"_(ms|milliseconds|minutes)$", n)]


def test_a_collector_is_asked_at_each_scrape() -> None:
    metrics.register_collector("queues", f"{__name__}.two_queues")
    page = APIClient().get("/metrics").content.decode()
    assert 'octollm_queue_messages{q="default"} 3.0' in page
    assert 'octollm_collector_up{collector="queues"} 1.0' in page


def test_a_collector_that_fails_costs_its_own_lines_only() -> None:
    metrics.register_collector("bad", f"{__name__}.breaks")
    response = APIClient().get("/metrics")
    page = response.content.decode()
    assert response.status_code == 200
    assert 'octollm_collector_up{collector="bad"} 0.0' in page
    assert "octollm_queue_messages" not in page
    assert "octollm_http_requests_total" in page


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/html", "image/png"])
def test_the_text_format_is_given_to_any_scraper(accept: str) -> None:
    response = APIClient().get("/metrics", HTTP_ACCEPT=accept)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1"])
def test_a_program_on_this_machine_may_read(address: str) -> None:
    assert APIClient().get("/metrics", REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize(
    "meta",
    [
        {"REMOTE_ADDR": AWAY},
        {"REMOTE_ADDR": "::ffff:192.0.2.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "127.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=127.0.0.1"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_REAL_IP": "127.0.0.1"},
    ],
)
def test_others_need_a_key(meta: dict[str, str]) -> None:
    assert (
        APIClient(enforce_csrf_checks=False, **meta).get("/metrics").status_code == 401
    )


@pytest.mark.django_db
@pytest.mark.parametrize("scopes", [["metrics"], []])
def test_a_key_with_the_scope_or_a_full_one_may_read(scopes: list[str]) -> None:
    _, token = create_key(owner_name="acme", name="prometheus", scopes=scopes)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.get("/metrics", REMOTE_ADDR=AWAY).status_code == 200


@pytest.mark.django_db
def test_staff_may_read() -> None:
    client = APIClient()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    assert client.get("/metrics", REMOTE_ADDR=AWAY).status_code == 200


WRITE = """
from octollm.metrics import TASKS, STEP_DURATION
TASKS.labels("completed").inc(2)
STEP_DURATION.labels("judge").observe(0.2)
"""
READ = """
import django; django.setup()
from django.test import RequestFactory
from octollm.metrics import TASKS, export
TASKS.labels("completed").inc()
print(export(RequestFactory().get("/metrics")).content.decode())
"""


def test_any_process_shows_the_sum_of_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "tests.settings")
    for _ in range(2):
        run_python(WRITE)
    page = run_python(READ)
    assert 'octollm_tasks_total{status="completed"} 5.0' in page
    assert 'octollm_step_duration_seconds_count{arm="judge"} 2.0' in page


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(  # our own interpreter
        command, check=True, capture_output=True, text=True
    ).stdout
