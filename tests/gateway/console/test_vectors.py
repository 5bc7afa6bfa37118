"""What a browser computes is what the core computes, to the bit: the bundle that the gateway serves, run by Node."""

import json
import shutil
from pathlib import Path

from tests.javascript import BUNDLE, ROOT, run

PROGRAM = Path(__file__).with_name("vectors.mjs")
VECTORS = ROOT / "tests" / "vectors"


def test_the_bundle_computes_the_shared_vectors_and_takes_no_changed_byte() -> None:
    found = run(PROGRAM, BUNDLE, VECTORS)
    assert found["differences"] == []
    split = json.loads((VECTORS / "split_prices.json").read_text())["count"]
    prices = sum(2 * len(model["calls"]) for model in json.loads((VECTORS / "prices.json").read_text())["models"])
    assert found["checked"]["price"] == split + prices
    least = {"receipt": 26, "refused": 1_000, "mechanism": 60, "deduction": 60, "tree": 60}
    assert {name for name, count in least.items() if found["checked"][name] < count} == set()


def test_a_changed_vector_is_a_difference(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    shutil.copytree(VECTORS, folder)
    for name, was, now in [
        ("split_prices.json", '"split": "0x', '"split": "0x1'),
        ("receipts.json", '"hash": "0x', '"hash": "0xff'),
        ("typed_data.json", '"digest": "0x', '"digest": "0xff'),
        ("sumtree.json", '"total": "', '"total": "1'),
        ("mechanism.json", '"maker": 442', '"maker": 443'),
    ]:
        text = (folder / name).read_text()
        assert was in text
        (folder / name).write_text(text.replace(was, now))
    said = {line.split(" ")[0] for line in run(PROGRAM, BUNDLE, folder)["differences"]}
    assert said == {"price", "receipt", "tree", "mechanism"}
