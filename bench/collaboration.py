"""What several small models can do together: accuracy, cost and latency of each pattern against the best single model.

    python -m bench.collaboration [--messages 1000]

Fifteen small models of a task made here (`bench.triage`), served by a real node on onnxruntime; the pattern capsules of
`deploy/demo/capsules`, run by a real gateway with durable signed receipts. Cost is what the receipts charge, every line
included; latency is what one caller sees who sends one message at a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx

from bench import report
from bench.grid import a_grid, receipts_of
from bench.triage.task import MODELS, Message, messages
from ledger.core.values.documents import Json
from ledger.core.values.ids import Digest, cid, did
from ledger.core.values.typed_data import Signer
from roles.cli.shared import bundles
from roles.wallet import signing
from tests.conftest import free_port, wait_until_open
from tests.gateway.world import DOMAIN, MAKER, PROVIDER, WEAVER, Running, World, a_signer

CAPSULES = Path(__file__).parents[1] / "deploy" / "demo" / "capsules"
ASKS = {"general": 100, "refiner": 110, "debater": 110, "expert": 150, "router": 60, "judge": 120, "large": 1500}
"""What the providers ask a call: small models little, the large one fifteen times as much."""
SINGLES = ("general-a", "general-b", "general-c", "large")


def sell(world: World, nodes: Mapping[int, Signer], team: str, names: Iterable[str]) -> dict[str, Digest]:
    """Models published by a team, and offered by each of the nodes, which are providers by port."""
    found = {}
    for name in names:
        about = json.loads((MODELS / name / "model.json").read_text())
        document = {
            "schema": "tollway/model/1",
            "kind": "endpoint",
            "name": f"@{team}/{name}",
            "version": about["version"],
            "owner": did(0, MAKER.address),
            "license": about["license"],
            "lineage": [],
            **about["card"],
        }
        found[name] = subject = world.publish(document)
        asked = {"call": str(ASKS[name.partition("-")[0]])}
        for port, provider in nodes.items():
            world.serve(subject, f"http://127.0.0.1:{port}#{name}", asked, provider=provider)
    return found


def weave(gateway: Running, path: Path, models: Mapping[str, Digest], name: str = "") -> str:
    """A workflow published over these models, by the name of its file or another; its name."""
    known = {f"model:{model}": cid(subject) for model, subject in models.items()}
    bundle = bundles.read(path, bundles.Names(did(0, WEAVER.address), lambda one: one, known))
    document = bundle.document | ({"name": name} if name else {})
    for module in bundle.modules:
        headers = {"content-type": "application/wasm"}
        gateway.of(WEAVER).post("/v1/documents", content=module, headers=headers).raise_for_status()
    published = signing.document(WEAVER, DOMAIN, document)
    gateway.http.post("/v1/documents", json=published).raise_for_status()
    return str(document["name"])


def wait_for(gateway: Running, names: list[str]) -> None:
    """Until the gateway can serve them."""
    deadline = time.monotonic() + 20
    for name in names:
        while not gateway.http.get(f"/v1/models/{name}").json().get("ready"):
            if time.monotonic() > deadline:
                raise RuntimeError(gateway.http.get(f"/v1/models/{name}").text)
            time.sleep(0.1)


def ask(gateway: Running, key: str, name: str, text: str) -> tuple[str, int]:
    """A label, and what it cost."""
    headers = {"authorization": f"Bearer {key}"}
    if name.startswith("@wanda/"):
        body: Json = {"model": name, "messages": [{"role": "user", "content": text}]}
        response = gateway.http.post("/v1/chat/completions", json=body, headers=headers)
        response.raise_for_status()
        said = response.json()["choices"][0]["message"]["content"]
        label = json.loads(said)["content"] if said.startswith("{") else said
        return label, int(response.headers["tollway-charge"])
    label, answered = infer(gateway.http, f"/v2/models/{name}/infer", text, headers)
    return label, int(answered["tollway-charge"])


def infer(http: httpx.Client, url: str, text: str, headers: Mapping[str, str] = {}) -> tuple[str, httpx.Headers]:
    """A model's label, from the gateway or from a node, and the answer's headers."""
    body: Json = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]}
    response = http.post(url, json=body, headers=headers)
    response.raise_for_status()
    label = next(row["data"][0] for row in response.json()["outputs"] if row["name"] == "label")
    return str(label), response.headers


def measure(world: World, gateway: Running, names: list[str], test: list[Message]) -> dict[str, dict[str, float]]:
    """A row for each: every message once, in turn, so that all of them see the same machine.

    Each has a consumer of its own, whose receipts must say the same as the answers' headers.
    """
    keys, took = {}, {name: list[float]() for name in names}
    right, cost, before = Counter[str](), Counter[str](), Counter[str]()
    for name in names:
        world.deposit(a_signer(name).address, 10**11)
        keys[name] = gateway.key(a_signer(name))
        ask(gateway, keys[name], name, test[0].text)
        before[name] = len(receipts_of(world, a_signer(name).address))
    for message in test:
        for name in names:
            started = time.perf_counter()
            label, charge = ask(gateway, keys[name], name, message.text)
            took[name].append(time.perf_counter() - started)
            right[name] += label == message.label
            cost[name] += charge
    rows = {}
    for name in names:
        signed = receipts_of(world, a_signer(name).address)[: -before[name]]
        assert sum(one.receipt.charge for one in signed) == cost[name], "the receipts say what the headers said"
        seconds = sorted(took[name])
        rows[name] = {
            "accuracy": round(right[name] / len(test), 4),
            "atoms_a_call": round(cost[name] / len(test), 1),
            "receipts_a_call": round(len(signed) / len(test), 2),
            "p50_ms": round(1000 * seconds[len(seconds) // 2], 1),
            "p95_ms": round(1000 * seconds[len(seconds) * 19 // 20], 1),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1000)
    given = parser.parse_args()
    port = free_port()
    known = sorted(folder.name for folder in MODELS.iterdir())
    folders = [word for name in known for word in ("--model", str(MODELS / name))]
    node = subprocess.Popen([sys.executable, "-m", "roles.node", *folders, "--port", str(port)])
    try:
        wait_until_open(port, node, 60)
        with a_grid() as world:
            models = sell(world, {port: PROVIDER}, "triage", known)
            gateway = world.gateway()
            world.deposit(WEAVER.address, 10**11)
            gateway.key(WEAVER)
            names = [weave(gateway, path, models) for path in sorted(CAPSULES.glob("*.json"))]
            wait_for(gateway, names)
            test = messages(given.messages, "collaboration")
            rows = measure(world, gateway, [*(f"@triage/{one}" for one in SINGLES), *names], test)
    finally:
        node.terminate()
        node.wait(20)
    tell(rows, given.messages)


def tell(rows: Mapping[str, Mapping[str, float]], count: int) -> None:
    """A table against the best single model, and the file."""
    singles = {name: row for name, row in rows.items() if name.startswith("@triage/")}
    best = max(singles, key=lambda name: singles[name]["accuracy"])
    print(f"\n{'':<28} accuracy  vs best    atoms  vs best   p50 ms  vs best  receipts")
    for name, row in sorted(rows.items(), key=lambda item: -item[1]["accuracy"]):
        print(
            f"{name:<28} {row['accuracy']:>8.3f} {row['accuracy'] - rows[best]['accuracy']:>+8.3f} "
            f"{row['atoms_a_call']:>8.0f} {row['atoms_a_call'] / rows[best]['atoms_a_call']:>7.2f}x "
            f"{row['p50_ms']:>8.1f} {row['p50_ms'] / rows[best]['p50_ms']:>7.2f}x {row['receipts_a_call']:>9.2f}"
        )
    report.save("collaboration", {"messages": count, "best_single": best, "rows": rows})


if __name__ == "__main__":
    main()
