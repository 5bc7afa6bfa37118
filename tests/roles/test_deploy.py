"""The commands, settings, probes and mounts in `deploy/` and the READMEs exist in the code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import typer
import yaml

from gateway.api import health, inference_v2
from gateway.catalog import exports
from gateway.settings import Settings as GatewaySettings
from ledger.settings import Settings
from roles.cli import main
from tests import book

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
EXAMPLES = DEPLOY / "kubernetes/examples"
OUR_IMAGES = {"tollway-gateway", "tollway-ledger"}
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    ROOT / "roles/node/README.md",
    DEPLOY / "demo/README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
OURS = re.compile(r"\b(?:LEDGER|GATEWAY)_[A-Z_]+\b")
SETTINGS = {
    *(f"LEDGER_{name.upper()}" for name in Settings.model_fields),
    *(f"GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields),
}


def objects() -> Iterator[dict[str, Any]]:
    """Every Kubernetes object."""
    for path in KUBERNETES:
        yield from (one for one in yaml.safe_load_all(path.read_text()) if one["kind"] != "Kustomization")


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every object that creates pods, with the pods' template."""
    for one in objects():
        if "template" in one.get("spec", {}):
            yield one, one["spec"]["template"]


def containers() -> Iterator[dict[str, Any]]:
    """Every container of every pod."""
    for _, template in pods():
        yield from template["spec"]["containers"]


def schema(builtin: str) -> dict[str, Any]:
    """A published schema, from check-jsonschema."""
    carried = resources.files("check_jsonschema.builtin_schemas.vendor") / f"{builtin}.json"
    loaded: dict[str, Any] = json.loads(carried.read_text())
    return loaded


def commands() -> Iterator[list[str]]:
    """The commands that start our programs, as words."""
    yield from (one["command"] for one in COMPOSE["services"].values() if "build" in one)
    yield from (one["command"] for one in containers() if one["image"] in OUR_IMAGES)
    for one in yaml.safe_load_all((EXAMPLES / "kserve.yaml").read_text()):
        yield from (box["command"] for box in one["spec"]["predictor"]["containers"])


def test_the_compose_file_fits_its_specification() -> None:
    specification = jsonschema.Draft202012Validator(schema("compose-spec"))
    assert [error.message for error in specification.iter_errors(COMPOSE)] == []
    misspelt = {"services": {name: {**one, "comand": []} for name, one in COMPOSE["services"].items()}}
    assert len([*specification.iter_errors(misspelt)]) == len(COMPOSE["services"])


