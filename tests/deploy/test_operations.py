"""docs/operations.md names what exists: metrics that are there, labels that they have, settings that are read."""

import re

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from app.store import migrate
from tests.deploy.compose import ROOT, raw, variables
from worker.settings import WorkerSettings

DOCUMENT = (ROOT / "docs" / "operations.md").read_text("utf-8")


def rules() -> list[dict[str, str]]:
    block = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block
    found: list[dict[str, str]] = yaml.safe_load(block[1])["groups"][0]["rules"]
    return found


@pytest.fixture
def measured(tmp_path) -> dict[str, set[str]]:
    """The label names of every sample that /metrics shows, by the sample's name."""
    migrate.upgrade(f"sqlite:///{tmp_path / 'trainyard.db'}")
    with TestClient(create_app(Settings(home=tmp_path)), base_url="http://127.0.0.1") as client:
        client.get("/healthz")
        text = client.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: set(sample.labels) for sample in samples}


def test_every_rule_names_metrics_and_labels_that_are_there(measured):
    assert len(rules()) >= 8
    for rule in rules():
        selectors = re.findall(r"(trainyard_\w+)(?:\{([^}]*)\})?", rule["expr"])
        assert selectors or "up{" in rule["expr"], rule
        for name, labels in selectors:
            assert name in measured, name
            assert set(re.findall(r"(\w+)=", labels)) <= measured[name], rule


def test_every_metric_that_the_page_names_is_there(measured):
    named = set(re.findall(r"\btrainyard_[a-z_]+", DOCUMENT))
    assert named <= set(measured)
    kept_to_itself = {name for name in measured if name.endswith(("_created", "_sum"))}
    assert set(measured) - kept_to_itself <= named, "a measure that nobody is told of"


def test_every_setting_that_the_page_names_is_read():
    known = {f"TRAINYARD_{name.upper()}" for kind in (Settings, WorkerSettings) for name in kind.model_fields}
    known |= {"TRAINYARD_URL", "TRAINYARD_API_KEY"}  # the command line's
    named = set(re.findall(r"\bTRAINYARD_[A-Z_]+\b", DOCUMENT))
    assert len(named) > 20
    assert named <= known | variables(raw())


def test_every_compose_variable_that_the_page_names_is_read():
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)*)=", DOCUMENT)) - {"COMPOSE_FILE"}
    assert named <= variables(raw()) | {f"TRAINYARD_{name.upper()}" for name in Settings.model_fields}
    assert {"DATASETS", "STORAGE"} <= named
