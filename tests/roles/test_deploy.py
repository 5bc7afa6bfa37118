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
from gateway.settings import Settings as GatewaySettings
from ledger.settings import Settings
from roles.cli import main

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
READMES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*/README.md")),
    ROOT / "roles/node/README.md",
    DEPLOY / "demo/README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
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
    yield from (one["command"] for one in COMPOSE["services"].values() if "build" in one and "command" in one)
    yield from (one["command"] for one in containers() if one["image"] == "tollway")
    yield re.findall(r'"([^"]+)"', (DEPLOY / "Dockerfile").read_text().rpartition("CMD")[2])


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


@pytest.mark.parametrize("path", [*sorted(DEPLOY.rglob("*.yaml")), DEPLOY / "env.example", *READMES], ids=str)
def test_every_named_setting_exists(path: Path) -> None:
    named = {name for name in OURS.findall(path.read_text()) if not name.endswith("_")}
    assert named <= SETTINGS


def test_the_example_environment_has_every_variable_of_the_compose_file() -> None:
    given = {line.partition("=")[0] for line in (DEPLOY / "env.example").read_text().splitlines() if line[:1].isalpha()}
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    assert asked <= given
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
    assert started == {"gateway", "ledger.worker", "ledger.migrations"}


def test_probes_use_routes_that_exist_on_open_ports() -> None:
    pages = {getattr(route, "path", "") for router in (health.router, inference_v2.router) for route in router.routes}
    for one in containers():
        ports = {row["containerPort"] for row in one.get("ports", ())}
        for probe in (one.get("readinessProbe"), one.get("livenessProbe")):
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


def test_the_kustomization_has_every_file_and_the_readme_every_secret() -> None:
    listed = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in KUBERNETES if path.name != "kustomization.yaml"]
    readme = (DEPLOY / "README.md").read_text()
    text = "".join(path.read_text() for path in KUBERNETES)
    for name in re.findall(
        r"(?:secretName|secretRef: \{ name|configMap: \{ name|secretKeyRef: \{ name): ([a-z-]+)", text
    ):
        assert f"`{name}`" in readme


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
    described = re.findall(r"^([0-9a-f]{16})  (models/\S+)$", (DEPLOY / "demo/README.md").read_text(), re.MULTILINE)
    models = {str(path.relative_to(DEPLOY / "demo")) for path in (DEPLOY / "demo/models").rglob("model.onnx")}
    assert {path for _, path in described} == models
    for start, path in described:
        assert hashlib.sha256((DEPLOY / "demo" / path).read_bytes()).hexdigest().startswith(start)
