"""Reads requests for images and sound, and what is answered to them, in the units that they have: images, characters,
milliseconds of a recording.

The gateway counts what it can: the images of an answer, the characters of a request, the length of a WAV file. Where a
node counts, the request bounds its claim. Tokens of images and of spoken words have no bound that anybody else could
tell, so they are not metered: such models are sold by the image, and by the character.
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

from gateway import bounds
from gateway.errors import NodeFailed, Refusal
from gateway.metering import openai, usage
from gateway.metering.ask import IMAGES, SPEECH, TRANSCRIPTIONS, Ask, Media
from gateway.metering.openai import StreamState
from gateway.metering.usage import Metered, Meters, NodeUnits
from gateway.upstream.http import Reply
from ledger.core.values import forms, sound
from ledger.core.values.hashes import BodyHash
from ledger.core.values.ids import Digest
from ledger.core.values.meters import Meter, by_meter

PATHS: Final = frozenset((IMAGES, SPEECH, TRANSCRIPTIONS))
MORE_IMAGES: Final = frozenset(
    (
        "batchsize", "imagecount", "maximages", "nimages", "niter", "nsamples", "numberofimages", "numimages",
        "numimagesperprompt", "numoutputs", "numsamples", "samplecount", "samples",
    )
)  # fmt: skip
"""Fields by which some servers are told how many images to make, in small letters without `_` and `-`. The gateway
tells them by `n` alone.
"""
SECOND_FILES: Final = frozenset(("file", "url", "file_url", "audio_url", "audio", "input", "uri"))
"""Texts of a form by which some servers are told of another recording than the one that is sent and paid for."""
READ_TOKENS_A_SECOND: Final = 50
"""Of a recording, at most: Whisper reads so many frames, and others fewer tokens."""
WRITTEN_TOKENS_A_SECOND: Final = 25
"""Of a recording's text, at most: five fast words, in a script of which a tokenizer knows little."""
ROUNDED_MS: Final = 1_000
"""By which a claim may be above a recording's length: servers report whole seconds. It is not paid."""
JSON: Final = "application/json"
TRANSCRIBED: Final = {
    "json": JSON,
    "verbose_json": JSON,
    "diarized_json": JSON,
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""The formats of a transcription, and their media types."""
SPOKEN: Final = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
"""The formats of speech. Others that a server has are passed on as bytes."""
_AUDIO = re.compile(rb"audio/[a-z0-9][a-z0-9.+-]{0,60}")


class _Wanted(msgspec.Struct):
    """The fields of a request that decide its price, or the form of its answer."""

    prompt: str | None = None
    input: str | None = None
    response_format: str | None = None
    stream: bool | None = None
    stream_format: str | None = None


_WANTED = msgspec.json.Decoder(_Wanted)


def read(path: str, body: bytes, content_type: str) -> Ask:
    """A request of one of these routes. Refused with 400, naming the field."""
    if path == TRANSCRIPTIONS:
        return _read_form(body, content_type)
    ask = openai.read(path, body)
    names = (name for name in _Wanted.__struct_fields__ if name in ask.fields)
    try:
        wanted = _WANTED.decode(b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), ask.fields[name]) for name in names))
    except msgspec.ValidationError as error:
        raise openai.not_valid(error) from error
    _check_whole(bool(wanted.stream) or wanted.stream_format == "sse")
    streams = path == SPEECH and wanted.stream_format == "audio"
    name, text = ("prompt", wanted.prompt) if path == IMAGES else ("input", wanted.input)
    if not text:
        raise Refusal(400, "invalid_request", f"{name} is a text, and not an empty one", param=name)
    media = Media(wanted.response_format or "", input_tokens=len(body))
    if path == SPEECH:
        if len(text) > bounds.SPOKEN_CHARACTERS:
            message = f"input has at most {bounds.SPOKEN_CHARACTERS} characters: send it in parts"
            raise Refusal(400, "invalid_request", message, param="input")
        media = msgspec.structs.replace(media, characters=len(text))
        return msgspec.structs.replace(ask, stream=streams, choices=1, media=media)
    for field in ask.fields:
        if field.lower().replace("_", "").replace("-", "") in MORE_IMAGES:
            raise Refusal(400, "invalid_request", f"leave {field} out: n says how many images", param=field)
    if ask.choices > bounds.MOST_IMAGES:
        raise Refusal(400, "invalid_request", f"a request is for at most {bounds.MOST_IMAGES} images", param="n")
    made = msgspec.structs.replace(media, images=ask.choices, characters=len(text))
    return msgspec.structs.replace(ask, choices=1, media=made)


def _read_form(body: bytes, content_type: str) -> Ask:
    form = forms.read(content_type, body)
    model, file = form.text("model"), form.file("file")
    if not model:
        raise Refusal(400, "invalid_request", "the form has no `model`", param="model")
    if sound.kind_of(file) is None:
        known = ", ".join(sound.ENDINGS)
        raise Refusal(400, "invalid_request", f"the file is no recording: send one of {known}", param="file")
    answer_format = form.text("response_format") or "json"
    if answer_format not in TRANSCRIBED:
        known = ", ".join(TRANSCRIBED)
        raise Refusal(400, "invalid_request", f"response_format is one of {known}", param="response_format")
    for part in form.parts:
        if not part.is_file and part.name.lower() in SECOND_FILES:
            message = f"leave {part.name} out: the recording is the one file"
            raise Refusal(400, "invalid_request", message, param=part.name)
    _check_whole((form.text("stream") or "").strip().lower() not in ("", "false", "0"))
    heard = sound.length(file)
    return _transcription(model, body, Media(answer_format, heard=heard, form=form), len(body) - len(file))


def _transcription(model: str, body: bytes, media: Media, other_bytes: int) -> Ask:
    """The request for a transcription with so many bytes besides its recording."""
    read_most = other_bytes + _tokens(media.heard.ms, READ_TOKENS_A_SECOND)
    written_most = _tokens(media.heard.ms, WRITTEN_TOKENS_A_SECOND)
    media = msgspec.structs.replace(media, input_tokens=read_most)
    return Ask(TRANSCRIPTIONS, model, body, limit=written_most, media=media)


def longest(model: str, beginning: bytes, size: int) -> Ask:
    """The dearest request for a transcription that begins like this, and has so many bytes."""
    at = max(0, beginning.find(b"RIFF"))
    form = forms.Form(())
    heard = sound.length(beginning[at:], size - at)
    return _transcription(model, beginning.ljust(size, b" "), Media("json", heard=heard, form=form), size)


def _check_whole(streams: bool) -> None:
    if streams:
        message = "no events here: leave stream out; speech comes as it is made by stream_format audio"
        raise Refusal(400, "unsupported_parameter", message, param="stream")


def _tokens(ms: int, a_second: int) -> int:
    return -(-ms * a_second // 1000) + usage.SLACK_TOKENS


def content_type(ask: Ask, reply: Reply) -> bytes:
    """What an answer is. Of the node's own words only the kind of sound is passed on."""
    assert ask.media is not None
    if ask.path == SPEECH:
        said = reply.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if _AUDIO.fullmatch(said):
            return said
    return asked_type(ask).encode()


def asked_type(ask: Ask) -> str:
    """What the answer to a request is to be, as its route and its `response_format` say it. Images come in JSON."""
    if ask.media is None or ask.path == IMAGES:
        return JSON
    if ask.path == SPEECH:
        return SPOKEN.get(ask.media.answer_format or "mp3", "application/octet-stream")
    return TRANSCRIBED.get(ask.media.answer_format, JSON)


class _Usage(msgspec.Struct):
    """OpenAI's usage of images and recordings: tokens or seconds. What is no number counts as not reported."""

    input_tokens: Any = None
    output_tokens: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_token_details: Any = None
    seconds: Any = None

    @property
    def inputs(self) -> int | None:
        return usage.number(self.input_tokens if self.input_tokens is not None else self.prompt_tokens)

    @property
    def outputs(self) -> int | None:
        return usage.number(self.output_tokens if self.output_tokens is not None else self.completion_tokens)

    @property
    def audio_tokens(self) -> int:
        """Those of the input that are sound."""
        details = self.input_token_details
        return max(0, usage.number(details.get("audio_tokens")) or 0) if isinstance(details, dict) else 0


class _Image(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Answer(msgspec.Struct):
    """The metered parts of a JSON answer."""

    model: Any = None
    data: list[msgspec.Raw] | None = None
    text: str | None = None
    duration: Any = None
    usage: _Usage | None = None
    error: Any = None


_ANSWER, _IMAGE = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Image)


class _Claim(NamedTuple):
    """What a node says that it used: ms of a recording and tokens, None where it says nothing."""

    ms: int | None
    inputs: int | None
    outputs: int | None
    audio_tokens: int = 0


async def whole(meters: Meters, ask: Ask, reply: Reply, body: bytes, took_ms: int) -> tuple[Metered, bytes]:
    """Units of an answer, and the answer as the consumer gets it. Raises NodeFailed when it is none."""
    noted = usage.node_units(reply.headers.get(b"tollway-usage")) or {}
    if ask.path == TRANSCRIPTIONS:
        metered, shown = await _transcribed(meters, ask, body, noted)
        return _of_size(metered, ask, shown), shown
    metered, shown = _images(ask, body, noted) if ask.path == IMAGES else (_spoken(ask, reply, body, noted), body)
    took_ms = min(noted.get(Meter.ms, took_ms), took_ms)
    timed = msgspec.structs.replace(metered, units=metered.units._replace(ms=took_ms))
    return _of_size(timed, ask, shown), shown


def _of_size(metered: Metered, ask: Ask, shown: bytes) -> Metered:
    return msgspec.structs.replace(metered, units=metered.units._replace(byte=len(ask.body) + len(shown)))


def _images(ask: Ask, body: bytes, noted: NodeUnits) -> tuple[Metered, bytes]:
    """The images of an answer, as many as were asked for."""
    assert ask.media is not None
    answer, body = _decoded(ask, body)
    asked = ask.media.images
    try:
        images = [_IMAGE.decode(one) for one in (answer.data or ())[: asked + 1]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _nonsense() from error
    if not images or not all(one.b64_json or one.url for one in images):
        raise _nonsense()
    if len(images) > asked:
        assert answer.data is not None
        outer = {**openai.fields(body), "data": msgspec.Raw(b"[%b]" % b",".join(map(bytes, answer.data[:asked])))}
        body = msgspec.json.encode(outer)
    claimed = answer.usage.inputs if answer.usage is not None else noted.get(Meter.input_token)
    made = min(len(images), asked)
    counts = {Meter.output_image: made}  # what is too much is cut off and earns nothing, so it is no claim
    return _metered(ask, claimed, usage.estimate(len(ask.body)), counts, overclaimed=False), body


def _spoken(ask: Ask, reply: Reply, body: bytes, noted: NodeUnits) -> Metered:
    """Speech is paid by what was to be said: an answer must be sound, and not be empty."""
    check_sound(reply)
    if not body:
        raise _nonsense()
    return _metered(ask, noted.get(Meter.input_token), usage.estimate(len(ask.body)), {}, overclaimed=False)


def check_sound(reply: Reply) -> None:
    """Raise NodeFailed when the head of an answer says that it is text, which no sound is."""
    said = reply.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if said.startswith(b"text/") or said == JSON.encode():
        raise _nonsense()


class SoundStream:
    """Reads sound as it comes: all of it goes on, but for the last byte that there is, which waits for the receipt."""

    def __init__(self, salt: bytes, most_bytes: int) -> None:
        self.state = StreamState.silent
        self.size = 0
        self.last = b""
        self.finish_reasons: list[str] = []
        self._most = min(bounds.ANSWER_BYTES, most_bytes)
        self._hasher = BodyHash(salt)

    @property
    def ended(self) -> bool:
        """Whether nothing more is read."""
        return self.state >= StreamState.done

    @property
    def digest(self) -> Digest:
        """The salted digest of all that was passed on."""
        return self._hasher.digest()

    def take(self, chunk: bytes) -> bytes:
        """What goes to the consumer now. What is more than an answer may have ends it, full and paid: to let it fail
        would give all that was passed on for nothing.
        """
        if not chunk:
            return b""
        room = self._most - self.size
        heard = self.last + chunk[:room]
        self.size += min(len(chunk), room)
        passed, self.last = heard[:-1], heard[-1:]
        self._hasher.update(passed)
        self.state = StreamState.begun
        if len(chunk) > room:
            self.close()
            self.state = StreamState.full
        return passed

    def close(self) -> None:
        """The answer has ended."""
        if self.state < StreamState.finished:
            self._hasher.update(self.last)
            self.state = StreamState.finished


def streamed(ask: Ask, size: int, took_ms: int, *, is_whole: bool) -> Metered:
    """Units of sound of so many bytes. What its node cut is of no characters: nobody knows how many were spoken."""
    metered = _metered(ask, None, usage.estimate(len(ask.body)), {Meter.ms: took_ms}, overclaimed=False)
    units = metered.units._replace(byte=len(ask.body) + size)
    if not is_whole:
        units = units._replace(input_character=0, input_token=0)
    return msgspec.structs.replace(metered, units=units)


def _metered(ask: Ask, claimed: int | None, estimate: int, counts: dict[Meter, int], overclaimed: bool) -> Metered:
    """What was counted, and the tokens of a request that were read, by the node's own count up to the bound."""
    assert ask.media is not None
    most = ask.media.input_tokens
    inputs = estimate if claimed is None else max(0, claimed)
    tokens = {Meter.input_token: min(inputs, most), Meter.input_character: ask.media.characters}
    return Metered(by_meter({Meter.call: 1, **tokens, **counts}), 0, overclaimed or inputs > most)


async def _transcribed(meters: Meters, ask: Ask, body: bytes, noted: NodeUnits) -> tuple[Metered, bytes]:
    """The ms of a recording and the tokens of its text: by the node's claim, as far as the recording and the text bound
    it, else by our own count or estimate.
    """
    assert ask.media is not None
    text, claim, body = _text_of(ask, body, noted)
    heard, bound = ask.media.heard, ask.media.input_tokens
    ms = heard.usual_ms if claim.ms is None else min(claim.ms, heard.ms)
    inputs = _tokens(ms, READ_TOKENS_A_SECOND // 5) if claim.inputs is None else min(claim.inputs, bound)
    ours = await usage.count(meters.tokenizer, text, meters.most) if text and meters.tokenizer is not None else None
    size, over = len(text.encode()), False
    if heard.is_exact:  # of packed sound nobody but the node knows the length, and silence packs well
        over = (claim.ms or 0) >= heard.ms + ROUNDED_MS or (claim.inputs or 0) > bound
    if claim.outputs is None:
        outputs, more = ours if ours is not None else usage.estimate(size), False
    else:
        outputs, more = usage.agreed(claim.outputs, ours, size)
    counts = {Meter.call: 1, Meter.ms: ms, Meter.output_token: outputs}
    counts |= usage.divide(inputs, Meter.input_token, {Meter.input_audio_token: claim.audio_tokens})
    return Metered(by_meter(counts), 0, over or more), body


def _text_of(ask: Ask, body: bytes, noted: NodeUnits) -> tuple[str, _Claim, bytes]:
    """The text of a transcription, what the node says that it used, and the answer as the consumer gets it. Raises
    NodeFailed when it is none.
    """
    assert ask.media is not None
    of_header = _Claim(
        noted.get(Meter.ms),
        _sum(noted, Meter.input_token, Meter.input_audio_token),
        noted.get(Meter.output_token),
        noted.get(Meter.input_audio_token, 0),
    )
    if TRANSCRIBED[ask.media.answer_format] != JSON:
        try:
            return body.decode(), of_header, body
        except UnicodeDecodeError as error:
            raise _nonsense() from error
    answer, body = _decoded(ask, body)
    if answer.text is None:
        raise _nonsense()
    said = answer.usage or _Usage()
    ms = sound.ms_of(answer.duration if said.seconds is None else said.seconds)
    inputs, outputs = (None if one is None else max(0, one) for one in (said.inputs, said.outputs))
    claim = _Claim(
        of_header.ms if ms is None else ms,
        of_header.inputs if inputs is None else inputs,
        of_header.outputs if outputs is None else outputs,
        said.audio_tokens or of_header.audio_tokens,
    )
    return answer.text, claim, body


def _sum(noted: NodeUnits, *meters: Meter) -> int | None:
    found = [noted[meter] for meter in meters if meter in noted]
    return sum(found) if found else None


def _decoded(ask: Ask, body: bytes) -> tuple[_Answer, bytes]:
    """A JSON answer, and as the consumer gets it: of the model that was asked for. Raises NodeFailed when it is none,
    or an error.
    """
    if bounds.is_crowded(body) or bounds.is_crowded(body, bounds.ANSWER_VALUES, b","):
        raise _nonsense()
    try:
        answer = _ANSWER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _nonsense() from error
    if answer.error is not None:
        raise NodeFailed("the node answered an error as if it had served", "error")
    if answer.model is not None and answer.model != ask.model:
        body = openai.named(body, answer.model, ask.model)
    return answer, body


def _nonsense() -> NodeFailed:
    return NodeFailed("the node's answer is not what an OpenAI server answers", "nonsense")
