"""`tritonclient` over HTTP, as it is: with binary tensors both ways; in JSON; compressed; by version; refused."""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

URL, KEY, MAKER = sys.argv[1:]
client = triton.InferenceServerClient(URL.removeprefix("http://"), network_timeout=30)
head = {"Authorization": f"Bearer {KEY}"}  # the client writes into what it is given
emotion = f"@{MAKER}/emotion"

assert client.is_server_live()
assert client.is_server_ready()
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert client.is_model_ready(emotion)
assert client.is_model_ready(emotion, "1.0.0")
assert not client.is_model_ready(emotion, "9.9.9")
assert client.is_model_ready("@wanda/flow")
described = client.get_model_metadata(emotion, "1.0.0")
assert [one["name"] for one in described["inputs"]] == ["text"], described

texts = np.array(["thank you, i love it", "i want to return the desk"], object)


def asked(binary=True):
    tensor = triton.InferInput("text", [2], "BYTES")
    tensor.set_data_from_numpy(texts, binary_data=binary)
    return [tensor]


def answered(found):
    labels, scores = found.as_numpy("label"), found.as_numpy("scores")
    assert [text.decode() if isinstance(text, bytes) else text for text in labels] == ["joy", "neutral"], labels
    assert (scores.shape, scores.dtype) == ((2, 6), np.float32)
    assert np.allclose(scores.sum(1), 1, atol=1e-4), scores
    return scores


one = answered(client.infer(emotion, asked(), headers={**head}))
wanted = [triton.InferRequestedOutput("scores", binary_data=True), triton.InferRequestedOutput("label", False)]
assert np.array_equal(one, answered(client.infer(emotion, asked(False), outputs=wanted, headers={**head})))
answered(client.infer(emotion, asked(), model_version="1.0.0", headers={**head}))
for packed in ("gzip", "deflate"):
    answered(client.infer(emotion, asked(), request_compression_algorithm=packed, headers={**head}))
assert client.infer(emotion, asked(), request_id="mine", headers={**head}).get_response()["id"] == "mine"

wrong = triton.InferInput("txt", [1], "BYTES")
wrong.set_data_from_numpy(np.array(["hi"], object))
for refused, status, words in (
    (lambda: client.infer(f"@{MAKER}/none", asked(), headers={**head}), "404", "there is no model"),
    (lambda: client.infer(emotion, asked(), model_version="9.9.9", headers={**head}), "404", "there is no model"),
    (lambda: client.infer(emotion, asked()), "401", "Authorization"),
    (lambda: client.infer(emotion, [wrong], headers={**head}), "400", "expected one BYTES tensor"),
    (lambda: client.get_model_metadata(f"@{MAKER}/dialog"), "404", "openai.chat/1"),
):
    try:
        refused()
    except InferenceServerException as error:
        assert error.status() == status, (error.status(), str(error))
        assert words in str(error), str(error)
    else:
        raise AssertionError(words)
print("done: plain, tensors, refused")
