"""The console's pages: served to everybody, whole by themselves, and with what strangers wrote as text."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gateway.console import drawing, overview
from gateway.console.assets import FOLDER
from gateway.console.rendering import amount
from ledger.core.catalog.bids import Role
from ledger.core.receipts.receipt import struct_hash, unpack
from ledger.core.values.atoms import AIC
from ledger.core.values.errors import Unavailable
from ledger.core.values.ids import Digest, cid, did, to_hex
from ledger.core.values.sum_tree import range_root, receipt_leaf
from ledger.core.values.typed_data import Signer
from ledger.flows import batches as batching
from ledger.flows import postings as posting
from ledger.store.chain import lanes, parties
from ledger.store.session import unit_of_work
from ledger.store.settlement import alarms, batches
from tests.gateway.nodes import Node
from tests.gateway.test_private_grid import LANE, work
from tests.gateway.test_who_pays import eventually
from tests.gateway.workflows import LAST, Loom, inferring
from tests.gateway.world import MAKER, OPERATOR, PROVIDER, Running, World, a_model, a_signer
from tests.javascript import evaluate

OWN = ("/activity", "/keys", "/webhooks", "/money", "/wallet", "/operator")
LISTS = ("/models", "/models?all=true", "/capsules", "/payees", "/explorer", "/explorer/earnings")
PAGES = ("/", "/models/@acme/chat", *LISTS, *OWN)
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
EVIL = """"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;{{7*7}}"""
TYPED_EVIL = "<b>{{7*7}}</b>"
OPEN: dict[str, Any] = {"open": True, "royalty_ppm": 50_000, "floor": {}}


def shown(gateway: Running, path: str, status: int = 200) -> str:
    """A page's text. The headers of a page are its reader's safety, whatever it says."""
    response = gateway.http.get(path, headers={"accept": "text/html"})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert policy(response)["script-src"] == "'self'"
    return response.text


def made_of(parent: Digest) -> dict[str, Any]:
    """A document's row of lineage, with the terms that OPEN grants."""
    terms = {"royalty_ppm": OPEN["royalty_ppm"], "floor": OPEN["floor"], "offer": f"sha256:{'cd' * 32}"}
    return {"id": cid(parent), "relation": "finetune", "terms": terms}


class Tags(HTMLParser):
    """The elements of a page by their names, the URLs they name, and what of them a strict policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        found = {name: value or "" for name, value in attrs}
        self.names.append(tag)
        self.urls += [found[name] for name in ("src", "href", "action", "data", "poster", "srcset") if name in found]
        is_inline = tag in ("style", "iframe", "object", "base") or (tag == "script" and not found.get("src"))
        if is_inline or any(name == "style" or name.startswith("on") for name in found):
            self.inline.append(str(self.get_starttag_text()))


def known(gateway: Running, path: str) -> str:
    """A page's text, once the gateway knows what it is of."""
    eventually(lambda: gateway.http.get(path).status_code == 200)
    return shown(gateway, path)


def policy(response: httpx.Response) -> dict[str, str]:
    """The directives of a page's Content-Security-Policy."""
    said = response.headers["content-security-policy"].split("; ")
    return {name: value for name, _, value in (one.partition(" ") for one in said)}


@pytest.fixture
def charged(world: World, gateway: Running, consumer: Signer) -> str:
    """The receipt of a call, in no batch yet."""
    with unit_of_work(world.engine) as session:
        lanes.assign(session, world.lane, [consumer.address])
    world.deposit(consumer.address, 10**9)
    called = gateway.chat(gateway.key(consumer))
    assert called.status_code == 200, called.text
    return str(called.headers["tollway-receipt"])


def test_a_page_is_served_whole_by_this_gateway_under_a_strict_policy(gateway: Running) -> None:
    for path in PAGES:
        response = gateway.http.get(path)
        assert (response.status_code, policy(response)) == (200, POLICY), path
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in response.headers
        page = Tags(response.text)
        assert page.inline == [], path
        assert [url for url in page.urls if not re.match(r"[/#](?!/)", url)] == [], path
        assert page.names.count("h1") == 1, path
        assert len(response.content) < 60_000, path


