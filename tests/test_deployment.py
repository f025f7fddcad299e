"""The files that run the system in containers, as far as no engine is needed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_compose_file_fits_the_specification():
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())

    # The file names its draft by an address that the library does not know.
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


@pytest.mark.parametrize("name", ["postgres", "valkey", "migrate", "web", "worker"])
def test_compose_has_the_service(name):
    assert name in COMPOSE["services"]


def test_services_wait_for_what_they_need():
    for name in ("web", "worker"):
        needs = COMPOSE["services"][name]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully"
        assert needs["valkey"]["condition"] == "service_healthy"


def test_compose_binds_the_host_on_loopback_only():
    ports = [
        port
        for service in COMPOSE["services"].values()
        for port in service.get("ports", [])
    ]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_holds_no_secret_of_its_own():
    text = (ROOT / "docker-compose.yml").read_text()

    for name in re.findall(r"(\w*(?:KEY|KEYS|PASSWORD)): (.+)", text):
        assert name[1].startswith("${"), name


def test_image_does_not_run_as_root():
    stages = (ROOT / "Dockerfile").read_text().split("FROM ")

    assert "\nUSER octollm\n" in stages[-1]


def test_image_takes_in_no_secrets_and_no_data():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()

    assert {".env", ".octollm", ".git", ".venv"} <= set(ignored)


def test_image_runs_the_code_beside_its_templates():
    # A wheel holds the packages only: pages would be missing.
    assert "--no-build-isolation -e ." in (ROOT / "Dockerfile").read_text()
