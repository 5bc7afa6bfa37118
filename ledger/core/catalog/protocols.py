"""The protocols by which models are called, under the names that documents have for them.

It stands alone: documents, gateways, nodes and the command line name protocols, and all mean these.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum


class Protocol(StrEnum):
    """An interface of a model's document. A workflow is called as `chat`."""

    chat = "openai.chat/1"
    completions = "openai.completions/1"
    embeddings = "openai.embeddings/1"
    rerank = "rerank/1"
    images = "openai.images/1"
    speech = "openai.speech/1"
    transcriptions = "openai.transcriptions/1"
    responses = "openresponses/1"
    tensors = "oip/2"


MEDIA = frozenset((Protocol.images, Protocol.speech, Protocol.transcriptions))
"""Those of images and sound. A model is asked for them only if its document names them: each has units of its own."""
CALLABLE = (
    Protocol.chat,
    Protocol.completions,
    Protocol.embeddings,
    Protocol.rerank,
    *sorted(MEDIA),
    Protocol.tensors,
)
"""Those that gateways have a route for."""
OPENAI = frozenset((Protocol.chat, Protocol.completions, Protocol.embeddings))
LISTED = OPENAI | MEDIA
"""Those of servers that list their models as OpenAI does."""


def takes(spoken: Collection[str], wanted: Protocol) -> bool:
    """Whether a model takes requests of a protocol.

    Servers of the OpenAI API list names of models and not what these do. So a model that was registered as a chat model
    is asked for completions and embeddings, too, and its server refuses what it has not. One that names only these is
    asked for nothing else.
    """
    return wanted in spoken or (wanted in OPENAI and Protocol.chat in spoken)


def listed(spoken: Iterable[str]) -> str:
    """Protocols as a sentence names them."""
    return ", ".join(sorted(spoken))
