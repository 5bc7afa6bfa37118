"""Images, speech and transcriptions: what is asked for is counted by the gateway, what a node claims is bounded by it,
and a form is as long, and has as many parts, as the gateway says.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import BadRequestError, OpenAI
from sqlalchemy import Engine
from x402.http.clients.httpx import x402HttpxClient

from gateway.call import health
from gateway.call.probes import ask_of
from gateway.catalog.catalog import ModelEntry
from gateway.payment.receipt_log import ReceiptLog
from ledger.core.receipts.receipt import EndReason, Receipt
from ledger.core.values import forms
from ledger.core.values.errors import Unavailable
from ledger.core.values.hashes import body_digest
from ledger.core.values.ids import to_hex
from ledger.core.values.meters import Meter
from ledger.core.values.typed_data import Signer
from ledger.deployments import save
from tests.attacks.strangers import others_served
from tests.gateway.media_server import KEY, MS_A_CHARACTER, PNG, MediaServer, a_png, a_wav, wav_ms
from tests.gateway.nodes import Asked, Behaviour, Node, Wire, answering
from tests.gateway.test_who_pays import eventually
from tests.gateway.test_x402 import a_client, a_lane
from tests.gateway.world import Running, World, a_deployment, a_signer, code_of
from tests.roles.node.conftest import RunningNode

CHAT = "/v1/chat/completions"
IMAGES, SPEECH, TRANSCRIPTIONS = "/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"
PROTOCOLS: dict[str, str] = {"paint": "openai.images/1", "voice": "openai.speech/1", "ear": "openai.transcriptions/1"}
TASKS = {"paint": "text-to-image", "voice": "text-to-speech", "ear": "automatic-speech-recognition"}
ASKS = {
    "paint": {"output_image": "700"},
    "voice": {"input_character": "3000000"},
    "ear": {"ms": "1000", "output_token": "1000000"},
}
SPOKEN = {"model": "@acme/voice", "voice": "alloy", "input": "Good morning!", "response_format": "wav"}
SECONDS_3 = a_wav(3_000)
MIB = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    """A server that somebody has."""
    made = MediaServer()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def seller(server: MediaServer) -> Iterator[RunningNode]:
    """A node that sells it, with its key."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TOLLWAY_UPSTREAM_KEY", KEY)
        sold = [part for name in PROTOCOLS for part in ("--upstream", f"@acme/{name}={server.url}/v1#{name}")]
        made = RunningNode(*sold)
    yield made
    assert made.stop() == 0


def publish(world: World, url: str) -> None:
    """The three models, served at a URL, each by its own meter."""
    for name, protocol in PROTOCOLS.items():
        able = [{"task": TASKS[name], "skill": name, "input_modes": ["text/plain"], "output_modes": ["image/png"]}]
        world.a_model_at(url, f"@acme/{name}", ASKS[name], protocol=protocol, capabilities=able)


@pytest.fixture
def studio(world: World, seller: RunningNode) -> Running:
    """A gateway with the three models at the node that sells them."""
    publish(world, seller.url)
    return world.gateway()


@pytest.fixture
def behaved(world: World, node: Node) -> Running:
    """A gateway with the three models at a node that behaves as a test wants."""
    publish(world, node.url)
    return world.gateway(attempts=1).send_no_probes()


@pytest.fixture
def key(world: World, consumer: Signer) -> Callable[[Running], str]:
    """Gives a consumer with money a key at a gateway."""

    def make_key(gateway: Running) -> str:
        world.deposit(consumer.address, 10**9)
        return gateway.key(consumer)

    return make_key


def newest(world: World, consumer: Signer) -> Receipt:
    return max((one.receipt for one in world.receipts_of(consumer.address)), key=lambda receipt: receipt.seq)


def counted(world: World, consumer: Signer, *without: Meter) -> dict[str, int]:
    """What the newest receipt counts, without bytes and some others."""
    units = newest(world, consumer).units
    return {one.name: units[one] for one in Meter if units[one] and one not in (Meter.byte, *without)}


def send(
    gateway: Running, key: str, file: bytes = SECONDS_3, name: str = "a.wav", more: dict[str, str] | None = None
) -> httpx.Response:
    """One transcription, as a stock client sends it."""
    return gateway.http.post(
        TRANSCRIPTIONS,
        data={"model": "@acme/ear", **(more or {})},
        files={"file": (name, file)},
        headers={"Authorization": f"Bearer {key}"},
    )


