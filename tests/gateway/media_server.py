"""A small OpenAI-compatible server of images and sound, over HTTP: real PNG and WAV bytes, made of what was asked."""

from __future__ import annotations

import base64
import email.policy
import io
import json
import struct
import threading
import wave
import zlib
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-upstream"
MODELS = ("paint", "voice", "ear")
MS_A_CHARACTER = 60
PNG = b"\x89PNG\r\n\x1a\n"


def a_png(number: int, side: int = 16) -> bytes:
    """An image of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes((number * 40 % 256, 90, 200)) * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def a_wav(ms: int, rate: int = 16_000) -> bytes:
    """A recording of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes(bytes(2 * (rate * ms // 1000)))
    return file.getvalue()


def wav_ms(file: bytes) -> int:
    """How long a recording is."""
    with wave.open(io.BytesIO(file)) as sound:
        return int(sound.getnframes() * 1000 // sound.getframerate())


@dataclass
class Sent:
    """A request that the server got. `files` are names, types and bytes by field."""

    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)


class MediaServer:
    """Listens on a free port, in threads of its own, until it is stopped."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.seen: threading.Event | None = None
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def wait_for_reader(self) -> None:
        """Go on with a stream when its reader has seen what came, if a test waits for that."""
        if self.seen is not None:
            assert self.seen.wait(20)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: MediaServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        rows = [{"id": name, "object": "model"} for name in MODELS]
        self._answer(json.dumps({"object": "list", "data": rows}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sent = self._read(body)
        self.server_of.sent.append(sent)
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            self._refuse(401, "no such key")
        elif sent.fields.get("model") not in MODELS:
            self._refuse(404, f"no model {sent.fields.get('model')}")
        else:
            {"/v1/images/generations": self._images, "/v1/audio/speech": self._speech}.get(self.path, self._heard)(sent)

    def _read(self, body: bytes) -> Sent:
        kind, headers = self.headers["Content-Type"], {name.lower(): said for name, said in self.headers.items()}
        if not kind.startswith("multipart/"):
            return Sent(self.path, headers, json.loads(body))
        whole = b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
        message, sent = BytesParser(policy=email.policy.HTTP).parsebytes(whole), Sent(self.path, headers, {})
        for part in message.iter_parts():
            name, content = str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)
            assert isinstance(content, bytes)
            file_name = part.get_filename()
            if file_name is None:
                sent.fields[name] = content.decode()
            else:
                sent.files[name] = file_name, part.get_content_type(), content
        return sent

    def _images(self, sent: Sent) -> None:
        if sent.fields.get("size") == "odd":
            self._refuse(400, "size is odd", "size")
            return
        images = [{"b64_json": base64.b64encode(a_png(n)).decode()} for n in range(sent.fields.get("n", 1))]
        usage = {"input_tokens": 7, "output_tokens": 4160, "total_tokens": 4167}
        self._answer(json.dumps({"created": 7, "data": images, "usage": usage}).encode())

    def _speech(self, sent: Sent) -> None:
        assert sent.fields["response_format"] == "wav"
        sound = a_wav(MS_A_CHARACTER * len(sent.fields["input"]))
        if sent.fields.get("stream_format") != "audio":
            self._answer(sound, "audio/wav")
            return
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(sound), 4_096):
            piece = sound[at : at + 4_096]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.server_of.wait_for_reader()
        self.wfile.write(b"0\r\n\r\n")

    def _heard(self, sent: Sent) -> None:
        name, kind, file = sent.files["file"]
        ms, wanted = wav_ms(file), sent.fields.get("response_format", "json")
        text = f"{ms} ms of {name}, {kind}, in {sent.fields.get('language', 'no language')}"
        usage = {"type": "duration", "seconds": -(-ms // 1000)}
        if wanted == "text":
            self._answer(text.encode(), "text/html")
        elif wanted == "verbose_json":
            said = {"task": "transcribe", "language": "en", "duration": ms / 1000, "text": text, "segments": []}
            self._answer(json.dumps(said).encode())
        else:
            self._answer(json.dumps({"text": text, "usage": usage}).encode())

    def _refuse(self, status: int, message: str, param: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": "bad", "param": param}
        self._answer(json.dumps({"error": error}).encode(), status=status)

    def _answer(self, body: bytes, kind: str = "application/json", status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
