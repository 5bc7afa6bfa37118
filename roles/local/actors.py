"""The actors of the local network, one wallet each, and the commands that put them on the market.

The workflow is the customer service of a shop: an emotion classifier and a retriever in parallel, then a dialogue
model. Commands are in order, without `tollway`; running one twice changes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from roles.local.folder import ROOT

MODELS = ROOT / "deploy" / "demo" / "models"
CAPSULE = ROOT / "deploy" / "demo" / "capsule.json"

BASE, EMOTION, KB, DIALOG = "@north/emotion-base", "@south/emotion", "@kappa/kb", "@delta/dialog"
SERVICE = "@wanda/customer-service"
TASK = "text-generation"
FOLDERS = {EMOTION: "emotion", KB: "kb", DIALOG: "dialog"}

MAKERS = ("north", "kappa", "delta")
OEM = "south"
DELIVERY, WEAVER, CURATOR, OPERATOR, GATEWAY, CONSUMER = "dora", "wanda", "curt", "olga", "gate-1", "alice"
PAUPER = "penny"


@dataclass(frozen=True, slots=True)
class Provider:
    """A compute provider: its tier, its capacity in calls, and its asks for each model it serves."""

    name: str
    tier: str
    capacity: int
    asks: dict[str, str]


PROVIDERS = (
    Provider("atlas", "center", 16, {
        EMOTION: "--ask call=2000",
        KB: "--ask call=3000",
        DIALOG: "--ask input_token=9000000 --ask output_token=60000000",
    }),
    Provider("borea", "center", 16, {
        EMOTION: "--ask call=2100",
        KB: "--ask call=2900",
        DIALOG: "--ask input_token=9500000 --ask output_token=58000000",
    }),
    Provider("casa", "edge", 4, {
        EMOTION: "--ask call=1900",
        DIALOG: "--ask input_token=9000000 --ask output_token=61000000",
    }),
)  # fmt: skip

PEOPLE = (*MAKERS, OEM, *(p.name for p in PROVIDERS), DELIVERY, WEAVER, CURATOR, OPERATOR, GATEWAY, CONSUMER, PAUPER)
NEED_MONEY = {
    **dict.fromkeys((*MAKERS, OEM), "11"),  # 10 is the stake of an organisation's name
    CURATOR: "1",
    **{provider.name: "500" for provider in PROVIDERS},
    DELIVERY: "100",
    WEAVER: "200",
    OPERATOR: "5000",
    GATEWAY: "1",
    CONSUMER: "50",
    PAUPER: "1",
}


def orders() -> Iterator[str]:
    """Who promotes what: the weaver its workflow, a maker and a provider the same model."""
    yield f"weaver sponsor {SERVICE} --slot 400atoms --task {TASK} --wallet {WEAVER}"
    yield f"maker sponsor {DIALOG} --slot 60atoms --wallet delta"
    yield f"provider sponsor {DIALOG} --slot 90atoms --wallet {PROVIDERS[0].name}"


def wallets(known: set[str]) -> Iterator[str]:
    for name in (name for name in PEOPLE if name not in known):
        yield f"wallet create {name} --light"


def money() -> Iterator[str]:
    for name, aic in NEED_MONEY.items():
        yield f"wallet faucet {aic} --wallet {name}"


def lane(window_seconds: int) -> Iterator[str]:
    """The operator's bond, its lane, and the key its gateway signs with.

    Answers are due so soon that questions prolong no batch's window.
    """
    answer_seconds = max(1, window_seconds // 6)
    yield f"operator stake 1000 --wallet {OPERATOR}"
    yield f"operator open-lane --bond 1000 --window {window_seconds} --answer-time {answer_seconds} --wallet {OPERATOR}"
    yield f"operator add-gateway {GATEWAY} --wallet {OPERATOR}"
    yield f"operator bid --ratio 1% --wallet {OPERATOR}"


def market(upstream: str | None) -> Iterator[str]:
    """Models, lineage, bids, stakes, the workflow. With an upstream, that server is the dialogue model."""
    folder = f"{quote(str(MODELS))}"
    yield f"maker register {BASE} {folder}/emotion-base --royalty 12% --floor call=40 --wallet north"
    yield f"oem derive {EMOTION} --parent {BASE} --relation finetune {folder}/emotion --wallet south"
    yield f"maker register {KB} {folder}/kb --deliverer {DELIVERY} --wallet kappa"
    served = f"--url {upstream} --meter input_token --meter output_token" if upstream else f"{folder}/dialog"
    yield f"maker register {DIALOG} {served} --wallet delta"
    yield f"oem bid {EMOTION} --ratio 15% --ask call=20 --wallet south"
    yield f"maker bid {KB} --ratio 12% --ask call=20 --wallet kappa"
    yield f"maker bid {DIALOG} --ratio 20% --ask output_token=1000000 --wallet delta"
    for provider in PROVIDERS:
        yield f"provider stake 400 --wallet {provider.name}"
        for model, ask in provider.asks.items():
            yield f"provider bid {model} {ask} --wallet {provider.name}"
    yield f"provider stake 50 --wallet {DELIVERY}"
    yield f"provider deliver {KB} --ask byte=2000000000 --wallet {DELIVERY}"
    yield f"weaver stake 100 --wallet {WEAVER}"
    yield f"weaver bond 20 --wallet {WEAVER}"
    uses = " ".join(f"--use {folder}={model}" for model, folder in FOLDERS.items())
    yield f"weaver publish {quote(str(CAPSULE))} {uses} --wallet {WEAVER}"
