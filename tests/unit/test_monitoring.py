"""deploy/monitoring: alerts and a board over metrics that there are, with labels that they have."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import promql_parser
import pytest
import yaml

import workers.metrics  # noqa: F401 - puts the workers' metrics into the library's registry
from api.metrics import Metrics

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
FOREIGN_LABELS = {"instance", "job", "le"}
ADDED_BY_THE_APP = {"textmill_broker_up"}
"""Gauges of `create_app`, without labels."""


def expressions() -> Iterator[Any]:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield pytest.param(rule["expr"], id=rule["alert"])
    for panel in json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))["panels"]:
        for target in panel["targets"]:
            yield pytest.param(
                target["expr"].replace("$__rate_interval", "5m"), id=f"{panel['title']} {target['refId']}"
            )


def known() -> dict[str, set[str]]:
    """Name of a series -> its labels."""
    found: dict[str, set[str]] = {name: set() for name in ADDED_BY_THE_APP}
    for registry in (Metrics().registry, prometheus_client.REGISTRY):
        for collector, names in registry._collector_to_names.items():
            for name in names:
                found[name] = set(getattr(collector, "_labelnames", ()))
    return found


def selectors(node: Any) -> Iterator[Any]:
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        child = getattr(node, name, None)
        if child is not None:
            yield from selectors(child)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


@pytest.mark.parametrize("expression", list(expressions()))
def test_what_is_asked_for_is_there(expression: str) -> None:
    names = known()
    found = list(selectors(promql_parser.parse(expression)))
    assert found
    for selector in found:
        assert selector.name in names, selector.name
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= names[selector.name] | FOREIGN_LABELS, selector.name


def test_every_alert_says_what_it_means() -> None:
    rules = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_board_fits_together() -> None:
    board = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"])