def post(gateway: Running, key: str, path: str, **body: Any) -> httpx.Response:
    return gateway.http.post(path, json=body, headers={"Authorization": f"Bearer {key}"})


# A stock client, through a node, to a server
def test_a_stock_client_gets_images_and_pays_for_each(
    world: World, studio: Running, consumer: Signer, key: Callable[[Running], str], server: MediaServer
) -> None:
    client = OpenAI(base_url=f"{studio.url}/v1", api_key=key(studio), max_retries=0)
    made = client.images.generate(model="@acme/paint", prompt="A lighthouse", n=3, size="256x256")
    assert [base64.b64decode(one.b64_json or "")[:8] for one in made.data or ()] == [PNG] * 3
    assert server.sent[-1].fields == {"model": "paint", "prompt": "A lighthouse", "n": 3, "size": "256x256"}
    assert server.sent[-1].headers["authorization"] == f"Bearer {KEY}"
    found = counted(world, consumer, Meter.ms)
    assert found == {"call": 1, "output_image": 3, "input_token": 7, "input_character": len("A lighthouse")}
    assert newest(world, consumer).price >= 3 * 700
    with pytest.raises(BadRequestError) as refused:
        client.images.generate(model="@acme/paint", prompt="A lighthouse", size="odd")
    assert (refused.value.param, len(world.receipts_of(consumer.address))) == ("size", 1)


def test_a_stock_client_gets_speech_whole_and_as_it_comes(
    world: World, studio: Running, consumer: Signer, key: Callable[[Running], str]
) -> None:
    client = OpenAI(base_url=f"{studio.url}/v1", api_key=key(studio), max_retries=0)
    whole = client.audio.speech.create(**SPOKEN)  # type: ignore[arg-type]
    assert wav_ms(whole.read()) == MS_A_CHARACTER * len(str(SPOKEN["input"]))
    assert whole.response.headers["content-type"] == "audio/wav"
    assert whole.response.headers["x-content-type-options"] == "nosniff"
    with client.audio.speech.with_streaming_response.create(**SPOKEN) as answer:  # type: ignore[arg-type]
        assert b"".join(answer.iter_bytes()) == whole.read()
    assert counted(world, consumer, Meter.ms, Meter.input_token) == {"call": 1, "input_character": 13}
    signed = world.receipts_of(consumer.address)[0]
    salt = bytes.fromhex(json.loads(signed.extra or b"")["salt"])
    assert signed.receipt.response_digest == body_digest(salt, whole.read())


