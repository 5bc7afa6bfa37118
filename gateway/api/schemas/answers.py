"""What routes answer, as pydantic models: for the routes, for OpenAPI, and for clients. Pure, as `bodies`.

Amounts are ints of atoms in Python and decimal strings in JSON. A field with a default is there only where it says
something. An answer may have more fields than its model here: a client of this version reads those of a later one. The
patterns are said, and tests hold every answer to them; a gateway does not refuse its own answer over one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from ledger.core.values import atoms
from ledger.core.values.atoms import Atoms

WHOLE = r"^(0|[1-9][0-9]{0,18})$"
Amount = Annotated[
    Atoms,
    BeforeValidator(atoms.parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": WHOLE, "description": "whole atoms, as a decimal string"}),
]
Hex = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]*$"})]
Hex32 = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$"})]
HexAddress = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{40}$"})]
Cid = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^bafkrei[a-z2-7]{52}$"})]
Ms = Annotated[int, Field(description="ms since the epoch")]
Ppm = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 1_000_000})]
"""Millionths."""
Counts = Annotated[dict[str, int], Field(description="counts above 0 by the names of meters")]
Rates = Annotated[dict[str, str], Field(description="atoms for a meter's scale, by the names of meters")]


class Answer(BaseModel):
    """What every answer is: it cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, serialize_by_alias=True)


# Errors.


class Failure(Answer):
    """What went wrong, in words and as a code; amounts and other facts stand beside them. What a node said of a request
    that every node refuses is passed on, and may have the message alone.
    """

    message: str
    type: str = ""
    code: str | int | None = None
    param: str | None = None


class Failed(Answer):
    """Every answer of status 400 and above, but for those of health."""

    error: Failure
    type: str = ""
    """Where Anthropic's clients ask: error."""
    x402_version: int = Field(2, alias="x402Version", description="of a 402: the version of x402 that is spoken")
    accepts: list[dict[str, str]] = Field([], description="of a 402: a word for clients of x402's version 1")


class FailedTensors(Answer):
    """The same in the Open Inference Protocol: the message is a text, and the rest may stand beside it."""

    error: str
    message: str = ""
    type: str = ""
    code: str | int | None = None
    param: str | None = None


class FailedMessage(Failed):
    """The same as Anthropic's clients read it."""

    type: Literal["error"]


# Accounts.


class Balance(Answer):
    """An account's money in the lane: `available` is nobody's hold, `leased` is held by gateways, `voucher` is the most
    the lane may ever debit.
    """

    account: HexAddress
    lane: HexAddress
    available: Amount
    leased: Amount
    withdrawing: Amount
    spendable: Amount
    spent: Amount
    voucher: Amount
    deposited: Amount


class Deposit(Answer):
    """A deposit or credit on its way, and why it failed."""

    id: Hex32
    status: Literal["requested", "sent", "credited", "failed"]
    amount: Amount
    account: HexAddress
    reason: str = ""


class RoleEarned(Answer):
    """What a payee earned in one role."""

    role: str
    earned: Amount
    unsettled: Amount


class Earnings(Answer):
    """What a payee earned: in all, by role, and what of it can be claimed or was."""

    payee: HexAddress
    index: int | None
    roles: list[RoleEarned]
    earned: Amount
    claimable: Amount
    claimed: Amount


class EpochEarned(Answer):
    """What public batches of an epoch pay a payee in a role."""

    epoch: int
    starts_at: Ms
    role: str
    earned: Amount


class WaitingShare(Answer):
    """What a public batch that is not final pays a payee. It can be challenged `until`; null while it is not posted."""

    batch: int
    status: Literal["signed", "posted"]
    role: str
    earned: Amount
    until: Ms | None


class ModelEarned(Answer):
    """What a payee earned with a model in a role, by the calls that were replayed."""

    model: str
    role: str
    calls: int
    earned: Amount


class PayeeStake(Answer):
    """A party's stake: active, leaving, and when that is free."""

    active: Amount
    unbonding: Amount
    release_at: Ms


class Provided(Answer):
    """A model that a payee provides, and what this gateway measured; null where it measured nothing yet."""

    model: str
    ready: bool
    tier: str
    since: Ms
    quality_ppm: Ppm | None
    latency_ms: int | None
    calls: int
    errors: int
    refusals: int


