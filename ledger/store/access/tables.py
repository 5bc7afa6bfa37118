"""Tables of an account's means: leases of its deposit, vouchers and requests it signed, API keys, deposits to relay,
permits to settle; and of its webhooks.
"""

from sqlalchemy import Index, String, UniqueConstraint, column
from sqlmodel import Field, SQLModel

from ledger.store.columns import big, maybe_big, maybe_octets, octets


class LeaseRow(SQLModel, table=True):
    """A slice of a consumer's deposit handed to one gateway to spend. State: open, closed."""

    __tablename__ = "leases"
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    consumer: bytes = octets(index=True)
    gateway: bytes = octets()
    amount: int = big()
    spent: int = big()
    expires_at: int = big(index=True)
    state: str = Field()


class VoucherRow(SQLModel, table=True):
    """The highest voucher of each signer of an account, itself or a session key: the most a lane may ever debit it.

    `call` is the call that it opened, `request` the digest of that and its body. Both are None when it made an API key,
    which needs no voucher any more.
    """

    __tablename__ = "vouchers"
    lane: bytes = octets(key=True)
    account: bytes = octets(key=True)
    signer: bytes = octets(key=True)
    cum_max: int = big()
    signature: bytes = octets()
    call: bytes | None = maybe_octets()
    request: bytes | None = maybe_octets()


class SignedRequestRow(SQLModel, table=True):
    """A change that an account signed, kept while the signature is fresh, so that it cannot be sent again."""

    __tablename__ = "signed_requests"
    lane: bytes = octets(key=True)
    digest: bytes = octets(key=True)
    until: int = big(index=True)


class ApiKeyRow(SQLModel, table=True):
    """A key `tw_...`, known only by its hash, which a rotation changes; `id` stays.

    `rights`, `models` and `budgets` are JSON lists. `made_by` has the ids of the keys it descends from, the first one
    first, each with a slash behind it.
    """

    __tablename__ = "api_keys"
    __table_args__ = (UniqueConstraint("lane", "id", name="api_keys_id"),)
    lane: bytes = octets(key=True)
    hash: bytes = octets(key=True)
    id: str = Field()
    consumer: bytes = octets(index=True)
    label: str = Field(default="")
    created_at: int = big()
    expires_at: int | None = maybe_big()
    revoked_at: int | None = maybe_big()
    budget: int | None = maybe_big()
    rate: int | None = maybe_big()
    models: str | None = Field(default=None)
    rights: str = Field(default="[]")
    made_by: str = Field(default="")
    budgets: str = Field(default="[]")
    last_used_at: int | None = maybe_big()
    realm: str | None = Field(default=None)


class KeyAllowanceRow(SQLModel, table=True):
    """The part of a key's budgets one gateway may spend, and what it has spent, written with the receipts.

    `key` is the key's id. `day` is the day since 1970 that the calls are held in, 0 where no budget of the key's line
    has a period; `model` the model's name, empty where it has no budget of its own.
    """

    __tablename__ = "key_allowances"
    lane: bytes = octets(key=True)
    key: str = Field(primary_key=True)
    gateway: bytes = octets(key=True)
    day: int = big(key=True)
    model: str = Field(primary_key=True)
    amount: int = big()
    spent: int = big()


class CredentialRow(SQLModel, table=True):
    """A header that a provider's own server requires, encrypted with a key that only the gateways have."""

    __tablename__ = "credentials"
    provider: bytes = octets(key=True)
    subject: bytes = octets(key=True)
    nonce: bytes = octets()
    encrypted: bytes = octets()
    at: int = big()


class DepositRow(SQLModel, table=True):
    """A deposit that a consumer signed and the worker relays: stored before the consumer gets an answer."""

    __tablename__ = "deposits_requested"
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    account: bytes = octets(index=True)
    amount: int = big()
    valid_after: int = big()
    valid_before: int = big()
    salt: bytes = octets()
    signature: bytes = octets()
    kind: str = Field(default="authorization", description="authorization (ERC-3009 receive) or inbox (x402 exact)")
    status: str = Field(index=True, description="requested, sent, credited, failed")
    requested_at: int = big()
    call: bytes | None = maybe_octets()
    block: int | None = maybe_big()
    error: str | None = Field(default=None)