def test_every_link_and_file_of_a_page_is_there(gateway: Running) -> None:
    urls = {url for path in PAGES for url in Tags(shown(gateway, path)).urls}
    asked = {url.partition("#")[0] for url in urls} - {""}
    missing = {url: gateway.http.get(url).status_code for url in asked}
    assert {url: status for url, status in missing.items() if status != 200} == {"/explorer/receipts": 422}


def test_a_form_has_labels_and_a_key_is_in_no_address(gateway: Running) -> None:
    for path in PAGES:
        text = shown(gateway, path)
        for field in re.findall(r"<(?:input|select)[^>]*>", text):
            before = text[: text.index(field)]
            labelled = before.rfind("<label>") > before.rfind("</label>") or "aria-label=" in field
            assert labelled, (path, field)
    for path in OWN:
        assert not re.search(r"<input[^>]*\bname=", shown(gateway, path)), "a form that is sent has its fields' names"


def test_the_first_page_with_all_it_loads_is_under_200_kb(gateway: Running) -> None:
    page = gateway.http.get("/")
    sizes = [len(page.content)]
    for url in {url for url in Tags(page.text).urls if url.startswith("/static/")}:
        response = gateway.http.get(url)
        assert (response.status_code, response.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        sizes.append(len(response.content))
    assert len(sizes) > 2
    assert sum(sizes) < 200_000


def test_a_file_is_sent_again_only_when_it_changed_and_no_other_file_is(gateway: Running) -> None:
    first = gateway.http.get("/static/console.css")
    again = gateway.http.get("/static/console.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.headers["cache-control"], again.status_code, again.content) == ("no-cache", 304, b"")
    plain = gateway.http.get("/static/console.css", headers={"accept-encoding": "identity"})
    assert (plain.content, "content-encoding" in plain.headers) == (first.content, False)
    for name in ("none.css", "..%2Frendering.py", "%2e%2e/rendering.py"):
        assert gateway.http.get(f"/static/{name}").status_code == 404


def test_json_routes_are_what_they_were(gateway: Running) -> None:
    assert gateway.http.get("/v1/models", headers={"accept": "text/html"}).json()["data"][0]["id"] == "@acme/chat"
    refused = gateway.http.get("/none")
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "no_such_route")


# The overview.


def test_the_overview_of_a_young_network_says_what_there_is_and_what_comes(gateway: Running) -> None:
    text = shown(gateway, "/")
    assert re.search(r"<dt>Models</dt><dd><a href=\"/models\">1</a>", text)
    assert "1 center" in text
    assert "There is no batch yet" in text


def test_the_overview_draws_what_public_batches_paid_and_names_no_consumer(
    world: World, gateway: Running, consumer: Signer, charged: str
) -> None:
    assert "No public batch" in shown(gateway, "/?of=day")
    work(world)
    text = shown(gateway, "/?of=hour")
    (batch,) = gateway.http.get("/v1/settlement/batches").json()["data"]
    assert f'title="{batch["total"]} atoms"' in text
    with unit_of_work(world.engine) as session:
        paid = batches.earned(session, world.lane, batch["number"])
    for (payee, role), shared in paid.items():
        assert re.search(rf'<td>{role.name}</td><td><span class="mono address" title="{to_hex(payee)}">', text)
        assert f'title="{shared} atoms"' in text
    assert text.count('<path class="band') == 2 * len(paid)
    assert to_hex(consumer.address) not in text
    assert f'<a href="/explorer/{batch["number"]}">' in text


def test_no_label_of_a_drawing_lies_upon_another_one() -> None:
    small = [("consumers", f"role {n}", 1) for n in range(6)] + [(f"role {n}", f"payee {n}", 1) for n in range(6)]
    most = [("consumers", "compute", 10**6), ("compute", "north", 10**6)]
    columns = [
        ["consumers"],
        ["compute", *(f"role {n}" for n in range(6))],
        ["north", *(f"payee {n}" for n in range(6))],
    ]
    drawn = drawing.sankey(columns, [*most, *small])
    middles = {(block.x, block.y + block.height // 2) for block in drawn.blocks}
    assert all(y == other or abs(y - other) >= 14 for x, y in middles for at, other in middles if x == at)
    assert len(middles) == len(drawn.blocks)
    assert max(block.y + block.height for block in drawn.blocks) < drawn.height


def test_a_lane_of_a_chain_shows_its_bond_and_what_is_at_stake(chain: World) -> None:
    text = shown(chain.gateway(), "/")
    assert re.search(r"<dt>Bond</dt><dd><span title=\"1000000000000 atoms\">1000 AIC</span>", text)
    assert "0 % of what the bond covers is at stake" in text


def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each reading of the network, of which the first fails and all others are kept for an hour."""
    read, asked = overview._network, list[int]()

    def reading(*arguments: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise Unavailable("the database cannot be used now; try again")
        return read(*arguments)

    monkeypatch.setattr(overview, "_network", reading)
    monkeypatch.setattr(overview, "KEPT_SECONDS", 3600.0)
    return asked


def test_the_network_is_read_once_for_all_who_ask_and_a_failure_is_not_kept(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = readings(monkeypatch)
    assert "cannot be used now" in shown(gateway, "/", 503)
    with ThreadPoolExecutor(8) as readers:
        pages = list(readers.map(lambda _: gateway.http.get("/").status_code, range(16)))
    assert (pages, len(asked)) == ([200] * 16, 2)


def test_the_catalog_is_walked_once_for_all_who_look(gateway: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    walk, asked = overview._served, list[int]()

    def walking(of: Any) -> Any:
        asked.append(1)
        return walk(of)

    monkeypatch.setattr(overview, "_served", walking)
    monkeypatch.setattr(overview, "KEPT_SECONDS", 3600.0)
    for _ in range(3):
        assert "1 center" in shown(gateway, "/")
    assert len(asked) == 1


def test_an_unknown_period_is_refused_on_a_page(gateway: Running) -> None:
    response = gateway.http.get("/?of=century")
    assert (response.status_code, policy(response)) == (422, POLICY)
    assert "Not possible" in response.text


# Models and capsules.


def test_models_are_found_by_words_task_tier_and_price(world: World, gateway: Running, node: Node) -> None:
    world.a_model_at(node.url, "@acme/dear", {"call": "5000000000"}, description="Knows Latin.")
    eventually(lambda: "@acme/dear" in shown(gateway, "/models"))

    def found(query: str) -> set[str]:
        return set(re.findall(r'href="/models/(@[^"]+)"', shown(gateway, f"/models?{query}")))

    both = {"@acme/chat", "@acme/dear"}
    assert found("") == found("task=text-generation&tier=center") == both
    assert found("q=LATIN") == found("q=dear") == {"@acme/dear"}
    assert found("price=1") == {"@acme/chat"}
    assert found("tier=edge") == found("task=none") == found("offset=50") == set()
    text = shown(gateway, "/models?sort=price")
    assert text.index("/models/@acme/chat") < text.index("/models/@acme/dear")
    assert "such as 0.001" in shown(gateway, "/models?price=cheap", 400)


def test_a_model_that_nobody_serves_is_listed_with_the_reason_when_asked_for(world: World, gateway: Running) -> None:
    world.publish(a_model("@acme/idle"))
    eventually(lambda: "@acme/idle" in shown(gateway, "/models?all=true"))
    assert "@acme/idle" not in shown(gateway, "/models")
    why = gateway.http.get("/v1/models/@acme/idle").json()["why"]
    assert html.escape(why) in shown(gateway, "/models?all=true")
    assert "It cannot be called now" in shown(gateway, "/models/@acme/idle")


def test_a_models_page_has_its_price_lines_providers_and_lineage(world: World, gateway: Running, node: Node) -> None:
    base = world.publish(a_model("@acme/base", derivative_terms=OPEN))
    tuned = world.publish(a_model("@acme/tuned", lineage=[made_of(base)]))
    world.bid(tuned, Role.oem, MAKER.address, 10_000)
    world.serve(tuned, node.url, {"call": "100"})
    eventually(lambda: '<span class="state good">ready</span>' in shown(gateway, "/models/@acme/chat"))
    text = shown(gateway, "/models/@acme/chat")
    price = gateway.http.get("/v1/models/@acme/chat").json()["pricing"]["call"]
    assert re.search(rf'<td>a call</td><td class="number"><span title="{price} atoms">', text)
    assert re.search(rf'<td>maker</td><td><span class="mono address" title="{to_hex(MAKER.address)}">.*?10%', text)
    assert to_hex(PROVIDER.address) in text
    text = known(gateway, "/models/@acme/tuned")
    assert re.search(r'<th scope="row"><a href="/models/@acme/base">@acme/base</a></th><td>finetune</td>', text)
    assert 'href="/models/@acme/tuned"' in shown(gateway, "/models/@acme/base"), "a parent's page leads to its child"


def test_an_unknown_model_is_not_found_on_a_page_that_names_the_nearest(gateway: Running) -> None:
    assert "the nearest are @acme/chat" in shown(gateway, "/models/@acme/chap", 404)
    assert "@acme/chat" in shown(gateway, f"/models/{cid(gateway.gateway.catalog.find('@acme/chat').id)}")


def a_flow(loom: Loom) -> str:
    """A capsule of a classifier and a chat model that is asked only sometimes, with a fallback; its page's path."""
    feeling, talk = loom.classifier("feeling", inferring("joy")), loom.talker("talk")
    messages = {"messages": [{"role": "user", "content": "{" + LAST + "}"}]}
    first = {"id": "feel", "uses": {"model": cid(feeling)}, "input": {"text": LAST}}
    when = {"when": "$steps.feel.output.label == 'joy'", "on_error": "fallback", "fallback": "again"}
    reply = {"id": "reply", "uses": {"model": cid(talk)}, "input": messages, "max_price": "20000", **when}
    again = {"id": "again", "uses": {"model": cid(talk)}, "input": messages}
    loom.capsule(
        first, reply, again, output={"choices": "$steps.reply.output.choices"}, description="Feels, then talks."
    )
    return "/capsules/@wanda/flow"


def test_a_capsules_page_draws_its_steps_in_their_order(loom: Loom) -> None:
    path = a_flow(loom)
    text = shown(loom.gateway, path)
    at = {name: int(x) for x, name in re.findall(r'<text x="(\d+)" y="\d+">(feel|reply|again)</text>', text)}
    assert at["feel"] < at["reply"] < at["again"]
    assert re.search(r'<path class="graph-edge fallback"[^>]*><title>reply to again', text)
    assert "$steps.feel.output.label == &#39;joy&#39;" in text
    assert re.search(r'<a href="/models/@acme/talk"', text)
    assert '<a class="mono" href="/capsules/@wanda/flow">' in shown(loom.gateway, "/capsules")
    assert loom.gateway.http.get("/models/@wanda/flow").headers["location"] == path
    assert Tags(text).inline == []


def snippets_of(gateway: Running, path: str) -> dict[str, str]:
    """The programs on a page, by language."""
    found = re.findall(
        r'<pre tabindex="0" aria-label="(\w+)"><code>(.*?)</code></pre>', shown(gateway, path), re.DOTALL
    )
    return {language: html.unescape(code) for language, code in found}


PROGRAMS = {"Python": [sys.executable, "-c"], "JavaScript": ["node", "-e"], "curl": ["sh", "-c"]}


def test_code_on_a_models_page_runs_as_it_stands(world: World, gateway: Running, consumer: Signer) -> None:
    world.deposit(consumer.address, 10**9)
    code = snippets_of(gateway, "/models/@acme/chat")
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"TOLLWAY_KEY": gateway.key(consumer), "PATH": tools}
    for language, command in PROGRAMS.items():
        if shutil.which(command[0], path=tools) and (language != "curl" or shutil.which("curl")):
            words = [*command, code.pop(language)]
            ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
            assert (ran.returncode, "hello there" in ran.stdout) == (0, True), (language, ran.stdout, ran.stderr)
    assert len(world.receipts_of(consumer.address)) == 3 - len(code) >= 2


def test_code_for_tensors_calls_the_protocol_that_the_model_speaks(loom: Loom) -> None:
    loom.classifier("feeling", inferring("joy"))
    known(loom.gateway, "/models/@acme/feeling")
    code = snippets_of(loom.gateway, "/models/@acme/feeling")
    assert all(f"{loom.gateway.url}/v2/models/@acme/feeling/infer" in one for one in code.values())
    compile(code["Python"], "page", "exec")


# The explorer.


def test_a_batch_and_its_receipts_are_shown_once_they_are_public(
    world: World, gateway: Running, consumer: Signer, charged: str
) -> None:
    assert "there is no receipt" in html.unescape(shown(gateway, f"/explorer/receipts/{charged}", 404))
    work(world)
    batch = gateway.http.get("/v1/settlement/batches/1").json()
    text = shown(gateway, "/explorer/1")
    for root in ("receipts_root", "payout_root", "debit_root", "lines_root", "gateways_root", "data_ref"):
        assert batch["header"][root] in text
    assert 'href="/v1/settlement/batches/1/file"' in text
    assert f'href="/explorer/receipts/{to_hex(gateway.gateway.signer.address)}-1"' in text
    assert to_hex(consumer.address) not in text
    assert '<a href="/explorer/1">1</a>' in shown(gateway, "/explorer")
    text = shown(gateway, f"/explorer/receipts/{charged}")
    public = gateway.http.get(f"/v1/receipts/{charged}").json()
    assert public["signature"] in text
    assert public["digest"] in text
    assert '<a href="/models/@acme/chat">@acme/chat</a>' in text
    assert f'data-receipt="{public["id"]}" data-batch="1"' in text
    assert '<a href="/explorer/1">1</a>' in text
    assert "salt" not in text


def test_the_page_of_a_receipt_alone_may_ask_other_hosts(world: World, gateway: Running, charged: str) -> None:
    work(world)
    response = gateway.http.get(f"/explorer/receipts/{charged}")
    wider = {"connect-src": "'self' https: http://127.0.0.1:* http://localhost:*"}
    assert policy(response) == POLICY | wider
    assert policy(gateway.http.get("/explorer/1")) == POLICY


def test_a_receipt_is_looked_up_by_its_id(world: World, gateway: Running, charged: str) -> None:
    work(world)
    found = gateway.http.get("/explorer/receipts", params={"id": f" {charged} "})
    assert (found.status_code, found.headers["location"]) == (303, f"/explorer/receipts/{charged}")


def test_a_receipts_proof_is_public_with_its_batch_and_leads_to_its_root(
    world: World, gateway: Running, charged: str
) -> None:
    path = f"/v1/proofs/receipt/{charged}"
    assert gateway.http.get(path).status_code == 404
    work(world)
    response = gateway.http.get(path)
    assert response.status_code == 200, response.text
    proof, shown_receipt = response.json(), gateway.http.get(f"/v1/receipts/{charged}").json()
    signed = bytes.fromhex(proof["receipts"][-1][2:])
    assert to_hex(signed[-65:]) == shown_receipt["signature"]
    header = proof["batch"]["header"]
    words = [
        receipt_leaf(world.lane, struct_hash(one), one.charge)
        for one in (unpack(bytes.fromhex(hexed[2:])[:-65]) for hexed in proof["receipts"])
    ]
    siblings = [bytes.fromhex(word[2:]) for word in proof["siblings"]]
    assert to_hex(range_root(words, proof["first"], header["heights"]["receipts"], siblings)) == header["receipts_root"]
    assert len(response.content) < 10_000
    for unknown in ("0x" + "11" * 32, "nothing", f"{charged}0"):
        assert gateway.http.get(f"/v1/proofs/receipt/{unknown}").status_code == 404


def test_who_earned_what_is_shown_with_the_commands_that_make_it_again(
    world: World, gateway: Running, consumer: Signer, charged: str
) -> None:
    assert "No public batch was closed" in shown(gateway, "/explorer/earnings?of=hour")
    work(world)
    text = shown(gateway, "/explorer/earnings?of=day")
    with unit_of_work(world.engine) as session:
        paid = batches.earned(session, world.lane, 1)
    rows = re.findall(r'title="(0x[0-9a-f]{40})">[^<]*</span></th><td>(\w+)</td>.*?title="(\d+) atoms"', text)
    assert {(payee, role): int(atoms) for payee, role, atoms in rows} == {
        (to_hex(payee), role.name): atoms for (payee, role), atoms in paid.items()
    }
    assert "tollway batch report files" in text
    assert to_hex(consumer.address) not in text
    assert 'href="/explorer/earnings"' in shown(gateway, "/explorer")


def test_a_batch_that_is_not_public_shows_no_payees(world: World, gateway: Running, charged: str) -> None:
    with unit_of_work(world.engine) as session:
        for one in posting.due(session, world.lane):
            posting.post_chunk(session, world.lane, one, 10_000, 1)
    with unit_of_work(world.engine) as session:
        parties.assign(session, world.lane, batching.missing_payees(session, world.lane))
        batching.close(session, LANE, 1, 1)
    text = shown(gateway, "/explorer/1")
    assert "once the batch is on its way" in text
    assert to_hex(PROVIDER.address) not in text
    assert "/file" not in text


def test_what_is_not_there_is_not_found_on_a_page(gateway: Running) -> None:
    for path in ("/explorer/7", "/explorer/receipts/0x00", "/models/@no/model", "/capsules/@no/flow"):
        assert "<h1>Not found</h1>" in shown(gateway, path, 404)


# What strangers write.


def test_whatever_strangers_wrote_is_text(world: World, gateway: Running, node: Node) -> None:
    capability = {"task": TYPED_EVIL, "skill": EVIL, "languages": [EVIL], "description": EVIL}
    modes = {"input_modes": ["text/plain"], "output_modes": ["text/plain"]}
    said: dict[str, Any] = {"description": EVIL, "license": EVIL, "capabilities": [capability | modes]}
    world.a_model_at(node.url, "@acme/evil", **said)
    known(gateway, "/models/@acme/evil")
    for path in ("/models", "/models?all=true", f"/models?q={quote(EVIL)}&task={quote(EVIL)}", "/models/@acme/evil"):
        check_harmless(shown(gateway, path), path)
    text = shown(gateway, "/models/@acme/evil")
    assert html.escape(EVIL) in text.replace("&#39;", "&#x27;").replace("&#34;", "&quot;")
    assert "{{7*7}}" in text
    for path in (f"/models/{quote(EVIL, safe='')}", f"/capsules/{quote(EVIL, safe='')}", f"/?of={quote(EVIL)}"):
        response = gateway.http.get(path)
        assert 400 <= response.status_code < 500
        check_harmless(response.text, path)
    evil = quote(EVIL.replace("/", ""), safe="")
    for path, status in ((f"/explorer/{evil}", 422), (f"/explorer/receipts/{evil}", 400)):
        check_harmless(shown(gateway, path, status), path)


def test_what_a_weaver_wrote_is_text(loom: Loom) -> None:
    feeling = loom.classifier("feeling", inferring("joy"))
    when = {"when": "$.messages[-1].content == '<script>alert(1)</script>'"}
    step = {"id": "feel", "uses": {"model": cid(feeling)}, "input": {"text": LAST}, "on_error": "skip", **when}
    loom.capsule(step, output={"label": "$steps.feel.output.label"}, description=EVIL)
    for path in ("/capsules", "/capsules/@wanda/flow"):
        check_harmless(shown(loom.gateway, path), path)


def check_harmless(text: str, where: str) -> None:
    """A page has no element, attribute or computed text of a stranger."""
    page = Tags(text)
    assert page.inline == [], where
    assert "b" not in page.names, where
    assert [url for url in page.urls if not re.match(r"[/#](?!/)", url)] == [], where
    assert "<b>49</b>" not in html.unescape(text), where


LICENSES = {
    "https://example.org/license?a=1&b=2": True,
    "javascript:alert(1)": False,
    "http://example.org/": False,
    "https://user@example.org/": False,
    "https://": False,
    "Apache-2.0": False,
}
"""What a license may say, and whether it is shown as a link."""


def test_only_https_is_a_link(world: World, gateway: Running, node: Node) -> None:
    for number, (license, is_link) in enumerate(LICENSES.items()):
        world.a_model_at(node.url, f"@acme/licensed-{number}", license=license)
        text, escaped = known(gateway, f"/models/@acme/licensed-{number}"), html.escape(license)
        assert (f'<a href="{escaped}" rel="noopener noreferrer nofollow">{escaped}</a>' in text) is is_link, license
        assert (f"<dd>{escaped}</dd>" in text) is not is_link, license


def test_what_is_offered_in_a_realm_is_on_no_page_but_for_an_id_that_its_child_names(
    world: World, gateway: Running, consumer: Signer, node: Node
) -> None:
    owner = a_signer("a realm's owner")
    realm = world.realm(owner, PROVIDER, consumer)
    secret = world.publish(a_model("@hidden/secret", owner=did(0, owner.address), derivative_terms=OPEN))
    world.bid(secret, Role.maker, owner.address, 100_000)
    world.serve(secret, node.url, realm=realm)
    world.publish(a_model("@acme/tuned", lineage=[made_of(secret)]))
    eventually(lambda: "@acme/tuned" in shown(gateway, "/models?all=true"))
    world.deposit(consumer.address, 10**9)
    key = {"Authorization": f"Bearer {gateway.key(consumer)}", "Tollway-Realm": realm}
    assert gateway.http.get("/v1/models/@hidden/secret", headers=key).status_code == 200, "it is there for members"
    for path in ("/", "/models?all=true", "/models?all=true&q=hidden", "/models/@acme/tuned"):
        assert "hidden/" not in gateway.http.get(path, headers=key).text
    assert cid(secret) in shown(gateway, "/models/@acme/tuned")
    for name in ("@hidden/secret", cid(secret)):
        assert gateway.http.get(f"/models/{name}", headers=key).status_code == 404


# One's own.


def test_scripts_write_amounts_as_pages_do_and_no_csv_cell_is_a_formula() -> None:
    own = '{dataset: {symbol: "AIC", decimals: "9"}}'
    script = f"""
globalThis.document = {{ getElementById: () => ({own}) }};
const {{ amount, atoms, csv, short }} = await import({str(FOLDER / "account.js")!r});
const rows = [["=1+1", "@acme/chat", "-1", "a,b", 'say "hi"', null, 7n]];
console.log(JSON.stringify({{
  amounts: ["0", "1", "12500000000", "9223372036854775807"].map(amount),
  atoms: ["1", "0.000000001", "1.5", "1.0000000001", "-1", "1e3", ""].map(atoms),
  csv: csv(rows),
}}));
"""
    assert evaluate(script) == {
        "amounts": [amount(atoms, AIC) for atoms in (0, 1, 12_500_000_000, 2**63 - 1)],
        "atoms": ["1000000000", "1", "1500000000", None, None, None, None],
        "csv": '\'=1+1,\'@acme/chat,\'-1,"a,b","say ""hi""",,7\r\n',
    }


def test_alarms_are_for_the_operator_alone(world: World, gateway: Running, consumer: Signer) -> None:
    with unit_of_work(world.engine) as session:
        alarms.sound(session, world.lane, alarms.Alarm("L1", "custody differs", "available:0x01"), 1)
    world.deposit(consumer.address, 10**6)
    for headers, status in (({}, 401), ({"Authorization": f"Bearer {gateway.key(consumer, rights=['manage'])}"}, 403)):
        refused = gateway.http.get("/v1/alarms", headers=headers)
        assert refused.status_code == status
        assert "available:" not in refused.text
    told = gateway.of(OPERATOR).get("/v1/alarms").json()
    found = [{name: alarm[name] for name in ("name", "message", "account")} for alarm in told["data"]]
    assert {"name": "L1", "message": "custody differs", "account": "available:0x01"} in found
    assert "custody differs" not in shown(gateway, "/operator")


def test_the_operator_is_told_how_long_the_oldest_receipt_waits(world: World, gateway: Running, charged: str) -> None:
    told = gateway.of(OPERATOR).get("/v1/alarms").json()
    assert told["data"] == []
    assert told["unposted_ms"] > 0
    assert [row["gateway"] for row in told["gateways"]] == [to_hex(gateway.gateway.signer.address)]
