"""The alerts and the dashboard in `deploy/dashboards`: each expression is PromQL, of samples that a gateway exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.nodes import Node
from tests.gateway.test_metrics import CHAT, a_receipt
from tests.gateway.world import PROVIDER, Running, World

FOLDER = Path(__file__).parents[2] / "deploy" / "dashboards"
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
DASHBOARD = json.loads((FOLDER / "gateway.json").read_text())
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
TARGETS: dict[str, dict[str, Any]] = {
    f"{panel['title']} {target['refId']}": target for panel in DASHBOARD["panels"] for target in panel["targets"]
}
OF_A_SCRAPE = frozenset(("instance", "job"))
"""The labels that Prometheus adds itself."""
Samples = dict[str, set[str]]
"""The labels of each sample, by its name."""


def expressions() -> dict[str, str]:
    """Every expression, with an interval in the place of Grafana's variable."""
    panels = {name: target["expr"].replace("$__rate_interval", "5m") for name, target in TARGETS.items()}
    return {name: rule["expr"] for name, rule in RULES.items()} | panels


EXPRESSIONS = expressions()


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Every selector in it."""
    nodes: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(expression), nodes.append)
    yield from (one for one in nodes if isinstance(one, promql_parser.VectorSelector))


def grouped(expression: str) -> set[str]:
    """The labels by which it groups or matches."""
    listed = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in listed for label in labels.split(",")}


@pytest.fixture
def samples(world: World, gateway: Running, node: Node) -> Samples:
    """All that a gateway exports, once each of its counters has counted something."""
    metrics = gateway.gateway.metrics
    metrics.charged("@acme/chat", PROVIDER.address, a_receipt())
    metrics.ended(CHAT, "@acme/chat", "normal", 5)
    metrics.first_token("@acme/chat", 5)
    metrics.failed("@acme/chat", PROVIDER.address, "cut")
    metrics.probed(PROVIDER.address, "passed")
    metrics.refusals.labels("internal").inc()
    metrics.text_seconds = 0
    found: Samples = {"up": set()}
    for family in text_string_to_metric_families(gateway.http.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_expression_is_of_samples_and_labels_that_a_gateway_exports(samples: Samples) -> None:
    for name, expression in EXPRESSIONS.items():
        of_all: set[str] = set()
        for selector in selectors(expression):
            assert selector.name in samples, (name, selector.name)
            labels = samples[selector.name] | OF_A_SCRAPE
            assert {matcher.name for matcher in selector.matchers.matchers} <= labels, name
            of_all |= labels
        assert of_all, name
        assert grouped(expression) <= of_all, name


def test_what_a_text_names_is_a_label_of_its_expression() -> None:
    texts = {name: " ".join(rule["annotations"].values()) for name, rule in RULES.items()}
    texts |= {name: target["legendFormat"].replace("{{", "{{ $labels.") for name, target in TARGETS.items()}
    for name, text in texts.items():
        expression = EXPRESSIONS[name]
        kept = set(re.findall(r"\bby \(([^)]*)\)", expression))
        labels = {label.strip() for one in kept for label in one.split(",")} - {"le"}
        named = set(re.findall(r"\$labels\.(\w+)", text))
        assert named <= (labels or {*OF_A_SCRAPE, "model"}), (name, named)


def test_all_that_a_gateway_exports_is_on_the_dashboard(samples: Samples) -> None:
    shown = {selector.name for name in TARGETS for selector in selectors(EXPRESSIONS[name])}
    families = {re.sub(r"_(bucket|count|sum)$", "", name or "") for name in shown}
    exported = {re.sub(r"_(bucket|count|sum)$", "", name) for name in samples if not name.endswith("_created")}
    assert exported - families == set()


def test_buckets_that_are_named_exist(samples: Samples, gateway: Running) -> None:
    limits = set(re.findall(r'le="([^"]+)"', gateway.http.get("/metrics").text))
    named = {matcher.value for one in EXPRESSIONS.values() for matcher in matchers_of(one) if matcher.name == "le"}
    assert named
    assert named <= limits


def matchers_of(expression: str) -> list[promql_parser.Matcher]:
    return [matcher for selector in selectors(expression) for matcher in selector.matchers.matchers]


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    assert len(RULES) == sum(len(group["rules"]) for group in ALERTS["groups"])
    for name, rule in RULES.items():
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, name
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert set(rule["annotations"]) == {"summary", "description"}, name
        assert promql_parser.parse_duration(rule["for"]), name


def test_panels_do_not_overlap_and_have_a_source_and_a_unit() -> None:
    covered: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        covered |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_promtool_takes_the_rules() -> None:
    subprocess.run(["promtool", "check", "rules", FOLDER / "alerts.yaml"], check=True)


def test_an_unknown_metric_or_label_would_be_seen(samples: Samples) -> None:
    [selector] = selectors('sum by (model) (rate(tollway_gone_total{modle="x"}[5m]))')
    assert selector.name not in samples
    assert [matcher.name for matcher in selector.matchers.matchers] == ["modle"]
    assert grouped("sum by (a, b) (x) / on (c) group_left () y") == {"a", "b", "c"}
    with pytest.raises(ValueError, match="unclosed"):
        promql_parser.parse("sum by (model (rate(x[5m]))")
