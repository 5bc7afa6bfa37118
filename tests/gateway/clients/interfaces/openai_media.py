"""`openai`: images, speech, also as it comes, and what a recording says."""

import base64
import io
import sys
import wave

import openai

URL, KEY, MAKER = sys.argv[1:]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
paint, voice, ear = (f"@{MAKER}/{name}" for name in ("paint", "voice", "ear"))

made = client.images.generate(model=paint, prompt="A lighthouse", n=2, size="256x256", response_format="b64_json")
images = [base64.b64decode(one.b64_json) for one in made.data]
assert [one[:8] for one in images] == [b"\x89PNG\r\n\x1a\n"] * 2, made
assert images[0] != images[1]
assert len(client.images.generate(model=paint, prompt="A lighthouse").data) == 1

said = client.audio.speech.create(model=voice, voice="alloy", input="Good morning!", response_format="wav")
sound = said.read()
with wave.open(io.BytesIO(sound)) as file:
    assert file.getnframes() == 16 * 60 * len("Good morning!")
wanted = {"model": voice, "voice": "alloy", "input": "Good morning!", "response_format": "wav"}
with client.audio.speech.with_streaming_response.create(**wanted) as answer:
    assert answer.headers["content-type"] == "audio/wav", answer.headers
    assert b"".join(answer.iter_bytes()) == sound
with client.audio.speech.with_streaming_response.create(**wanted, stream_format="audio") as answer:
    assert b"".join(answer.iter_bytes()) == sound, "as it is made"

heard = client.audio.transcriptions.create(model=ear, file=("../my words.wav", sound), language="en")
assert heard.text == "780 ms of recording.wav, audio/wav, in en", heard
text = client.audio.transcriptions.create(model=ear, file=io.BytesIO(sound), response_format="text")
assert text.startswith("780 ms of recording.wav"), text
verbose = client.audio.transcriptions.create(model=ear, file=sound, response_format="verbose_json")
assert verbose.duration == 0.78, verbose

for refused, param in (
    (lambda: client.images.generate(model=paint, prompt=""), "prompt"),
    (lambda: client.images.generate(model=paint, prompt="A lighthouse", n=17), "n"),
    (lambda: client.images.generate(model=paint, prompt="A lighthouse", size="odd"), "size"),
    (lambda: client.images.generate(model=voice, prompt="A lighthouse"), "model"),
    (lambda: client.audio.transcriptions.create(model=ear, file=b"no recording"), "file"),
    (lambda: client.audio.transcriptions.create(model=ear, file=sound, stream=True), "stream"),
):
    try:
        refused()
    except openai.BadRequestError as error:
        assert error.param == param, error
        assert error.request_id, error
    else:
        raise AssertionError(param)
print("done: plain, streamed, refused")
