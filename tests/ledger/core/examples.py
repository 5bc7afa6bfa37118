"""Documents that are right: a model with a parent, a signed offer, the customer-service capsule."""

from ledger.core.values.documents import Document, digest, document_id, unsigned
from ledger.core.values.ids import Address, did, to_hex
from ledger.core.values.typed_data import Domain, Signer, offer_hash, signing_digest

DOMAIN = Domain(31337, Address(b"\x11" * 20))
PROVIDER = Signer(b"\x07" * 32)
OWNER = Address(b"\x22" * 20)
WEAVER = Address(b"\x33" * 20)


def a_base() -> Document:
    """A maker's model, open to children at 12 % and 40 atoms a call."""
    return {
        "schema": "tollway/model/1",
        "kind": "weights",
        "name": "@alpha/emotion-base",
        "version": "1.0.0",
        "owner": did(31337, OWNER),
        "license": "Apache-2.0",
        "artifact": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "digest": f"sha256:{'ab' * 32}",
            "size": 17_000_000,
        },
        "lineage": [],
        "capabilities": [
            {
                "task": "text-classification",
                "skill": "emotion-6",
                "input_modes": ["text/plain"],
                "output_modes": ["application/json"],
                "languages": ["en", "zh"],
            }
        ],
        "interfaces": [{"protocol": "openai.chat/1"}],
        "execution": {"runtime": "onnxruntime", "determinism": "projected", "projection": "argmax"},
        "meters": ["call"],
        "derivative_terms": {"open": True, "royalty_ppm": 120_000, "floor": {"call": "40"}},
    }


def a_model() -> Document:
    """An OEM's child of `a_base`, with its terms frozen."""
    frozen = {"royalty_ppm": 120_000, "floor": {"call": "40"}, "offer": f"sha256:{'cd' * 32}"}
    return {
        **a_base(),
        "name": "@beta/emotion-support",
        "owner": did(31337, WEAVER),
        "lineage": [{"id": document_id(a_base()), "relation": "finetune", "terms": frozen}],
    }


def an_offer() -> Document:
    """A provider's signed offer to serve `a_model`."""
    document: Document = {
        "schema": "tollway/offer/1",
        "subject": document_id(a_model()),
        "party": did(31337, PROVIDER.address),
        "role": "compute",
        "bid": {"ratio_ppm": 0, "ask": {"call": "200"}},
        "serve": {"url": "https://home.example", "tier": "edge", "capacity": 2, "slo_ms": 120},
        "valid_from_epoch": 42,
        "expires_epoch": 66,
        "nonce": 3,
        "chain_id": 31337,
    }
    return signed(document)


def signed(document: Document) -> Document:
    """The document with the provider's signature over it."""
    hashed = signing_digest(DOMAIN, offer_hash(digest(unsigned(document))))
    return {**unsigned(document), "signature": to_hex(PROVIDER.sign(hashed))}


def a_capsule() -> Document:
    """Emotion and retrieval side by side, then a reply, with a smaller model to fall back to."""
    name = document_id(a_model())
    return {
        "schema": "tollway/capsule/1",
        "name": "@wanda/customer-service",
        "version": "1.0.0",
        "weaver": did(31337, WEAVER),
        "steps": [
            {"id": "emotion", "uses": {"model": name}, "input": {"text": "$.messages[-1].content"}, "on_error": "skip"},
            {"id": "kb", "uses": {"model": name}, "input": {"query": "$.messages[-1].content"}, "max_price": "1200"},
            {
                "id": "prompt",
                "uses": {"glue": "merge", "export": "build-prompt"},
                "input": {"emotion": "$steps.emotion.output", "passages": "$steps.kb.output"},
            },
            {
                "id": "reply",
                "uses": {"model": name},
                "input": {"messages": "$steps.prompt.output", "mood": "They are {$steps.emotion.output.label}."},
                "on_error": "fallback",
                "fallback": "reply_small",
            },
            {
                "id": "reply_small",
                "uses": {"capability": {"task": "text-generation"}},
                "input": {"messages": "$steps.prompt.output"},
                "when": "steps.reply.status == 'error'",
            },
        ],
        "output": {"choices": "$steps.reply.output"},
        "glue": {"merge": {"digest": f"sha256:{'ef' * 32}", "size": 41_233, "fuel": 2_000_000}},
        "distribution": {
            "weaver": {"ratio_ppm": 100_000, "ask": {}},
            "curation": {"offer_ppm": 300_000, "window_calls": 1_000},
        },
        "failure": "all-or-nothing",
    }
