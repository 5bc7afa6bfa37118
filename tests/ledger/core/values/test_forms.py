"""Forms with files: what clients write is read, what nobody writes is refused, and what is sent on is ours."""

from __future__ import annotations

import time

import httpx
import pytest

from ledger.core.values import forms
from ledger.core.values.errors import Rejected
from ledger.core.values.forms import Form, Part

KIND = "multipart/form-data; boundary=b"
FIELD = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nsound\r\n'
END = b"--b--\r\n"


def part(head: bytes, content: bytes = b"x") -> bytes:
    """A part with this head."""
    return b"--b\r\n%b\r\n\r\n%b\r\n" % (head, content)


def test_what_a_stock_client_writes_is_read() -> None:
    sound = b"\r\n--bo\r\n\r\n" + bytes(range(256))
    request = httpx.Request(
        "POST",
        "http://here",
        data={"model": "@acme/ear", "prompt": "Grüße", "timestamp_granularities[]": ["word", "segment"]},
        files={"file": ("../../etc/passwd", sound, "text/html")},
    )
    form = forms.read(request.headers["content-type"], request.read())
    assert form == Form(
        (
            Part("model", b"@acme/ear"),
            Part("prompt", "Grüße".encode()),
            Part("timestamp_granularities[]", b"word"),
            Part("timestamp_granularities[]", b"segment"),
            Part("file", sound, is_file=True),
        )
    )
    assert (form.text("model"), form.text("prompt"), form.text("stream")) == ("@acme/ear", "Grüße", None)
    assert form.file("file") == sound


def test_a_form_is_sent_on_with_our_names_and_nothing_of_the_strangers() -> None:
    body = FIELD + part(b'Content-Disposition: form-data; name="file"; filename="../x\\"y"\r\nX-Own: 1', b"sound") + END
    form = forms.read('multipart/form-data; charset=utf-8; boundary="b"', body)
    assert form.written(b"ours", "recording.wav", "audio/wav", model="theirs") == (
        b'--ours\r\nContent-Disposition: form-data; name="model"\r\n\r\ntheirs\r\n'
        b'--ours\r\nContent-Disposition: form-data; name="file"; filename="recording.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\nsound\r\n--ours--\r\n"
    )
    again = form.written(b"ours", "recording.wav", "audio/wav")
    assert forms.read(forms.content_type(b"ours"), again) == form


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("application/json", b"{}", "send a form"),
        ("", b"", "send a form"),
        ("multipart/form-data", FIELD + END, "names no boundary"),
        ("multipart/form-data; boundary=", FIELD + END, "names no boundary"),
        ("multipart/form-data; boundary=" + "b" * 71, FIELD + END, "names no boundary"),
        (KIND, b"", "begin and end"),
        (KIND, FIELD, "begin and end"),
        (KIND, FIELD + b"--b", "begin and end"),
        (KIND, b"preamble\r\n" + FIELD + END, "begin and end"),
        (KIND, FIELD + END + b"epilogue", "begin and end"),
        (KIND, FIELD * 33 + END, "at most 32 parts"),
        (KIND, FIELD * 1_000 + END, "at most 32 parts"),
        (KIND, b"--b\r\nno head\r\n" + END, "no head"),
        (KIND, part(b"X: " + b"x" * 3_000) + END, "no head"),
        (KIND, part(b"no colon") + END, "a head that is none"),
        (KIND, part(b'Content-Disposition: form-data; name="a"\r\n\tfolded') + END, "a head that is none"),
        (KIND, part(b"Content-Disposition: form-data") + END, "no name"),
        (KIND, part(b'Content-Disposition: form-data; name=""') + END, "no name"),
        (KIND, part(b'Content-Disposition: form-data; name="a b"') + END, "no name"),
        (KIND, part(b'Content-Disposition: attachment; name="a"') + END, "no name"),
        (
            KIND,
            part(b'Content-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64') + END,
            "transfer encoding",
        ),
        (KIND, part(b'Content-Disposition: form-data; name="a"', b"\xff") + END, "not UTF-8"),
        (KIND, part(b'Content-Disposition: form-data; name="a"', b"x" * 65_537) + END, "more than 65536 bytes"),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes, why: str) -> None:
    with pytest.raises(Rejected, match=why):
        forms.read(kind, body)


def test_a_field_or_a_file_that_is_there_twice_is_nobodys_choice() -> None:
    twice = forms.read(KIND, FIELD + FIELD + FILE + FILE + END)
    for ask in (lambda: twice.text("model"), lambda: twice.file("file")):
        with pytest.raises(Rejected):
            ask()
    with pytest.raises(Rejected, match="one file, named file"):
        forms.read(KIND, FIELD + FILE.replace(b'"file"', b'"other"') + END).file("file")


@pytest.mark.parametrize("filling", [b"\r\n", b"\r\n--", b"\r\n--" + b"b" * 69, b"\0", b'; name="a'])
def test_twenty_mib_are_read_in_one_pass_whatever_stands_in_them(filling: bytes) -> None:
    """Seconds would be a search that begins anew at each byte; a pass takes some hundredths."""
    boundary = b"b" * 70
    body = (FIELD + FILE).replace(b"--b", b"--" + boundary)
    body = body.replace(b"sound", filling * ((20 << 20) // len(filling))) + b"--" + boundary + b"--\r\n"
    began = time.thread_time()
    form = forms.read("multipart/form-data; boundary=" + boundary.decode(), body)
    assert time.thread_time() - began < 2
    assert len(form.file("file")) > 19 << 20
