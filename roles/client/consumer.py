"""A consumer's client in Python: find, quote, call, pay, check a receipt. Calls go through the stock OpenAI client.

    alice = Consumer("http://127.0.0.1:PORT", key="...")
    answer = alice.chat("@wanda/customer-service", "My lamp arrived broken!")
    print(answer.text, answer.charge)
    alice.check(alice.receipt(answer.receipt))

Answers are values (`gateway.api.schemas.answers`), errors are `Rejected` and `Unavailable` in the gateway's words; the
stock client raises its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from gateway.api.schemas.answers import Answer, Balance, Discovered, Found, Quote, Receipt, SignedReceipt
from ledger.core.disputes import facts
from ledger.core.values.atoms import Atoms
from ledger.core.values.errors import Conflict, Rejected, Unavailable
from ledger.core.values.ids import Address, address, to_hex
from ledger.core.values.typed_data import Domain, Signer, Voucher
from roles.client import credentials, receipts
from roles.client.gateway import GatewayClient, Json, segment

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletion

INSTALL = "pip install 'tollway[client]'"


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of a chat model: the stock client's value, the receipt's id, and what the call cost in atoms."""

    completion: ChatCompletion
    receipt: str
    charge: Atoms

    @property
    def text(self) -> str:
        """The answer's text, "" if it has none."""
        return self.completion.choices[0].message.content or ""


