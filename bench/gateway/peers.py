"""Other gateways, each installed into an environment of its own under `.peers/`, over the same mock upstream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import free_port, wait_until_open

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / ".peers"


@dataclass(frozen=True)
class Peer:
    """A running peer."""

    name: str
    port: int
    pid: int
    key: str = "sk-bench"
    model: str = "mock"
    path: str = "/v1/chat/completions"
    headers: str = ""


def start(stack: ExitStack, upstream_port: int) -> list[Peer]:
    """Every peer that can be installed here."""
    found = []
    for make in (litellm, portkey):
        try:
            found.append(stack.enter_context(make(upstream_port)))
        except (subprocess.CalledProcessError, OSError, RuntimeError) as error:
            print(f"  {make.__name__} cannot be had here: {error}")
    return found


def environment(name: str, *packages: str) -> Path:
    """A virtual environment with these packages, made once."""
    place = PLACE / name
    if not (place / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(place / "bin/pip"), "install", "-q", *packages], check=True, timeout=900)
        (place / "done").touch()
    return place / "bin"


@contextmanager
def server(command: list[str], port: int, **more: str) -> Iterator[int]:
    """A peer's process."""
    started = subprocess.Popen(
        command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=PLACE
    )
    try:
        wait_until_open(port, started, 120)
        yield started.pid
    finally:
        started.terminate()
        started.wait(30)


@contextmanager
def litellm(upstream_port: int) -> Iterator[Peer]:
    """LiteLLM's proxy, without a database."""
    bin_ = environment("litellm", "litellm[proxy]")
    port = free_port()
    config = PLACE / "litellm.json"
    parameters = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "mock", "litellm_params": parameters}]}))
    command = [str(bin_ / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    with server(command, port, LITELLM_LOG="ERROR") as pid:
        yield Peer("litellm", port, pid)


@contextmanager
def portkey(upstream_port: int) -> Iterator[Peer]:
    """Portkey's gateway, which takes its upstream from headers."""
    place = PLACE / "portkey"
    script = place / "node_modules/@portkey-ai/gateway/build/start-server.js"
    if not script.exists():
        place.mkdir(parents=True, exist_ok=True)
        npm = str(ROOT / ".venv/bin/npm")
        subprocess.run([npm, "install", "--prefix", str(place), "@portkey-ai/gateway"], check=True, timeout=900)
    port = free_port()
    with server([str(ROOT / ".venv/bin/node"), str(script), f"--port={port}", "--headless"], port) as pid:
        headers = f"x-portkey-provider: openai|x-portkey-custom-host: http://127.0.0.1:{upstream_port}/v1"
        yield Peer("portkey", port, pid, headers=headers)
