"""Endpoints that answer by vectors: OpenAI's embeddings, and reranking as Jina's and Cohere's clients ask for it."""

import base64
import uuid

import numpy as np
import orjson
from aiohttp import web
from numpy.typing import NDArray

from ledger.core.catalog.protocols import Protocol
from ledger.core.values.errors import Rejected
from roles.node.models.model import Embedder, Model, Talk, Vectors
from roles.node.protocols.answers import answer
from roles.node.protocols.requests import EmbeddingsRequest, RerankRequest, decode


async def embeddings(request: web.Request) -> web.StreamResponse:
    return await answer(request, Protocol.embeddings, _embeddings)


async def rerank(request: web.Request) -> web.StreamResponse:
    return await answer(request, Protocol.rerank, _rerank)


async def _embeddings(model: Model, body: bytes, talk: Talk) -> bytes:
    """A vector for each text."""
    asked = decode(body, EmbeddingsRequest)
    rows = (await _embedded(model, asked.texts(), talk)).rows
    if asked.dimensions not in (None, rows.shape[1]):
        message = f"this model's vectors have {rows.shape[1]} dimensions"
        raise Rejected(message, code="unsupported_parameter", field="dimensions")
    data = [
        {"object": "embedding", "index": place, "embedding": _encoded(row, asked.encoding_format)}
        for place, row in enumerate(rows)
    ]
    return _written({"object": "list", "model": asked.model, "data": data, "usage": _usage(talk)})


async def _rerank(model: Model, body: bytes, talk: Talk) -> bytes:
    """The documents by the cosine of their vector with the query's, the nearest first."""
    asked = decode(body, RerankRequest)
    texts = asked.texts()
    rows = (await _embedded(model, [asked.query, *texts], talk)).rows
    scores = rows[1:] @ rows[0]
    best = np.argsort(-scores, kind="stable")[: asked.top_n]
    results = [
        {
            "index": place,
            "relevance_score": float(scores[place]),
            **({"document": {"text": texts[place]}} if asked.return_documents else {}),
        }
        for place in best.tolist()
    ]
    usage = _usage(talk)
    counted = {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": usage["prompt_tokens"]}}
    said = {"id": str(uuid.uuid4()), "object": "list", "model": asked.model, "results": results}
    return _written({**said, "usage": usage, "meta": {"api_version": {"version": "1"}, **counted}})


async def _embedded(model: Model, texts: list[str], talk: Talk) -> Vectors:
    assert isinstance(model, Embedder), "it speaks of vectors"
    found = await model.embed(texts)
    talk.prompt_tokens, talk.compute_us = found.tokens, found.compute_us
    return found


def _usage(talk: Talk) -> dict[str, int]:
    return {"prompt_tokens": talk.prompt_tokens, "total_tokens": talk.prompt_tokens}


def _encoded(row: NDArray[np.float32], encoding: str) -> str | NDArray[np.float32]:
    """A vector as numbers, or as OpenAI's clients ask for it by default: the bytes of its floats in base64."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding == "base64" else row


def _written(body: dict[str, object]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