class PermitRow(SQLModel, table=True):
    """A permit by which a payer lets a call be paid for after it was made (x402's `upto`), stored before any work.

    `account` advances the price. `call` is the one that it pays for, `request` the digest of that and its body. What
    was charged is settled from `least` atoms on.
    """

    __tablename__ = "permits"
    __table_args__ = (
        UniqueConstraint("lane", "call", name="permits_call"),
        Index("ix_permits_live", "lane", postgresql_where=column("status", String).not_in(("settled", "failed"))),
    )
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    payer: bytes = octets(index=True)
    payee: bytes = octets()
    facilitator: bytes = octets()
    token: bytes = octets()
    amount: int = big()
    valid_after: int = big()
    deadline: int = big()
    nonce: bytes = octets()
    signature: bytes = octets()
    account: bytes = octets()
    call: bytes = octets()
    request: bytes = octets()
    least: int = big()
    status: str = Field(index=True, description="core.accounts.permits.Status")
    charged: int | None = maybe_big()
    block: int | None = maybe_big()
    error: str | None = Field(default=None)
    requested_at: int = big()
    checked_at: int = big()


class ChannelRow(SQLModel, table=True):
    """A channel of x402's `batch-settlement`: what it is, its totals in atoms, and the deposit that was sent with a
    call last (`deposit` atoms; 0 when none waits).

    `voucher` is the highest total that its payer signed, `published` the highest that a claim has shown. `leaving` is
    when it asked for the rest (seconds), 0 if it did not; `claiming` the total of the claim on its way. A claim costs
    `least` atoms.
    """

    __tablename__ = "channels"
    lane: bytes = octets(key=True)
    id: bytes = octets(key=True)
    payer: bytes = octets(index=True)
    payer_authorizer: bytes = octets()
    receiver: bytes = octets()
    receiver_authorizer: bytes = octets()
    token: bytes = octets()
    withdraw_delay: int = big()
    salt: bytes = octets()
    status: str = Field(index=True, description="core.accounts.channels.Status")
    balance: int = big()
    claimed: int = big()
    leaving: int = big()
    charged: int = big()
    voucher: int = big()
    signature: bytes = octets()
    published: int = big()
    claiming: int | None = maybe_big()
    least: int = big()
    deposit: int = big()
    deposit_after: int = big()
    deposit_before: int = big()
    deposit_salt: bytes = octets()
    deposit_signature: bytes = octets()
    error: str | None = Field(default=None)
    requested_at: int = big()
    checked_at: int = big()
    used_at: int = big()
    claimed_at: int = big()


class ChannelCallRow(SQLModel, table=True):
    """A call that a channel pays for, stored before any work: `account` advances it, it may cost `most` atoms, and it
    is over by `until` (ms). `charged` is what its receipt says.
    """

    __tablename__ = "channel_calls"
    __table_args__ = (
        Index("ix_channel_calls_channel", "lane", "channel"),
        Index("ix_channel_calls_open", "lane", postgresql_where=column("status", String).in_(("held", "released"))),
    )
    lane: bytes = octets(key=True)
    call: bytes = octets(key=True)
    channel: bytes = octets()
    account: bytes = octets()
    most: int = big()
    status: str = Field(description="core.accounts.channels.CallStatus")
    charged: int | None = maybe_big()
    until: int = big()


class WebhookRow(SQLModel, table=True):
    """Where an account wants to be told of events. `kinds` is a JSON list, `threshold` atoms of a low balance.

    `encrypted` is its secret, which only the gateways can read. It is left alone until `rests_until`. `looked_at` is
    when its account's balance was last compared with its threshold.
    """

    __tablename__ = "webhooks"
    lane: bytes = octets(key=True)
    id: str = Field(primary_key=True)
    account: bytes = octets(index=True)
    url: str = Field()
    kinds: str = Field()
    threshold: int | None = maybe_big()
    nonce: bytes = octets()
    encrypted: bytes = octets()
    created_at: int = big()
    disabled_at: int | None = maybe_big()
    disabled_because: str | None = Field(default=None)
    failing_since: int | None = maybe_big()
    rests_until: int = big()
    tried_at: int = big()
    looked_at: int = big()


class WebhookMessageRow(SQLModel, table=True):
    """A message to a webhook: its id follows from its cause, so a cause is one message. It is due at `next_at`, which
    is moved on before it is sent; absent when it is over. `answer` is the HTTP status of the last attempt.
    """

    __tablename__ = "webhook_messages"
    __table_args__ = (Index("webhook_messages_due", "lane", "hook", "next_at"),)
    lane: bytes = octets(key=True)
    hook: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    kind: str = Field()
    body: str = Field()
    created_at: int = big(index=True)
    status: str = Field()
    attempts: int = big()
    next_at: int | None = maybe_big()
    answer: int | None = maybe_big()
    error: str | None = Field(default=None)
    ended_at: int | None = maybe_big()


class WebhookConditionRow(SQLModel, table=True):
    """What a webhook was told of and still holds, such as a low balance: it is told again when it begins anew."""

    __tablename__ = "webhook_conditions"
    lane: bytes = octets(key=True)
    hook: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    since: int = big()