class Replayed(Answer):
    """The calls of the last week's public batches that were replayed, from the newest back: how many, from the first's
    end to the last's; `whole` if that is all of them.
    """

    calls: int
    first: Ms | None
    last: Ms | None
    whole: bool


class Payee(Answer):
    """A payee's public record in a lane. `settled` is what final batches paid it in all: `claimable` is what of it is
    not claimed. `epochs` are of the newest public batches.
    """

    payee: HexAddress
    lane: HexAddress
    index: int | None
    settled: Amount
    claimed: Amount
    claimable: Amount
    waiting: list[WaitingShare]
    epochs: list[EpochEarned]
    models: list[ModelEarned]
    replayed: Replayed
    stake: PayeeStake | None
    provides: list[Provided]


class WhatIfPoint(Answer):
    """Had the payee asked `change_ppm` more (less below 0): what the same calls would have paid, and what is expected
    when they are drawn again by the odds of now; without `left_out` calls, which a cap or a list price forbids then.
    """

    change_ppm: int
    earned: Amount
    expected: Amount
    left_out: int


class WhatIf(Answer):
    """A payee's public calls, replayed at other asks. Without calls there are no points."""

    payee: HexAddress
    replayed: Replayed
    points: list[WhatIfPoint]


# Receipts.


class ReceiptFields(Answer):
    """What a gateway signs of a call. The consumer pays `charge`; `price` includes the sub-calls."""

    call_id: Hex32
    parent: Hex32
    lane: HexAddress
    gateway: HexAddress
    seq: int
    consumer: HexAddress
    terms: Hex32
    epoch: int
    subcalls: int
    subcall_total: Amount
    price: Amount
    charge: Amount
    end: str
    ended_at: Ms
    request_digest: Hex32
    response_digest: Hex32
    units: Counts


class Noted(Answer):
    """A gateway's unsigned notes beside a receipt, for those who made the call."""

    model: str = ""
    salt: str = ""
    started: Ms = 0
    provider: str | None = None
    key: str | None = None
    attempts: list[dict[str, Any]] = []
    slot: str = ""
    parent: str = ""


class ListedReceipt(ReceiptFields):
    """A receipt in a list."""

    id: str
    noted: Noted


class Receipts(Answer):
    """A page of receipts, newest first."""

    object: Literal["list"]
    data: list[ListedReceipt]
    has_more: bool
    before: Ms | None


class Line(Answer):
    """One party's claim in terms: a share of the price, or rates of its own."""

    party: HexAddress
    role: str
    ratio_ppm: Ppm
    ask: Rates


class Deduction(Answer):
    """What a referred or sponsored call takes from its sponsor's line, which is the line of index `sponsor`."""

    sponsor: int
    curator: HexAddress | None
    offer_ppm: Ppm
    keep_ppm: Ppm
    promotion: Amount
    surface: HexAddress | None
    treasury: HexAddress


class Terms(Answer):
    """What prices a call: the list price, or the lines that make it up."""

    subject: Cid
    list_price: Amount | None
    lines: list[Line]
    deduction: Deduction | None = Field(default=None, alias="carve")
    body: Hex = "0x"


class SigningDomain(Answer):
    """The EIP-712 domain of the lane's signatures."""

    name: str
    version: str
    chainId: int
    verifyingContract: HexAddress


class Place(Answer):
    """The batch that a receipt is in. Once it is `public`, so is the receipt."""

    number: int
    status: str
    public: bool


class SignedReceipt(Answer):
    """A receipt with its gateway's signature. `claimed` are the units that are the node's word."""

    id: str
    receipt: ReceiptFields
    digest: Hex32
    signature: Hex
    units: Counts
    claimed: Counts
    domain: SigningDomain
    noted: Noted | None = None


class Receipt(SignedReceipt):
    """A receipt with its terms, the receipts of its sub-calls, and its batch."""

    terms: Terms
    subs: list[SignedReceipt]
    batch: Place | None


# Keys.


class ShownBudget(Answer):
    """A budget, and what is left of it in its period, which is [starts_at, resets_at); null: ever."""

    amount: Amount
    period: Literal["day", "week", "month"] | None
    model: str | None
    spent: Amount
    left: Amount
    starts_at: Ms | None
    resets_at: Ms | None