def test_speech_comes_as_it_is_made_and_its_last_byte_after_the_receipt(
    world: World,
    studio: Running,
    consumer: Signer,
    key: Callable[[Running], str],
    server: MediaServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = OpenAI(base_url=f"{studio.url}/v1", api_key=key(studio), max_retries=0)
    seen = threading.Event()
    monkeypatch.setattr(server, "seen", seen)
    asked: dict[str, Any] = {**SPOKEN, "stream_format": "audio"}
    with client.audio.speech.with_streaming_response.create(**asked) as answer:
        pieces = answer.iter_bytes()
        first = next(pieces)
        seen.set()  # what comes after the first piece is made only now
        sound = first + b"".join(pieces)
    assert answer.headers["content-type"] == "audio/wav"
    assert wav_ms(sound) == MS_A_CHARACTER * 13
    [signed] = world.receipts_of(consumer.address)
    assert answer.headers["tollway-call"] == to_hex(signed.receipt.call_id)
    assert counted(world, consumer, Meter.ms, Meter.input_token) == {"call": 1, "input_character": 13}
    assert signed.receipt.response_digest == body_digest(bytes.fromhex(json.loads(signed.extra or b"")["salt"]), sound)


def test_a_stock_client_gets_what_a_recording_says_and_pays_for_its_seconds(
    world: World, studio: Running, consumer: Signer, key: Callable[[Running], str], server: MediaServer
) -> None:
    shown = key(studio)
    client = OpenAI(base_url=f"{studio.url}/v1", api_key=shown, max_retries=0)
    heard = client.audio.transcriptions.create(
        model="@acme/ear", file=("../../my words.exe", a_wav(2_500)), language="en", prompt="Grüße"
    )
    assert heard.text == "2500 ms of recording.wav, audio/wav, in en"
    assert server.sent[-1].fields == {"model": "ear", "language": "en", "prompt": "Grüße"}
    assert counted(world, consumer, Meter.output_token, Meter.input_token) == {"call": 1, "ms": 2_500}
    text = client.audio.transcriptions.create(model="@acme/ear", file=io.BytesIO(a_wav(1_000)), response_format="text")
    assert str(text).startswith("1000 ms of recording.wav")
    assert counted(world, consumer, Meter.output_token, Meter.input_token) == {"call": 1, "ms": 1_000}
    said = send(studio, shown, more={"response_format": "text"})
    assert said.headers["content-type"] == "text/plain; charset=utf-8", "whatever the server calls it"


def test_they_are_found_by_their_task_and_called_by_no_other_route(
    studio: Running, key: Callable[[Running], str]
) -> None:
    shown = key(studio)
    for name, protocol in PROTOCOLS.items():
        [row] = studio.http.post("/v1/discover", json={"task": TASKS[name]}).json()["results"]
        assert row["name"] == f"@acme/{name}"
        assert studio.http.get(f"/v1/models/@acme/{name}").json()["protocols"] == [protocol]
        assert code_of(studio.chat(shown, f"@acme/{name}").json()) == "wrong_protocol"
        asked = {"model": f"@acme/{name}", "input": {"messages": []}}
        assert code_of(post(studio, shown, "/v1/invoke", **asked).json()) == "wrong_protocol"
    wrong = post(studio, shown, SPEECH, **{**SPOKEN, "model": "@acme/paint"})
    assert (wrong.status_code, code_of(wrong.json())) == (400, "wrong_protocol")
    assert "openai.images/1" in wrong.json()["error"]["message"]


def test_a_probe_asks_for_the_least_of_each(studio: Running) -> None:
    paths = {}
    for name in PROTOCOLS:
        entry = studio.gateway.catalog.find(f"@acme/{name}")
        assert isinstance(entry, ModelEntry)
        paths[name] = ask_of(entry).path
    assert paths == {"paint": IMAGES, "voice": SPEECH, "ear": TRANSCRIPTIONS}


def test_images_and_sound_are_probed_only_while_their_circuit_is_open(
    world: World, consumer: Signer, key: Callable[[Running], str], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else anybody whose calls fail has providers pay for images. A probe of the chat model comes after its turn."""
    monkeypatch.setattr(health, "PROBE_MS", 500)
    publish(world, node.url)
    world.a_model_at(node.url)
    gateway, others = world.gateway(attempts=1), a_signer("another who asks for images")
    world.deposit(others.address, 10**9)
    keys = key(gateway), gateway.key(others)
    node.behaviour = answering({"error": {"message": "no"}}, 500)
    assert post(gateway, keys[0], IMAGES, model="@acme/paint", prompt="x").status_code == 502
    assert gateway.chat(keys[0]).status_code == 502
    eventually(lambda: [asked.path for asked in node.asked] == [IMAGES, CHAT, CHAT])
    node.stop()
    for shown in keys:
        assert post(gateway, shown, IMAGES, model="@acme/paint", prompt="x").status_code == 502
    again = Node(port=node.port).start()
    try:
        eventually(lambda: IMAGES in [asked.path for asked in again.asked])
    finally:
        again.stop()


# Who pays
async def test_x402_a_key_and_a_voucher_pay_alike(
    engine: Engine, postgres_url: str, node: Node, seller: RunningNode, consumer: Signer, tmp_path: Path
) -> None:
    with a_lane(engine, postgres_url, node, save(a_deployment(), tmp_path)) as world:
        publish(world, seller.url)
        gateway, (client, payer) = world.gateway(), a_client()
        world.deposit(consumer.address, 10**9)
        by_key = send(gateway, gateway.key(consumer))
        voucher = json.dumps(gateway.voucher(consumer, 2 * 10**12))
        form: dict[str, Any] = {"data": {"model": "@acme/ear"}, "files": {"file": ("a.wav", SECONDS_3)}}
        by_voucher = gateway.http.post(TRANSCRIPTIONS, **form, headers={"Tollway-Voucher": voucher})
        async with x402HttpxClient(client, base_url=gateway.url, timeout=30) as http:
            paid = await http.post(TRANSCRIPTIONS, **form)
        charges = {one.headers.get("tollway-charge") or one.text for one in (by_key, by_voucher, paid)}
        assert len(charges) == 1, charges
        assert world.receipts_of(payer)[0].receipt.units.ms == 3_000


def test_the_price_of_a_long_recording_is_told_by_its_beginning(chain: World, node: Node) -> None:
    publish(chain, node.url)
    gateway = chain.gateway()

    def amount(**sent: Any) -> int:
        unpaid = gateway.http.post(TRANSCRIPTIONS, **sent)
        assert unpaid.status_code == 402, unpaid.text
        return int(json.loads(base64.b64decode(unpaid.headers["payment-required"]))["accepts"][0]["amount"])

    def form(ms: int) -> dict[str, Any]:
        return {"data": {"model": "@acme/ear"}, "files": {"file": ("a.wav", a_wav(ms))}}

    minute, two = amount(**form(30_000)), amount(**form(60_000))
    assert 0.95 < two / (2 * minute) < 1.05, "the second has more than the MiB that is read for nothing"


def test_a_402_says_in_what_form_the_answer_will_come(chain: World, node: Node) -> None:
    publish(chain, node.url)
    gateway = chain.gateway()

    def media_type(path: str, **sent: Any) -> str:
        unpaid = gateway.http.post(path, **sent)
        assert unpaid.status_code == 402, unpaid.text
        return str(json.loads(base64.b64decode(unpaid.headers["payment-required"]))["resource"]["mimeType"])

    assert media_type(SPEECH, json=SPOKEN) == "audio/wav"
    assert media_type(SPEECH, json={**SPOKEN, "response_format": "mp3"}) == "audio/mpeg"
    assert media_type(SPEECH, json={name: SPOKEN[name] for name in ("model", "voice", "input")}) == "audio/mpeg"
    assert media_type(IMAGES, json={"model": "@acme/paint", "prompt": "x"}) == "application/json", "images come in it"
    file = {"file": ("a.wav", SECONDS_3)}
    assert media_type(TRANSCRIPTIONS, data={"model": "@acme/ear"}, files=file) == "application/json"
    subtitles = {"model": "@acme/ear", "response_format": "vtt"}
    assert media_type(TRANSCRIPTIONS, data=subtitles, files=file) == "text/vtt; charset=utf-8"
    items = gateway.http.get("/discovery/resources").json()["items"]
    said = {one["resource"].rpartition("/")[2]: one["mimeType"] for one in items}
    assert (said["generations"], said["speech"]) == ("application/json", "audio/mpeg")


def test_a_payer_with_less_than_the_most_that_it_may_cost_gets_no_call(
    world: World, behaved: Running, consumer: Signer, node: Node
) -> None:
    world.deposit(consumer.address, 5_000)
    shown = behaved.key(consumer)
    node.behaviour = answering({"created": 1, "data": [{"b64_json": "aa"}]})
    assert post(behaved, shown, IMAGES, model="@acme/paint", prompt="x", n=8).status_code == 402
    assert post(behaved, shown, IMAGES, model="@acme/paint", prompt="x", n=1).status_code == 200
    assert len(node.asked) == 1


def test_the_same_form_sent_again_is_answered_again_and_another_is_refused(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = answering({"text": "hello"})
    headers = {"Authorization": f"Bearer {key(behaved)}", "Idempotency-Key": "once"}
    request = behaved.http.build_request(
        "POST", TRANSCRIPTIONS, data={"model": "@acme/ear"}, files={"file": ("a.wav", SECONDS_3)}, headers=headers
    )
    request.read()
    first, again = behaved.http.send(request), behaved.http.send(request)
    assert first.status_code == again.status_code == 200
    assert first.headers["tollway-receipt"] == again.headers["tollway-receipt"]
    other = behaved.http.post(
        TRANSCRIPTIONS, data={"model": "@acme/ear"}, files={"file": ("a.wav", a_wav(10))}, headers=headers
    )
    assert (other.status_code, code_of(other.json())) == (409, "idempotency_mismatch")
    assert len(world.receipts_of(consumer.address)) == 1


# Forms
def test_what_is_no_form_is_refused_and_nobody_is_asked(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    part, shown = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n', key(behaved)
    for what, kind, body in (
        ("no boundary", "multipart/form-data", b"--b--"),
        ("nothing", "multipart/form-data; boundary=b", b""),
        ("cut", "multipart/form-data; boundary=b", part[:-3]),
        ("JSON", "application/json", b'{"model": "@acme/ear"}'),
        ("a thousand parts", "multipart/form-data; boundary=b", part * 1_000 + b"--b--\r\n"),
    ):
        headers = {"Authorization": f"Bearer {shown}", "Content-Type": kind}
        answer = behaved.http.post(TRANSCRIPTIONS, content=body, headers=headers)
        assert (answer.status_code, code_of(answer.json())) == (400, "rejected"), what
    assert node.asked == []


def test_a_form_has_20_mib_and_is_read_while_others_are_served(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour, shown = answering({"text": "hello"}), key(behaved)
    file = a_wav(600_000)
    assert 18 * MIB < len(file) < 20 * MIB
    assert send(behaved, shown, file).status_code == 200
    near = b"RIFF" + bytes(4) + b"WAVE" + b"\r\n--" * (9 * MIB // 4)
    with others_served(behaved):
        assert send(behaved, shown, near).status_code == 200
        longer = send(behaved, shown, a_wav(700_000))
        assert (longer.status_code, code_of(longer.json())) == (413, "body_too_large")


UNDOABLE: tuple[tuple[str, dict[str, Any], str], ...] = (
    (TRANSCRIPTIONS, {"model": ""}, "model"),
    (TRANSCRIPTIONS, {"response_format": "docx"}, "response_format"),
    (TRANSCRIPTIONS, {"stream": "true"}, "stream"),
    (TRANSCRIPTIONS, {"stream": " Yes"}, "stream"),
    (TRANSCRIPTIONS, {"url": "http://10.0.0.1/hours.wav"}, "url"),
    (TRANSCRIPTIONS, {"Audio_URL": "http://10.0.0.1/hours.wav"}, "Audio_URL"),
    (IMAGES, {}, "prompt"),
    (IMAGES, {"prompt": ["a"]}, "prompt"),
    (IMAGES, {"prompt": "a", "n": 17}, "n"),
    (IMAGES, {"prompt": "a", "n": 0}, "n"),
    (IMAGES, {"prompt": "a", "Num_Images": 9}, "Num_Images"),
    (IMAGES, {"prompt": "a", "sampleCount": 9}, "sampleCount"),
    (IMAGES, {"prompt": "a", "num-samples": 9}, "num-samples"),
    (IMAGES, {"prompt": "a", "stream": True}, "stream"),
    (SPEECH, {"input": "", "voice": "a"}, "input"),
    (SPEECH, {"input": "a", "voice": "a", "stream_format": "sse"}, "stream"),
    (SPEECH, {"input": "a" * 4_097, "voice": "a"}, "input"),
)


def test_a_request_that_cannot_be_done_is_refused_by_its_field(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    shown, models = key(behaved), {IMAGES: "@acme/paint", SPEECH: "@acme/voice"}
    for path, fields, param in UNDOABLE:
        if path == TRANSCRIPTIONS:
            answer = send(behaved, shown, more=fields)
        else:
            answer = post(behaved, shown, path, model=models[path], **fields)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert node.asked == []


def test_what_is_no_recording_is_refused_whatever_its_name_says(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    refused = send(behaved, key(behaved), b"<html>", "song.mp3")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")
    assert node.asked == []


def test_no_name_of_a_file_and_no_head_of_a_part_reaches_a_node(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = answering({"text": "hello"})
    assert send(behaved, key(behaved), name='../../"; filename="x.php').status_code == 200
    [asked] = node.asked
    form = forms.read(asked.headers["content-type"], asked.body)
    assert (form.text("model"), form.file("file")) == ("@acme/ear", SECONDS_3)
    assert asked.body.count(b"filename=") == asked.body.count(b'filename="recording.wav"') == 1
    assert b"php" not in asked.body


# What a node says
def sounding(body: bytes, kind: str) -> Behaviour:
    """Answers with these bytes, as this type."""

    async def behave(asked: Asked, wire: Wire) -> None:
        wire.writer.write(b"HTTP/1.1 200 X\r\ncontent-type: %b\r\n" % kind.encode())
        wire.writer.write(b"content-length: %d\r\n\r\n" % len(body))
        wire.writer.write(body)
        await wire.writer.drain()

    return behave


SECONDS: tuple[tuple[dict[str, Any], str, int], ...] = (
    ({"usage": {"type": "duration", "seconds": 3}}, "", 3_000),
    ({"usage": {"type": "duration", "seconds": 2}}, "", 2_000),
    ({"usage": {"type": "duration", "seconds": 3_600}}, "", 3_000),
    ({"duration": 9e99}, "", 3_000),
    ({"duration": "2.5"}, "", 2_500),
    ({"usage": {"seconds": -7}}, "", 3_000),
    ({"usage": {"seconds": "long"}}, "", 3_000),
    ({}, "", 3_000),
    ({}, '{"ms": 1000000000}', 3_000),
    ({}, '{"ms": 1500}', 1_500),
)


def test_a_node_is_paid_for_no_more_seconds_than_the_recording_has(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    shown = key(behaved)
    for said, noted, ms in SECONDS:
        node.behaviour = answering({"text": "hi", **said}, tollway_usage=noted)
        assert send(behaved, shown).status_code == 200
        assert newest(world, consumer).units.ms == ms, (said, noted)


def test_of_packed_sound_a_millisecond_has_a_byte_at_least_and_is_estimated_where_nobody_says(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    file, shown = b"OggS" + bytes(15_996), key(behaved)
    for seconds, ms in ((10, 10_000), (1_000, 16_000), (None, 1_000)):
        node.behaviour = answering({"text": "hi", "usage": {"seconds": seconds}})
        assert send(behaved, shown, file).status_code == 200
        assert newest(world, consumer).units.ms == ms


def test_no_consumer_makes_an_honest_node_one_that_claims_too_much(
    world: World, behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    """Silence packs better than a byte a millisecond; and what is too many images is cut off, and earns nothing."""
    shown, image = key(behaved), base64.b64encode(a_png(1)).decode()
    records = [one.health for entry in behaved.gateway.catalog.models() for one in entry.candidates]
    node.behaviour = answering({"text": "", "duration": 600})
    assert send(behaved, shown, b"fLaC" + bytes(100_000)).status_code == 200
    node.behaviour = answering({"created": 1, "data": [{"b64_json": image}] * 9})
    assert post(behaved, shown, IMAGES, model="@acme/paint", prompt="x", n=2).status_code == 200
    assert {record.quality_ppm for record in records} == {10**6}
    node.behaviour = answering({"text": "hi", "duration": 600})
    assert send(behaved, shown).status_code == 200
    assert min(record.quality_ppm for record in records) < 10**6, "of a WAV file everybody knows the length"


def test_tokens_of_a_recording_are_bounded_by_its_length_and_by_its_text(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    shown, details = key(behaved), {"text_tokens": 5, "audio_tokens": 30}
    usage = {"type": "tokens", "input_tokens": 35, "output_tokens": 4, "input_token_details": details}
    node.behaviour = answering({"text": "twelve bytes", "usage": usage})
    assert send(behaved, shown).status_code == 200
    known = {"call": 1, "ms": 3_000, "input_token": 5, "input_audio_token": 30, "output_token": 4}
    assert counted(world, consumer) == known
    node.behaviour = answering(
        {"text": "twelve bytes", "usage": {**usage, "input_tokens": 10**9, "output_tokens": 999}}
    )
    assert send(behaved, shown).status_code == 200
    units = newest(world, consumer).units
    assert units.output_token == len("twelve bytes")
    assert units.input_token + units.input_audio_token < 3 * 50 + 1_000, "50 a second, and the other fields' bytes"


def test_a_node_that_makes_more_images_than_were_asked_for_is_paid_for_those(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    image = base64.b64encode(a_png(1)).decode()
    node.behaviour = answering({"created": 1, "data": [{"b64_json": image}] * 9}, tollway_usage='{"output_image": 900}')
    answer = post(behaved, key(behaved), IMAGES, model="@acme/paint", prompt="x", n=2)
    assert len(answer.json()["data"]) == newest(world, consumer).units.output_image == 2


def test_a_node_that_makes_fewer_is_paid_for_fewer(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = answering({"created": 1, "data": [{"url": "https://example.org/1.png"}]})
    assert post(behaved, key(behaved), IMAGES, model="@acme/paint", prompt="x", n=4).status_code == 200
    assert newest(world, consumer).units.output_image == 1


NONSENSE: tuple[tuple[str, Behaviour, str], ...] = (
    (IMAGES, answering({"created": 1, "data": []}), "node_nonsense"),
    (IMAGES, answering({"created": 1, "data": [{"b64_json": ""}]}), "node_nonsense"),
    (IMAGES, answering({"created": 1, "data": [7]}), "node_nonsense"),
    (IMAGES, answering({"error": {"message": "no"}}), "node_error"),
    (IMAGES, answering({"created": 1, "data": [{"b64_json": "a" * (21 * MIB)}]}), "node_too_long"),
    (SPEECH, sounding(b"", "audio/wav"), "node_nonsense"),
    (SPEECH, sounding(b"<script>", "text/html; charset=utf-8"), "node_nonsense"),
    (SPEECH, answering({"error": {"message": "no"}}), "node_nonsense"),
    (SPEECH, sounding(bytes(21 * MIB), "audio/wav"), "node_too_long"),
    (TRANSCRIPTIONS, answering({"words": "none"}), "node_nonsense"),
    (TRANSCRIPTIONS, answering(b"no JSON"), "node_nonsense"),
    (TRANSCRIPTIONS, answering(b"[" * 100_000), "node_nonsense"),
    (TRANSCRIPTIONS, answering({"text": "a" * (21 * MIB)}), "node_too_long"),
)


def test_a_node_that_answers_nonsense_or_too_much_is_paid_nothing(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    shown = key(behaved)
    bodies: dict[str, dict[str, Any]] = {SPEECH: SPOKEN, IMAGES: {"model": "@acme/paint", "prompt": "x"}}
    for path, behaviour, code in NONSENSE:
        node.behaviour = behaviour
        answer = send(behaved, shown) if path == TRANSCRIPTIONS else post(behaved, shown, path, **bodies[path])
        assert (answer.status_code, code_of(answer.json())) == (502, code), answer.text
    assert world.receipts_of(consumer.address) == []


def test_of_what_a_node_calls_its_sound_only_the_kind_of_sound_is_passed_on(
    behaved: Running, key: Callable[[Running], str], node: Node
) -> None:
    key_shown = key(behaved)
    for said, shown in (
        ("audio/mpeg", "audio/mpeg"),
        ("Audio/OGG; codecs=opus", "audio/ogg"),
        ("application/octet-stream", "audio/wav"),
        ("audio/x y\tz", "audio/wav"),
        ("image/svg+xml", "audio/wav"),
    ):
        node.behaviour = sounding(b"RIFF", said)
        answer = post(behaved, key_shown, SPEECH, **SPOKEN)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, shown, b"RIFF")


def streaming_sound(*pieces: bytes, kind: str = "audio/wav", whole: bool = True) -> Behaviour:
    """Answers in pieces, and then ends, or dies."""

    async def behave(asked: Asked, wire: Wire) -> None:
        wire.writer.write(b"HTTP/1.1 200 X\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n" % kind.encode())
        for piece in pieces:
            wire.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await wire.writer.drain()
        if whole:
            await wire.end()
        else:
            wire.die()

    return behave


def test_a_stream_of_sound_that_is_cut_looks_cut_and_is_paid_by_no_character(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = streaming_sound(b"RIFF" * 2_000, b"more", whole=False)
    headers = {"Authorization": f"Bearer {key(behaved)}", "Idempotency-Key": "cut"}
    asked = {**SPOKEN, "stream_format": "audio"}
    with pytest.raises(httpx.RemoteProtocolError):
        behaved.http.post(SPEECH, json=asked, headers=headers)
    receipt = newest(world, consumer)
    assert (receipt.end, receipt.units.input_character, receipt.units.byte > 8_000) == (
        EndReason.upstream_cut, 0, True
    )  # fmt: skip
    again = behaved.http.post(SPEECH, json=asked, headers=headers)
    assert (again.status_code, code_of(again.json())) == (502, "node_cut"), "and not half of it as if it were whole"
    assert again.headers["tollway-receipt"] == to_hex(receipt.call_id)
    assert len(node.asked) == 1


def test_who_reads_too_slowly_pays_for_what_it_has_and_its_node_is_not_blamed(
    world: World, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    publish(world, node.url)
    gateway = world.gateway(attempts=1, idle_stream_seconds=0.5, call_seconds=2).send_no_probes()
    records = [one.health for entry in gateway.gateway.catalog.models() for one in entry.candidates]
    node.behaviour = streaming_sound(*[bytes(MIB)] * 19)
    asked = {**SPOKEN, "stream_format": "audio"}
    headers = {"Authorization": f"Bearer {key(gateway)}"}
    with gateway.http.stream("POST", SPEECH, json=asked, headers=headers) as answer:
        eventually(lambda: node.aborted)  # it is not read until the time of the call is used up
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    receipt = newest(world, consumer)
    assert (receipt.end, receipt.units.input_character) == (EndReason.client_abort, 13)
    assert {(record.quality_ppm, record.errors) for record in records} == {(10**6, 0)}


def test_a_stream_of_more_sound_than_an_answer_may_have_ends_there_and_is_paid(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = streaming_sound(*[bytes(MIB)] * 21)
    heard = post(behaved, key(behaved), SPEECH, **SPOKEN, stream_format="audio")
    receipt = newest(world, consumer)
    assert (len(heard.content), receipt.end) == (20 * MIB, EndReason.hold_reached)
    assert receipt.units.input_character == 13
    salt = bytes.fromhex(json.loads(world.receipts_of(consumer.address)[0].extra or b"")["salt"])
    assert receipt.response_digest == body_digest(salt, heard.content)


def test_the_last_byte_of_sound_waits_for_the_receipt(
    world: World,
    behaved: Running,
    consumer: Signer,
    key: Callable[[Running], str],
    node: Node,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(_: ReceiptLog, drafts: object, settle: Callable[[bool], None]) -> None:
        settle(False)
        raise Unavailable("the disk is full")

    shown, got = key(behaved), bytearray()
    node.behaviour = streaming_sound(b"RIFF", b"more")
    monkeypatch.setattr(ReceiptLog, "append", fails)
    headers = {"Authorization": f"Bearer {shown}"}

    def hear() -> None:
        asked = {**SPOKEN, "stream_format": "audio"}
        with behaved.http.stream("POST", SPEECH, json=asked, headers=headers) as answer:
            for piece in answer.iter_raw():
                got.extend(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        hear()
    assert got == b"RIFFmor", "what nobody could charge for has no end"
    assert world.receipts_of(consumer.address) == []


def test_a_stream_of_sound_is_tried_elsewhere_until_its_first_byte_and_has_an_end(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    shown, asked = key(behaved), {**SPOKEN, "stream_format": "audio"}
    for behaviour, code in (
        (streaming_sound(whole=True), "node_cut"),
        (streaming_sound(b"<html>", kind="text/html"), "node_nonsense"),
        (answering({"error": {"message": "no"}}, 500), "node_error"),
    ):
        node.behaviour = behaviour
        answer = post(behaved, shown, SPEECH, **asked)
        assert (answer.status_code, code_of(answer.json())) == (502, code)
    assert world.receipts_of(consumer.address) == []
    node.behaviour = streaming_sound(b"R")
    assert post(behaved, shown, SPEECH, **asked).content == b"R", "a single byte waits for the receipt, and comes"


def test_what_one_node_refuses_or_breaks_another_serves(
    world: World, node: Node, other_node: Node, consumer: Signer, key: Callable[[Running], str]
) -> None:
    subject = world.a_model_at(node.url, "@acme/ear", ASKS["ear"], protocol=PROTOCOLS["ear"])
    other = Signer(b"\x07" * 32)
    world.serve(subject, other_node.url, ASKS["ear"], provider=other)
    gateway = world.gateway().send_no_probes()
    shown = key(gateway)
    node.behaviour = answering({"error": {"message": "broken"}}, 500)
    other_node.behaviour = answering({"text": "hello"})
    assert {send(gateway, shown).status_code for _ in range(4)} == {200}
    boundaries = {asked.headers["content-type"] for asked in (*node.asked, *other_node.asked)}
    assert len(boundaries) == 4, "one for each call"
    other_node.behaviour = node.behaviour = answering({"error": {"message": "too long", "code": "long"}}, 413)
    refused = send(gateway, shown)
    assert (refused.status_code, code_of(refused.json())) == (413, "long")
    assert len(world.receipts_of(consumer.address)) == 4


def test_the_head_of_an_answer_names_its_receipt(
    world: World, behaved: Running, consumer: Signer, key: Callable[[Running], str], node: Node
) -> None:
    node.behaviour = sounding(a_wav(100), "audio/wav")
    answer = post(behaved, key(behaved), SPEECH, **SPOKEN)
    assert answer.headers["tollway-receipt"] == to_hex(newest(world, consumer).call_id)
