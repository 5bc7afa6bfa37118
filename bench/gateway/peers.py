"""Other gateways, each installed into an environment of its own, over the same mock upstream.

Environments are kept under `BENCH_PEERS` (default `~/.cache/tollway/peers`), so only the first run downloads anything.
A peer that cannot be installed or started is left out, and the results say why.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg

from tests.conftest import free_port, wait_until_open

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("BENCH_PEERS") or Path.home() / ".cache/tollway/peers")
INSTALL_SECONDS = 900
START_SECONDS = 180
PATH = "/v1/chat/completions"
PORTKEY = {"dependencies": {"@portkey-ai/gateway": "1"}, "overrides": {"@hono/node-server": "2"}}
"""Version 1 of the server library it asks for makes a stream's headers immutable, so every stream is a 500
(honojs/node-server #382, Portkey-AI/gateway #1550)."""


@dataclass(frozen=True)
class Peer:
    """A running peer."""

    name: str
    port: int
    pid: int
    key: str = "sk-bench"
    model: str = "mock"
    path: str = PATH
    headers: str = ""


Makers = dict[str, Callable[[], AbstractContextManager[Peer]]]


def makers(upstream_port: int, database: str) -> Makers:
    """How each gateway here is started."""
    return {
        "litellm": lambda: litellm(upstream_port, None),
        "litellm_postgres": lambda: litellm(upstream_port, database),
        "portkey": lambda: portkey(upstream_port),
        "x402_fastapi": lambda: x402(upstream_port),
    }


def start(stack: ExitStack, made: Makers) -> tuple[list[Peer], dict[str, str]]:
    """Every peer that starts here and answers, and why the others are missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found, missing = [], {}
    for name, make in made.items():
        try:
            with ExitStack() as own:
                peer = own.enter_context(make())
                answers(peer)
                stack.push(own.pop_all())
                found.append(peer)
        except (subprocess.SubprocessError, OSError, RuntimeError, AssertionError, httpx.HTTPError) as error:
            missing[name] = f"{type(error).__name__}: {error}"[:500]
            print(f"  {name} is missing: {missing[name]}", flush=True)
    return found, missing


def answers(peer: Peer) -> None:
    """Raise unless a call is answered as it should be."""
    headers = {"Authorization": f"Bearer {peer.key}", **dict(one.split(": ", 1) for one in lines(peer.headers))}
    body = {"model": peer.model, "messages": [{"role": "user", "content": "hi"}]}
    url, last = f"http://127.0.0.1:{peer.port}{peer.path}", ""
    for _ in range(20):
        response = httpx.post(url, json=body, headers=headers, timeout=30)
        if response.status_code == 200 and response.json()["choices"]:
            return
        last = f"{response.status_code} {response.text[:200]}"
        time.sleep(1)
    raise RuntimeError(f"{peer.name} does not answer a call: {last}")


def lines(headers: str) -> list[str]:
    """Header lines from the form the load takes them in."""
    return [line for line in headers.split("|") if line]


def environment(name: str, *packages: str) -> Path:
    """A virtual environment with these packages, made once."""
    place = FOLDER / name
    if not (place / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        subprocess.run([str(place / "bin/pip"), "install", "-q", *packages], check=True, timeout=INSTALL_SECONDS)
        (place / "done").touch()
    return place / "bin"


@contextmanager
def server(name: str, command: list[str], port: int | None, **more: str) -> Iterator[int]:
    """A peer's process, once its port is open, if it is known. Its output goes to a file beside its environment.

    It leads a group of its own, and all of the group ends: some start through a wrapper.
    """
    with (FOLDER / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            command, env={**os.environ, **more}, stdout=log, stderr=log, cwd=FOLDER, start_new_session=True
        )
    try:
        if port is not None:
            wait_until_open(port, started, START_SECONDS)
        yield started.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


@contextmanager
def litellm(upstream_port: int, database: str | None) -> Iterator[Peer]:
    """LiteLLM's proxy; with `database`, its spend rows go to PostgreSQL, as in production.

    Its database client fetches an engine from binaries.prisma.sh: where that host is not reached, LiteLLM is measured
    without its database only.
    """
    bin_ = environment("litellm", "litellm[proxy]", "prisma")
    name = "litellm_postgres" if database else "litellm"
    port = free_port()
    config = FOLDER / "litellm.json"
    parameters = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
    config.write_text(json.dumps({"model_list": [{"model_name": "mock", "litellm_params": parameters}]}))
    command = [str(bin_ / "litellm"), "--config", str(config), "--port", str(port), "--host", "127.0.0.1"]
    key = "sk-" + os.urandom(32).hex()  # without one, and with a weak one, it does not start
    more = {"LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": key, "LITELLM_SALT_KEY": key}
    more |= {"PATH": f"{bin_}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"}
    if database is not None:
        schema = next(bin_.parent.glob("lib/python*/site-packages/litellm/proxy/schema.prisma"))
        generate = [str(bin_ / "prisma"), "generate", "--schema", str(schema)]
        made = subprocess.run(generate, env={**os.environ, **more}, cwd=FOLDER, capture_output=True, timeout=300)
        if made.returncode:
            raise RuntimeError(f"prisma generate: {made.stderr.decode(errors='replace').strip()[-300:]}")
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE DATABASE litellm")
        host = database.partition("host=")[2]
        more |= {"DATABASE_URL": f"postgresql://postgres:@localhost/litellm?host={host}"}
    with server(name, command, port, **more) as pid:
        yield Peer(name, port, pid, key)


@contextmanager
def portkey(upstream_port: int) -> Iterator[Peer]:
    """Portkey's gateway, which takes its upstream from headers."""
    place = FOLDER / "portkey"
    script = place / "node_modules/@portkey-ai/gateway/build/start-server.js"
    package, wanted = place / "package.json", json.dumps(PORTKEY)
    if not script.exists() or package.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        package.write_text(wanted)
        npm = [str(ROOT / ".venv/bin/npm"), "install", "--no-audit", "--no-fund", "--prefix", str(place)]
        subprocess.run(npm, check=True, timeout=INSTALL_SECONDS)
    port = free_port()
    # a private host is refused unless it is named as trusted
    trusted = {"TRUSTED_CUSTOM_HOSTS": "localhost,127.0.0.1"}
    command = [str(ROOT / ".venv/bin/node"), str(script), f"--port={port}", "--headless"]
    with server("portkey", command, port, **trusted) as pid:
        headers = f"x-portkey-provider: openai|x-portkey-custom-host: http://127.0.0.1:{upstream_port}/v1"
        yield Peer("portkey", port, pid, headers=headers)


@contextmanager
def x402(upstream_port: int) -> Iterator[Peer]:
    """x402's FastAPI middleware, with a facilitator that agrees at once."""
    bin_ = environment("x402", "x402[fastapi,evm]", "httpx", "uvicorn", "uvloop", "httptools")
    port = free_port()
    script = str(Path(__file__).with_name("x402_peer.py"))
    with server("x402", [str(bin_ / "python"), script, str(port), str(upstream_port)], port) as pid:
        yield Peer("x402_fastapi", port, pid, headers=f"PAYMENT-SIGNATURE: {payment(port)}")


def payment(port: int) -> str:
    """A payment for the one route, as its own 402 asks for it."""
    asked = httpx.post(f"http://127.0.0.1:{port}{PATH}", json={}, timeout=30)
    if asked.status_code != 402:
        raise RuntimeError(f"x402 asks for no payment: {asked.status_code} {asked.text[:200]}")
    terms = json.loads(base64.b64decode(asked.headers["payment-required"]))
    wanted = terms["accepts"][0]
    authorization = {"from": "0x" + "22" * 20, "to": wanted["payTo"], "value": wanted["amount"]}
    authorization |= {"validAfter": "0", "validBefore": str(2**40), "nonce": "0x" + "44" * 32}
    payload = {"signature": "0x" + "55" * 65, "authorization": authorization}
    paid = {"x402Version": 2, "accepted": wanted, "payload": payload, "resource": terms.get("resource")}
    return base64.b64encode(json.dumps(paid).encode()).decode()