class Key(Answer):
    """A key's limits and rights, and what it and its sub-keys have spent."""

    id: str
    object: Literal["key"]
    label: str
    account: HexAddress
    created_at: Ms
    expires_at: Ms | None
    revoked_at: Ms | None
    budget: Amount | None
    spent: Amount | None
    left: Amount | None
    budgets: list[ShownBudget]
    last_used_at: Ms | None
    rate: int | None
    models: list[str] | None
    rights: list[str]
    made_by: list[str]
    realm: str | None


class NewKey(Key):
    """A key with its secret, which is shown this once."""

    key: str


class Keys(Answer):
    """The keys that the caller may see."""

    object: Literal["list"]
    data: list[Key]


class Revoked(Answer):
    """A key that is revoked."""

    id: str
    object: Literal["key"]
    deleted: bool


# Webhooks.


class Webhook(Answer):
    """Where an account is told of events. It is disabled when nothing was delivered for days; `failing_since` then says
    since when.
    """

    id: str
    object: Literal["webhook"]
    account: HexAddress
    url: str
    events: list[str]
    threshold: Amount | None
    enabled: bool
    disabled_because: str | None
    failing_since: Ms | None
    created_at: Ms


class NewWebhook(Webhook):
    """A webhook with the secret that its messages are signed with, which is shown this once."""

    secret: str


class Webhooks(Answer):
    """An account's webhooks."""

    object: Literal["list"]
    data: list[Webhook]


class RemovedWebhook(Answer):
    """A webhook that is deleted, with its messages."""

    id: str
    object: Literal["webhook"]
    deleted: bool


class WebhookMessage(Answer):
    """A message to a webhook, by its `webhook-id`. `answer` is the HTTP status of the last attempt, `error` why that
    was no success. `next_at` is when it is tried again.
    """

    id: str
    object: Literal["webhook.message"]
    event: str
    status: Literal["waiting", "delivered", "failed"]
    attempts: int
    answer: int | None
    error: str | None
    created_at: Ms
    next_at: Ms | None
    ended_at: Ms | None
    body: str


class WebhookMessages(Answer):
    """A webhook's messages, the newest first."""

    object: Literal["list"]
    data: list[WebhookMessage]


# Models.


class Provider(Answer):
    """Who serves a model: its own price and speed, as the gateway measured them. `since`: offered without a break."""

    provider: HexAddress
    ready: bool
    tier: str
    since: Ms
    pricing: Rates
    capacity: int
    quality_ppm: Ppm | None
    latency_ms: int | None
    round_trip_ms: int | None
    calls: int
    errors: int
    refusals: int
    terms: Hex32


class Curation(Answer):
    """What a model's sponsor offers curators, and for how many calls."""

    sponsor: HexAddress
    role: str
    offer_ppm: Ppm
    window_calls: int


class Model(Answer):
    """A model or workflow in OpenAI's and OpenRouter's format, with Tollway's facts."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: HexAddress
    cid: Cid
    version: str
    kind: str
    ready: bool
    why: str = ""
    protocols: list[str]
    pricing: dict[str, str]
    currency: str
    name: str
    description: str
    context_length: int | None
    canonical_slug: Cid
    architecture: dict[str, Any]
    top_provider: dict[str, Any]
    per_request_limits: None
    supported_parameters: list[str]
    default_parameters: None
    supported_voices: None
    links: dict[str, str]
    tasks: list[str] = []
    size_bytes: int | None = None
    memory_mb: int | None = None
    providers: list[Provider] = []
    steps: list[str] = []
    terms: Terms | None = None
    curation: Curation | None = None


class Links(Answer):
    """The next page."""

    next: str | None


class Models(Answer):
    """A page of models, by name."""

    object: Literal["list"]
    data: list[Model]
    total_count: int
    links: Links


# The network.


class Published(Answer):
    """A document or glue that is published."""

    id: Cid
    digest: str
    name: str = ""
    size: int = 0
    exports: list[str] = []


class Offered(Answer):
    """An offer that stands, or is withdrawn: `ended` says whether one was in force."""

    subject: Cid
    party: HexAddress
    expires_epoch: int = 0
    order: str = ""
    withdrawn: bool = False
    ended: bool = False


class RealmMembers(Answer):
    """How many accounts a realm has, and has expelled."""

    realm: str
    members: int
    expelled: int


class Found(Answer):
    """A model that can do a task, with its best provider's price for the expected meters, or a sponsored row."""

    subject: Cid
    name: str
    price: Amount
    score: int
    tier: str | None
    latency_ms: int | None
    near_ms: int | None
    quality_ppm: Ppm | None
    size_bytes: int | None = None
    memory_mb: int | None = None
    declared: dict[str, Any]
    sponsored: bool
    promo_second_price: Amount = 0
    sponsor: HexAddress = ""
    sponsor_role: str = ""


