"""`kserve`'s REST client for the Open Inference Protocol: tensors in JSON and in bytes, refused.
`python kserve_tensors.py URL KEY MAKER`, in an environment of its own.
"""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

URL, KEY, MAKER = sys.argv[1:]
HEAD = {"Authorization": f"Bearer {KEY}"}
EMOTION = f"@{MAKER}/emotion"
TEXTS = np.array(["thank you, i love it", "i want to return the desk"], object)


def asked(binary=True, name="text", **more):
    tensor = InferInput(name, [2], "BYTES")
    tensor.set_data_from_numpy(TEXTS, binary_data=binary)
    return InferRequest(EMOTION, [tensor], **more)


def scores_of(answer):
    outputs = {one.name: one.as_numpy() for one in answer.outputs}
    labels = [text.decode() if isinstance(text, bytes) else text for text in outputs["label"]]
    assert labels == ["joy", "neutral"], labels
    assert (outputs["scores"].shape, outputs["scores"].dtype) == ((2, 6), np.float32)
    return outputs["scores"]


async def refused(client, request, status, words, model=EMOTION, headers=HEAD):
    try:
        await client.infer(URL, request, model, headers=dict(headers))
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error
        assert words in str(error), error
    else:
        raise AssertionError(words)


async def run():
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        assert await client.is_server_live(URL)
        assert await client.is_server_ready(URL)
        assert await client.is_model_ready(URL, EMOTION)
        in_bytes = scores_of(await client.infer(URL, asked(), EMOTION, headers=dict(HEAD)))
        in_json = scores_of(await client.infer(URL, asked(binary=False), EMOTION, headers=dict(HEAD)))
        assert np.allclose(in_bytes, in_json)
        wanted = [RequestedOutput("scores", {"binary_data": True}), RequestedOutput("label", {"binary_data": True})]
        mixed = asked(request_outputs=wanted, request_id="mine")
        answer = await client.infer(URL, mixed, EMOTION, headers=dict(HEAD))
        assert np.array_equal(scores_of(answer), in_bytes)
        assert answer.id == "mine", answer.id
        await refused(client, asked(), 404, "there is no model", f"@{MAKER}/none")
        await refused(client, asked(), 401, "Authorization", headers={})
        await refused(client, asked(name="txt"), 400, "expected one BYTES tensor")
        await refused(client, asked(), 400, "openai.chat/1", f"@{MAKER}/dialog")


asyncio.run(run())
print("done: plain, tensors, refused")
