"""Servers that people have are sold by one command: a real MLServer, with a scikit-learn and a PyTorch model.

MLServer wants an older FastAPI than ours, so it lives in an environment of its own, which `make test-slow` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from roles.cli import context
from roles.cli.main import ask as run
from roles.cli.output import wait_until
from roles.local import network
from roles.wallet import api_keys
from tests import book
from tests.journey.conftest import Person

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
TOO_NEW = (3, 13)
"""MLServer has no release for this Python."""
DEBIAN = "/usr/lib/python3/dist-packages"
"""Where Debian's python3-torch is: PyPI's brings gigabytes for graphics cards."""
FIND_TORCH = f"import sys; sys.path.append({DEBIAN!r}); import torch"
TRAIN = """
import joblib, sys
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
joblib.dump(LogisticRegression(max_iter=1000).fit(*load_iris(return_X_y=True)), sys.argv[1])
"""
IRIS = {**json.loads(book.shown("docs/servers.md", "mlserver_sklearn.SKLearnModel").text), "name": "Iris Flowers"}
"""The page's, by a name that a model cannot have here."""
START, SELL = book.typed("docs/servers.md", "mlserver start ./models").lines
RUNTIME = f"""
import sys
sys.path.append({DEBIAN!r})
import torch
from mlserver import MLModel
from mlserver.types import InferenceResponse, ResponseOutput

class Line(MLModel):
    async def load(self):
        self.layer = torch.nn.Linear(2, 1)
        self.layer.load_state_dict({{"weight": torch.tensor([[2.0, 3.0]]), "bias": torch.tensor([1.0])}})
        return True

    async def predict(self, payload):
        rows = torch.tensor(list(payload.inputs[0].data)).reshape(-1, 2)
        with torch.no_grad():
            found = self.layer(rows).flatten().tolist()
        output = ResponseOutput(name="y", datatype="FP32", shape=[len(found), 1], data=found)
        return InferenceResponse(model_name=self.name, outputs=[output])
"""
LINE = {
    "name": "line",
    "implementation": "runtime.Line",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
}
SETOSA, VIRGINICA = [5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]


@pytest.fixture(scope="module")
def program() -> Path:
    """MLServer's program, from its environment beside ours or from the PATH."""
    where = os.pathsep.join((str(Path(sys.prefix) / "mlserver" / "bin"), os.environ["PATH"]))
    found = shutil.which("mlserver", path=where)
    if found is None and sys.version_info >= TOO_NEW:
        pytest.skip("MLServer needs Python 3.12 or older, and there is none: NOT TESTED with a real server")
    assert found is not None, "MLServer is not installed: `make mlserver`"
    return Path(found)