class Diagnostic(Answer):
    """Why nothing was found, and what comes nearest."""

    message: str
    required: dict[str, Any]
    tasks_here: list[str]
    nearest: list[dict[str, Any]]


class Discovered(Answer):
    """What can do a task, best first below the sponsored rows."""

    epoch: int
    book_root: Hex32
    results: list[Found]
    diagnostic: Diagnostic | None = None


class QuotedLine(Answer):
    """One party's part of a quoted price."""

    id: str
    party: str
    role: str
    ratio_ppm: Ppm
    fixed: Amount
    amount: Amount


class QuotedStep(Answer):
    """A workflow's step in a quote."""

    step: str
    subject: Cid
    provider: HexAddress = ""
    price: Amount
    lines: list[QuotedLine]
    subs: list[QuotedStep]


class Quote(Answer):
    """What a call costs now, and what is held while it runs. The gateway signs the canonical JSON of the rest."""

    schema_: Literal["tollway/quote/1"] = Field(alias="schema")
    subject: Cid
    mode: Literal["listed", "composed"]
    price: Amount
    hold: Amount
    lines: list[QuotedLine]
    subs: list[QuotedStep]
    epoch: int
    book_root: Hex32
    route_seed: Hex32
    expires_at: str
    gateway: str
    signature: Hex


class AtStake(Answer):
    """What the bond stands for: charged and not final, and leased; the most that may be."""

    charged: Amount
    leased: Amount
    limit: Amount


class Lane(Answer):
    """A gateway's lane: chain, contracts, operator, epoch, terms, bond, gateways. Null where there is no chain."""

    chain_id: int
    lane: HexAddress
    deployment: dict[str, Any]
    operator: HexAddress
    signer: HexAddress
    treasury: HexAddress
    domain: SigningDomain
    epoch: int
    epoch_seconds: int
    window: int | None
    answer_time: int | None
    leverage: int | None
    min_deposit: Amount
    stake_per_call: Amount
    bond: Amount | None
    active: bool
    era: int | None
    exit_notice: int
    gateway_number: int | None
    gateways: list[HexAddress]
    at_stake: AtStake
    serves: bool
    custody: Amount
    rpc: str | None
    url: str | None
    time: str


class BookRow(Answer):
    """A bid in force."""

    subject: Hex32
    role: str
    party: HexAddress
    ratio_ppm: Ppm
    ask: Rates
    from_epoch: int
    until_epoch: int | None


class BidBook(Answer):
    """A page of the bids in force in an epoch, by subject, role and party, and the root of all of them."""

    epoch: int
    root: Hex32
    bids: list[BookRow]
    total_count: int
    links: Links


# Batches and proofs.


class Range(Answer):
    """Receipts of one gateway in a batch."""

    number: int
    gateway: HexAddress
    first: int
    count: int


class Batch(Answer):
    """A batch: its header, its sums, and where it stands."""

    number: int
    lane: HexAddress
    status: str
    chain_id: int | None
    calls: int
    total: Amount
    cumulative: Amount
    epoch: int
    header_id: Hex
    header: dict[str, Any]
    file: str
    built_at: int | None
    posted_at: int | None
    until: int | None
    final_at: int | None


class ShownBatch(Batch):
    """A batch, and the receipts it covers."""

    ranges: list[Range]


class Batches(Answer):
    """A page of batches, newest first: while `has_more`, the next one begins below the number `before`."""

    object: Literal["list"]
    data: list[Batch]
    has_more: bool
    before: int | None


class Proof(Answer):
    """A cumulative amount in the newest final batch, and its Merkle proof, leaf level first."""

    lane: HexAddress
    batch: int
    chain_batch: int
    account: HexAddress
    index: int
    cumulative: Amount
    proof: list[Hex]
    root: Hex32