@pytest.mark.parametrize("one", [*objects()], ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
@pytest.mark.parametrize("version", ["1.31", "1.34", "1.37"])
def test_kubernetes_knows_every_field_of_every_object(one: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(one, version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate({**one, "spec": {**one.get("spec", {}), "replica": 1}}, version, strict=True)


def test_every_pod_is_nobody_reads_only_and_is_asked_whether_it_lives() -> None:
    for owner, template in pods():
        name, spec = f"{owner['kind']} {owner['metadata']['name']}", template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        for one in spec["containers"]:
            assert one["securityContext"] == {
                "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
            }, name  # fmt: skip
            assert {"cpu", "memory"} <= one["resources"]["requests"].keys(), name
            assert "memory" in one["resources"]["limits"], name
            assert "livenessProbe" in one or owner["kind"] == "Job", name
            if one.get("ports"):
                assert "readinessProbe" in one, name


def test_what_serves_is_scaled_and_moved_one_by_one() -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in objects() if one["kind"] == "HorizontalPodAutoscaler"}
    budgets = [one["spec"]["selector"] for one in objects() if one["kind"] == "PodDisruptionBudget"]
    assert scaled == {"gateway"}
    assert {one["matchLabels"]["app"] for one in budgets} == {"gateway", "worker"}
    for one in objects():
        if one["kind"] == "HorizontalPodAutoscaler":
            target = one["spec"]["scaleTargetRef"]
            assert any((o["kind"], o["metadata"]["name"]) == (target["kind"], target["name"]) for o, _ in pods())


def test_the_network_lets_nobody_in_but_whom_a_policy_names() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in objects() if one["kind"] == "NetworkPolicy"}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    apps = {template["metadata"]["labels"]["app"] for _, template in pods()}
    open_ports = {
        template["metadata"]["labels"]["app"]: {port["containerPort"] for box in boxes for port in box.get("ports", ())}
        for _, template in pods()
        for boxes in [template["spec"]["containers"]]
    }
    for name in policies.keys() - {"nobody"}:
        spec = policies[name]
        [app] = spec["podSelector"]["matchLabels"].values()
        assert app == name
        for rule in spec["ingress"]:
            assert {port["port"] for port in rule["ports"]} == open_ports[app]
            for peer in rule.get("from", ()):
                named = [one["values"] for one in peer.get("podSelector", {}).get("matchExpressions", ())]
                assert {value for values in named for value in values} <= apps
    assert policies.keys() - {"nobody"} == {app for app, ports in open_ports.items() if ports}
    assert "from" not in policies["gateway"]["ingress"][0]
    for store in ("postgres", "redis"):
        assert "Egress" in policies[store]["policyTypes"]
        assert "egress" not in policies[store], "it has no reason to reach anybody"


KEDA = {
    "scaledobject": "scaleTargetRef minReplicaCount maxReplicaCount pollingInterval cooldownPeriod triggers",
    "triggerauthentication": "secretTargetRef",
}
"""Fields that KEDA's API keda.sh/v1alpha1 has, of those used here."""


def test_keda_scales_workers_by_the_receipts_that_wait() -> None:
    found = {one["kind"].lower(): one for one in yaml.safe_load_all((EXAMPLES / "keda.yaml").read_text())}
    assert found.keys() == KEDA.keys()
    for kind, fields in KEDA.items():
        assert found[kind]["apiVersion"] == "keda.sh/v1alpha1"
        assert found[kind]["spec"].keys() <= {*fields.split()}
    [secret] = found["triggerauthentication"]["spec"]["secretTargetRef"]
    assert (secret["parameter"], secret["key"]) == ("connection", "LEDGER_DATABASE_URL")
    [trigger] = found["scaledobject"]["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == found["triggerauthentication"]["metadata"]["name"]
    assert trigger["type"] == "postgresql"
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA takes strings"
    target = found["scaledobject"]["spec"]["scaleTargetRef"]["name"]
    assert ("Deployment", target) in {(one["kind"], one["metadata"]["name"]) for one, _ in pods()}


def test_kserves_schema_holds_for_the_example() -> None:
    schema = json.loads((ROOT / "tests/vectors/kserve_inference_service.json").read_text())
    one = yaml.safe_load((EXAMPLES / "kserve.yaml").read_text())
    jsonschema.Draft202012Validator(schema).validate(one)
    [container] = one["spec"]["predictor"]["containers"]
    assert container["image"] == exports.IMAGE
    assert container["ports"][0]["containerPort"] == exports.PORT
    built = f"--build-arg PART={exports.IMAGE.removeprefix('tollway-')} -t {exports.IMAGE}"
    assert built in (ROOT / "docs/exports.md").read_text()


@pytest.mark.parametrize("path", [*sorted(DEPLOY.rglob("*.yaml")), DEPLOY / "env.example", *READMES], ids=str)
def test_every_named_setting_exists(path: Path) -> None:
    named = {name for name in OURS.findall(path.read_text()) if not name.endswith("_")}
    assert named <= SETTINGS


def test_the_example_environment_has_every_variable_of_the_compose_file() -> None:
    given = {line.partition("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines() if line[:1].isalpha()}
    asked = re.findall(r"\$\{([A-Z_]+):([?-])", (DEPLOY / "compose.yaml").read_text())
    assert {name for name, default in asked if default == "?"} <= given
    example = (DEPLOY / "env.example").read_text()
    assert [name for name, default in asked if default == "-" and f"\n# {name}=" not in example] == []
    assert {name for name, field in Settings.model_fields.items() if field.is_required()} <= {
        name.removeprefix("LEDGER_").lower() for name in given
    }


def test_every_started_program_exists() -> None:
    started = set()
    for words in commands():
        flat = shlex.split(" ".join(words[2:] if words[:2] == ["sh", "-c"] else words))
        words = flat[flat.index("python" if "python" in flat else "celery") :]
        assert words[1] in ("-m", "-A")
        module = importlib.util.find_spec(words[2])
        assert module is not None, words
        assert words[1] == "-m" or "\napp" in Path(str(module.origin)).read_text()
        started.add(words[2])
    assert started == {"gateway", "ledger.worker", "ledger.migrations", "roles.node"}


def test_probes_use_routes_that_exist_on_open_ports() -> None:
    pages = {getattr(route, "path", "") for router in (health.router, inference_v2.router) for route in router.routes}
    for one in containers():
        ports = {row["containerPort"] for row in one.get("ports", ())}
        for probe in (one.get(f"{kind}Probe") for kind in ("startup", "readiness", "liveness")):
            asked = (probe or {}).get("httpGet") or (probe or {}).get("tcpSocket")
            if asked:
                assert asked["port"] in ports
                assert asked.get("path", "/health") in pages
        if "8080" in str(one.get("command")):
            assert 8080 in ports


def test_every_mount_has_a_volume_and_every_selector_a_label() -> None:
    labels = []
    for one, template in pods():
        spec = template["spec"]
        claims = one["spec"].get("volumeClaimTemplates", [])
        known = {row["name"] for row in spec.get("volumes", [])} | {row["metadata"]["name"] for row in claims}
        assert {row["name"] for box in spec["containers"] for row in box.get("volumeMounts", [])} == known
        selector = one["spec"].get("selector", {}).get("matchLabels")
        if selector:
            assert selector == template["metadata"]["labels"]
            labels.append(selector)
        if one["kind"] == "StatefulSet":
            services = {other["metadata"]["name"] for other in objects() if other["kind"] == "Service"}
            assert one["spec"]["serviceName"] in services
    for one in objects():
        if one["kind"] == "Service":
            assert one["spec"]["selector"] in labels
        if one["kind"] == "PodDisruptionBudget":
            assert one["spec"]["selector"]["matchLabels"] in labels


def test_the_kustomization_has_every_file_and_the_readme_every_secret() -> None:
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in KUBERNETES if path.name != "kustomization.yaml"]
    images = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["images"]
    others = {"postgres:18", "redis:8"}
    assert {one["name"] for one in images} == OUR_IMAGES == {one["image"] for one in containers()} - others
    readme = (DEPLOY / "README.md").read_text()
    text = "".join(path.read_text() for path in KUBERNETES)
    for name in re.findall(
        r"(?:secretName|secretRef: \{ name|configMap: \{ name|secretKeyRef: \{ name): ([a-z-]+)", text
    ):
        assert re.search(rf"create (secret generic|configmap) {name} ", readme), name


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_in_a_readme_exists(path: Path) -> None:
    groups = typer.main.get_command(main.build())
    for typed in re.findall(r"(?:^|[`/])tollway ([a-z][^`#\n]*)", path.read_text(), re.MULTILINE):
        words, command = typed.split(), groups
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"tollway {typed}"
            command = command.commands[words.pop(0)]
        options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, f"tollway {typed}"
    for module in re.findall(r"python -m ([a-z_.]+)", path.read_text()):
        assert importlib.util.find_spec(module), module


def test_the_image_has_every_file_its_programs_import(tmp_path: Path) -> None:
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if not line.startswith("COPY ") or "/app/" not in line:
            continue
        *sources, target = line.split()[1:]
        to = tmp_path / target.removeprefix("/app/")
        to.mkdir(parents=True, exist_ok=True)
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, to)
    wanted = "gateway.app, gateway.__main__, ledger.tasks, ledger.migrations, ledger.core.kernels, ledger.chain.reads"
    program = f"import {wanted}, contracts, roles.cli.main; contracts.load('Settlement'); print(contracts.__file__)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "LEDGER_DATABASE_URL": "postgresql://nobody@nowhere/x"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith(str(tmp_path))


def test_the_demo_models_are_those_the_readme_describes() -> None:
    readme = book.shown("deploy/demo/README.md", "models/dialog/model.onnx")
    described = re.findall(r"^([0-9a-f]{16})  (models/\S+)$", readme.text, re.MULTILINE)
    models = {str(path.relative_to(DEPLOY / "demo")) for path in (DEPLOY / "demo/models").rglob("model.onnx")}
    assert {path for _, path in described} == models
    for start, path in described:
        assert hashlib.sha256((DEPLOY / "demo" / path).read_bytes()).hexdigest().startswith(start)