class Consumer:
    """Somebody who calls models at a gateway: with an API key, or paying each call by a voucher.

    With a `signer` it acts for the signer's account, which has a deposit in the lane: a call carries a voucher of
    `most_a_call` atoms above what the account has spent, and calls go one after the other, since a gateway takes only a
    voucher above the last. A `key` does what its limits allow, from many threads at once. In a `realm`, if named.
    """

    def __init__(
        self, url: str, key: str = "", *, signer: Signer | None = None, most_a_call: Atoms = 0, realm: str = ""
    ) -> None:
        if bool(key) == bool(signer):
            raise Rejected("a consumer has a key, or a signer: give one of them")
        if signer is not None and most_a_call < 1:
            raise Rejected("a voucher with each call needs `most_a_call`, in atoms")
        self._key, self._signer, self._most, self._realm = key.strip(), signer, most_a_call, realm
        self._url = url
        self._turn: AbstractContextManager[object] = Lock() if signer is not None else nullcontext()

    def discover(self, task: str, **wanted: Any) -> list[Found]:
        """The models that can do a task, the best first; sponsored rows stand above and say so. `wanted` as in POST
        /v1/discover: `meters` of the call expected, `languages`, `max_price`, `limit`, ...
        """
        return read(Discovered, self._gateway.post("/v1/discover", {"task": task, **_plain(wanted)})).results

    def quote(self, model: str, meters: Mapping[str, int] | None = None, **wanted: Any) -> Quote:
        """What a call of a model with these meters would cost now, line by line; without meters, a call without
        tokens. `wanted` as in POST /v1/quote: `max_price`, `tiers`, ...
        """
        asked = {"model": model, "meters": dict(meters or {"call": 1}), **_plain(wanted)}
        return read(Quote, self._gateway.post("/v1/quote", asked))

    def chat(
        self, model: str, messages: str | Sequence[Mapping[str, Any]], max_price: Atoms | None = None, **options: Any
    ) -> Answered:
        """Call a model by the stock client, whose `options` these are (`max_tokens`, `tools`, ...; for streams use
        `openai` itself). A text is one message of the user. Above `max_price` atoms the gateway refuses the call.
        """
        said = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        headers = {"Tollway-Max-Price": str(max_price)} if max_price is not None else {}
        headers |= options.pop("extra_headers", {})
        create = self.openai.chat.completions.with_raw_response.create
        with self._turn:
            paid = {**self.payment(), **headers}
            raw = create(model=model, messages=said, extra_headers=paid, **options)  # type: ignore[arg-type]
        return Answered(raw.parse(), raw.headers["tollway-receipt"], int(raw.headers["tollway-charge"]))

    @cached_property
    def openai(self) -> openai.OpenAI:
        """The stock client, set to this gateway. Give each call `extra_headers=consumer.payment()`: they pay it, if it
        is paid by a voucher, and name it, so that it is charged once however often it is sent.
        """
        try:
            import openai
        except ImportError as error:
            raise Rejected(f"calls need the stock OpenAI client: {INSTALL}") from error
        realm = {"Tollway-Realm": self._realm} if self._realm else {}
        return openai.OpenAI(base_url=f"{self._gateway.url}/v1", api_key=self._key or "none", default_headers=realm)

    def payment(self) -> dict[str, Any]:
        """The headers of one call: its name, and the voucher that pays it unless a key does."""
        named: dict[str, Any] = {"Idempotency-Key": uuid.uuid4().hex}
        if self._signer is None:
            return named
        import json

        import openai

        return named | {"Tollway-Voucher": json.dumps(self._voucher(self._signer)), "Authorization": openai.Omit()}

    def balance(self) -> Balance:
        """The account's balance. A key needs the right `manage`."""
        return read(Balance, self._gateway.get("/v1/balance"))

    def receipt(self, id: str) -> Receipt:
        """A receipt by its id or its call's."""
        return read(Receipt, self._gateway.get(f"/v1/receipts/{segment(id)}"))

    def check(self, receipt: SignedReceipt) -> None:
        """Check a receipt without the gateway's word: it and its sub-calls are of this lane and signed by gateways that
        the lane has now, and its price is what its terms make of its units. Conflict with what does not agree first.

        `tollway consumer verify` looks for it in its batch and on the chain as well.
        """
        signed = self._read(receipt)
        if signed.receipt.lane != address(self._lane["lane"]):
            raise Conflict(f"receipt {receipt.id} is of another lane, {to_hex(signed.receipt.lane)}")
        if signed.receipt.gateway not in self._gateways or not signed.is_signed(self._domain):
            raise Conflict(f"receipt {receipt.id} is not signed by one of the gateways of this lane")
        if isinstance(receipt, Receipt):
            receipts.due(receipt.model_dump(by_alias=True))
            for sub in receipt.subs:
                self.check(sub)

    def _read(self, receipt: SignedReceipt) -> facts.SignedReceipt:
        try:
            return receipts.signed(receipt.model_dump())
        except (LookupError, ValueError, TypeError) as error:
            raise Conflict(f"{receipt.id} is no receipt: {error}") from error

    def _voucher(self, signer: Signer) -> dict[str, object]:
        """A voucher above every one before it, of `most_a_call` more than what is spent."""
        known = self.balance()
        most = max(known.voucher + 1, known.spent + self._most)
        return credentials.voucher(signer, self._domain, Voucher(address(self._lane["lane"]), signer.address, most))

    @cached_property
    def _gateway(self) -> GatewayClient:
        if self._signer is None:
            return GatewayClient(self._url, self._key, realm=self._realm)
        sign = credentials.request(self._signer, self._domain, address(self._lane["lane"]))
        return GatewayClient(self._url, sign=sign, realm=self._realm)

    @cached_property
    def _lane(self) -> Json:
        return GatewayClient(self._url).get("/v1/lane")

    @property
    def _gateways(self) -> set[Address]:
        """The lane's gateways as they are now: one may have been added."""
        return {address(one) for one in GatewayClient(self._url).get("/v1/lane")["gateways"]}

    @cached_property
    def _domain(self) -> Domain:
        return credentials.domain_of(self._lane)


Some = TypeVar("Some", bound=Answer)


def read(kind: type[Some], answer: object) -> Some:
    """An answer as a value. Unavailable if it is not one."""
    try:
        return kind.model_validate(answer)
    except (ValidationError, Rejected) as error:
        what = f"the answer is no {kind.__name__.lower()}"
        raise Unavailable(f"{what}: is this a Tollway gateway, of this version? {error}") from error


def _plain(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, amounts as the gateway takes them."""
    return {name: str(value) if name == "max_price" else value for name, value in wanted.items()}