def has_torch(program: Path) -> bool:
    """Whether MLServer's Python finds PyTorch."""
    return subprocess.run([program.parent / "python", "-c", FIND_TORCH], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def models(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models for MLServer: one of scikit-learn, one of PyTorch where there is one."""
    folder = tmp_path_factory.mktemp("mlserver") / "models"
    folder.mkdir()
    for name, settings in [("iris", IRIS)] + [("line", LINE)] * has_torch(program):
        (folder / name).mkdir()
        (folder / name / "model-settings.json").write_text(json.dumps(settings))
    subprocess.run([program.parent / "python", "-c", TRAIN, folder / "iris" / "iris.joblib"], check=True)
    if (folder / "line").exists():
        (folder / "line" / "runtime.py").write_text(RUNTIME)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def mlserver(program: Path, folder: Path) -> Iterator[str]:
    """A running MLServer, ready for calls; its URL."""
    http, grpc = free_ports(2)
    settings = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps({**settings, "parallel_workers": 0, "debug": False}))
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, *START.split()[1:]], stdout=log, stderr=log, cwd=folder.parent)
    url = f"http://127.0.0.1:{http}"

    def is_ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        try:
            return httpx.get(f"{url}/v2/health/ready").is_success
        except httpx.TransportError:
            return False

    try:
        assert wait_until(is_ready, 180), (folder / "log").read_text()[-2000:]
        yield url
    finally:
        process.terminate()
        process.wait(60)
        log.close()


@pytest.fixture(scope="module")
def sold(settled: Person, program: Path, models: Path) -> Iterator[dict[str, Any]]:
    """What one command said of a server that it sold, an epoch later."""
    with network.living_in(settled.home), mlserver(program, models) as url:
        run("wallet create iris --light")
        run("wallet faucet 20 --wallet iris")
        sale = SELL.replace("http://HOST:8080", url).replace("acme", "iris").replace("-w me", "-w iris")
        sale = f"{sale.removeprefix('tollway ')} --ratio 5% --stake 1"
        first, again = run(sale), run(sale)
        network.advance(network.EPOCH_SECONDS)
        names = {row["model"] for row in first["sold"]}
        run(sale)
        assert wait_until(lambda: names <= {row["model"] for row in run("consumer models")}, 180, 0.5), names
        yield {"url": url, "first": first, "again": again}


@pytest.fixture(autouse=True)
def at_home(settled: Person) -> Iterator[None]:
    with network.living_in(settled.home):
        yield


def infer(model: str, tensor: dict[str, Any]) -> httpx.Response:
    """A call as any Open Inference Protocol client makes it."""
    headers = {"Authorization": f"Bearer {api_keys.secret('alice')}"}
    url = f"{context.here().url}/v2/models/{model}/infer"
    return httpx.post(url, json={"inputs": [tensor]}, headers=headers, timeout=60)


def check_paid(answer: httpx.Response) -> None:
    """The call's receipt is signed, its price follows from the bids, and its batch is on chain."""
    assert int(answer.headers["tollway-charge"]) > 700
    call = answer.headers["tollway-receipt"]

    def verified() -> dict[str, Any]:
        network.advance(1)
        shown: dict[str, Any] = run(f"consumer verify {call} --wallet alice")
        return shown if "on_chain" in shown else {}

    shown = wait_until(verified, 180, 1)
    assert (shown["verified"], shown["charge"]) == (True, answer.headers["tollway-charge"])
    assert any(line.startswith("compute") and line.endswith(": 700") for line in shown["lines"])


def test_one_command_sells_a_scikit_learn_model_of_mlserver(sold: dict[str, Any]) -> None:
    by_name = {row["model"]: row for row in sold["first"]["sold"]}
    row = by_name["@iris/iris-flowers"]
    assert row["served_as"] == "Iris Flowers"
    assert row["sent"] == ["registration", "owner's bid", "provider's bid", "offer"]
    assert (row["missing"], row["when"][:13]) == ([], "in force from")
    tensor = {"name": "flower", "datatype": "FP64", "shape": [2, 4], "data": [*SETOSA, *VIRGINICA]}
    answer = infer("@iris/iris-flowers", tensor)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [0, 2]
    check_paid(answer)


def test_selling_it_again_registers_and_bids_for_nothing(sold: dict[str, Any]) -> None:
    assert [(row["model"], row["sent"]) for row in sold["again"]["sold"]] == [
        (row["model"], ["offer"]) for row in sold["first"]["sold"]
    ]
    assert sold["again"]["left_out"] == []


def test_a_pytorch_model_of_mlserver_is_sold_with_the_others(sold: dict[str, Any], program: Path) -> None:
    if not has_torch(program):
        pytest.skip("no PyTorch that MLServer's Python finds (Debian: python3-torch): NOT TESTED with PyTorch")
    answer = infer("@iris/line", {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [10.0, 100.0]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [321.0]
    check_paid(answer)


def test_a_model_that_does_not_fit_its_document_is_not_offered(sold: dict[str, Any], program: Path) -> None:
    with pytest.raises(Exception, match="none") as refused:
        run(f"provider offer @iris/iris-flowers --url {sold['url']}#none --wallet iris")
    assert "Iris Flowers" in str(refused.value)