class ReceiptProof(Answer):
    """Where a receipt stands in its batch: itself after its sub-calls, as the batch's file has them, and the way to the
    header's root.
    """

    batch: ShownBatch
    first: int
    receipts: list[Hex]
    barred: list[int]
    siblings: list[Hex]


# Statements.


class StatementLine(Answer):
    """A line of a call: what a party paid or earned of it, and why."""

    at: Ms
    side: str
    role: str
    model: str
    amount: Amount
    why: str
    ratio_ppm: Ppm
    ask: Rates
    units: Counts
    price: Amount
    receipt: str
    call_id: Hex32
    consumer: HexAddress
    payee: HexAddress
    terms: Hex32
    batch: int | None
    stage: str


class Total(Answer):
    """The sum of a page's lines of one side, role and model."""

    side: str
    role: str
    subject: Cid
    lines: int
    atoms: Amount


class Moved(Answer):
    """Money that moved without a call. `amount` is what the account grew by, negative if it shrank."""

    at: Ms
    kind: str
    account: str
    amount: str
    transaction: Hex32


class Statement(Answer):
    """A page of a party's statement."""

    address: HexAddress
    lines: list[StatementLine]
    totals: list[Total]
    movements: list[Moved]
    next: str | None


# Health, and the Open Inference Protocol.


class Health(Answer):
    """Whether calls can be charged, and if not, why."""

    status: str
    reason: str | None
    lane: HexAddress
    signer: HexAddress
    epoch: int
    models: int
    workflows: int
    open_calls: int
    at_stake: AtStake
    bond: Literal["ok", "nearly_reached", "reached"]


class ShownAlarm(Answer):
    """One thing that is wrong, and a command or a page that helps. An alarm of a law names the first account and
    receipt where it shows.
    """

    name: str
    message: str
    account: str | None
    receipt: str | None
    remedy: str


class SeenGateway(Answer):
    """A gateway that did not stop, and how long ago it showed that it is alive."""

    gateway: HexAddress
    seen_ms: int


class Alarms(Answer):
    """What is wrong with a lane now, the most urgent first; and how long the oldest of each kind waits, in ms, 0 when
    nothing does.
    """

    object: Literal["list"]
    data: list[ShownAlarm]
    unposted_ms: int
    unbatched_ms: int
    uncommitted_ms: int
    indexed_ms: int
    questions: int
    gateways: list[SeenGateway]


class Server(Answer):
    """Name, version and extensions of this server."""

    name: str
    version: str
    extensions: list[str]


class Live(Answer):
    """Whether the process runs."""

    live: bool


class Ready(Answer):
    """Whether calls can be charged."""

    ready: bool


class ModelReady(Answer):
    """Whether a model can be called."""

    name: str
    ready: bool


class Tensor(Answer):
    """A tensor that a model reads or writes; -1 is a dimension of any size."""

    name: str
    datatype: str
    shape: list[int]


class Tensors(Answer):
    """A model's tensors, as its document declares them."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


# Images and recordings.


class Image(Answer):
    """One image: its bytes in base64, or where its node keeps it for a while."""

    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class Step(Answer):
    """The end of a step in a workflow's trace: times are ms since the workflow began. What was served has a `price`,
    and by one call its `call` and `model`.
    """

    step: str
    status: Literal["ok", "error", "skipped"]
    began_ms: int
    ms: int
    price: Amount | None = None
    call: Hex32 | None = None
    model: str | None = None
    reason: str | None = None


class Tried(Answer):
    """What a workflow that is not published answered: its output as it is and as a text, and what its steps cost."""

    capsule: str
    output: Any
    text: str
    charge: Amount
    steps: list[Step]


class Images(Answer):
    """As many images as were asked for, or fewer."""

    data: list[Image]
    created: int | None = None
    model: str | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: dict[str, Any] | None = None


class Transcription(Answer):
    """What a recording says; with `verbose_json` and `diarized_json` also when, and by whom."""

    text: str
    model: str | None = None
    task: str | None = None
    language: str | None = None
    duration: float | str | None = None
    segments: list[dict[str, Any]] | None = None
    words: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None
    usage: dict[str, Any] | None = None
