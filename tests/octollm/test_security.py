"""Pages load nothing from elsewhere, and a policy forbids it besides."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, RequestFactory

from octollm.security import ContentSecurityPolicyMiddleware

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PAGES = (
    "/",
    "/ready",
    "/docs",
    "/nowhere",
    "/admin/",
    "/admin/login/",
    "/admin/octollm/apikey/",
    "/admin/octollm/apikey/add/",
    "/admin/auth/user/",
)


class Loaded(HTMLParser):
    """Collects what a page loads, and the scripts that stand in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.inline_scripts: list[dict[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.handlers += [name for name in given if re.fullmatch(r"on[a-z]+", name)]
        if tag != "a":  # a link is followed by people only
            found = (given.get(name) for name in ("src", "href", "action", "srcset"))
            self.addresses += [address for address in found if address]
        if tag == "script" and "src" not in given:
            self.inline_scripts.append(given)


@pytest.fixture
def operator(db: None) -> Client:
    client = Client(headers={"Accept": BROWSER})
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_from_its_own_host_only(operator: Client, path: str) -> None:
    page = Loaded(operator.get(path, follow=True).content.decode())
    outside = [a for a in page.addresses if re.match(r"(?:[a-z]+:)?//", a)]
    assert [a for a in outside if not a.startswith("http://testserver/")] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_script_that_the_policy_forbids(
    operator: Client, path: str
) -> None:
    page = Loaded(operator.get(path, follow=True).content.decode())
    data = ("application/json", "text/template", "importmap")
    assert [s for s in page.inline_scripts if s.get("type") not in data] == []
    assert page.handlers == []


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nowhere", "/docs"])
def test_every_answer_has_the_strict_policy(operator: Client, path: str) -> None:
    policy = operator.get(path)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy


def test_eval_is_allowed_in_the_admin_only(operator: Client) -> None:
    assert "unsafe-eval" in operator.get("/admin/")["Content-Security-Policy"]
    assert "unsafe-eval" not in operator.get("/docs")["Content-Security-Policy"]
    assert "unsafe-eval" not in operator.get("/administrate")["Content-Security-Policy"]


def test_no_policy_allows_another_host_or_inline_scripts(operator: Client) -> None:
    for path in PAGES:
        policy = operator.get(path)["Content-Security-Policy"]
        scripts = re.findall(r"script-src ([^;]*)", policy)[0]
        assert "unsafe-inline" not in scripts
        assert not re.search(r"https?:|\*", policy)


def test_a_views_own_policy_is_kept() -> None:
    def view(request: object) -> HttpResponse:
        return HttpResponse(headers={"Content-Security-Policy": "sandbox"})

    response = ContentSecurityPolicyMiddleware(view)(RequestFactory().get("/"))
    assert response["Content-Security-Policy"] == "sandbox"


def test_the_description_is_shown_to_no_validator_elsewhere(operator: Client) -> None:
    script = operator.get("/docs?script=", headers={"Accept": "*/*"})
    assert script["Content-Type"].startswith("application/javascript")
    assert '"validatorUrl": "none"' in script.content.decode()


def test_there_is_one_page_of_documentation(operator: Client) -> None:
    assert operator.get("/redoc").status_code == 404
