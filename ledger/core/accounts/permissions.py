"""Who may do what with an account: by its own signature, by one of its keys, or as a stranger. What an API key may
spend, how fast, on which models, until when; grants to gateways; what an account lets its lane debit.

    standing    who asks                                     may
    account     the account itself, by a fresh signature;    everything but spend above its voucher
                or a key of it with `manage`
    itself      a key, asked for itself and its own calls    call, read its calls and limits, tighten or rotate or
                                                             revoke itself; with `delegate` make sub-keys inside
                                                             its own limits
    above       a key with `delegate`, asked for a key that  read its limits, revoke it
                it made, or that such a key made
    stranger    anybody else, other keys of the account too  read the signed fields of a receipt in a public batch

Every route asks `may`. What is not listed is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from ledger.core.accounts import budgets
from ledger.core.accounts.budgets import Budget
from ledger.core.values.atoms import Atoms
from ledger.core.values.ids import Address

MAX_DEPTH = 4
"""How deep keys make sub-keys: a key of an account is at depth 0."""
MAX_SUB_KEYS = 1_000
"""Sub-keys that a key may have at a time, theirs included: each is a row that is read with every list."""


class Right(StrEnum):
    """What a key may do besides calls. `manage`: all that the account may. `delegate`: make sub-keys."""

    manage = "manage"
    delegate = "delegate"


class Act(Enum):
    """What is asked for."""

    read_public = auto()
    """The signed fields of a receipt that is in a public batch."""
    read_receipt = auto()
    """A whole receipt: also its salt, its key and its attempts, and before it is in a batch."""
    read_account = auto()
    """Lists and sums of an account: balance, deposits, receipts, statement, earnings, keys."""
    read_key = auto()
    change_key = auto()
    tighten_key = auto()
    rotate_key = auto()
    revoke_key = auto()
    make_key = auto()
    make_sub_key = auto()
    change_webhooks = auto()
    """Make, change, try and delete webhooks, and read what they were sent."""
    publish = auto()
    """Store a capsule's glue, which names no owner of its own. Documents and offers carry their signatures."""


class Standing(Enum):
    """How the one who asks stands to what it asks about."""

    stranger = auto()
    above = auto()
    itself = auto()
    account = auto()


MAY = {
    Standing.stranger: frozenset({Act.read_public}),
    Standing.above: frozenset({Act.read_public, Act.read_key, Act.revoke_key}),
    Standing.itself: frozenset(
        {Act.read_public, Act.read_receipt, Act.read_key, Act.tighten_key, Act.rotate_key, Act.revoke_key}
    ),
    Standing.account: frozenset(Act) - {Act.make_sub_key},
}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and its limits; None means no limit. Times are ms since the epoch.

    `rate` is calls a minute. `models` are names and CIDs. `spent` is exact for keys with a budget, and 0 for others; it
    has what sub-keys spent. `budgets` are those beside `budget`, of a period or a model. `made_by` are the ids of the
    keys that it descends from, the first one first. Its `id` stays when its secret, and so its `hash`, is rotated.
    `realm` is where its calls run unless they say otherwise, a realm's name or a token of it: it limits nothing, and
    gives no right that the account has not.
    """

    hash: bytes
    id: str
    consumer: Address
    label: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    budget: Atoms | None = None
    rate: int | None = None
    models: tuple[str, ...] | None = None
    rights: tuple[Right, ...] = ()
    made_by: tuple[str, ...] = ()
    realm: str | None = None
    spent: Atoms = 0
    budgets: tuple[Budget, ...] = ()
    last_used_at: int | None = None


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: an account, by its own signature if `key` is None, else by this key."""

    account: Address
    key: ApiKey | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is asked about: an account, or what is one key's: the key itself, or a call that it made."""

    account: Address
    key_id: str | None = None
    made_by: tuple[str, ...] = ()


def standing(asker: Asker | None, subject: Subject) -> Standing:
    """How `asker`, None for nobody known, stands to a subject."""
    if asker is None or asker.account != subject.account:
        return Standing.stranger
    key = asker.key
    if key is None or Right.manage in key.rights:
        return Standing.account
    if key.id == subject.key_id:
        return Standing.itself
    if Right.delegate in key.rights and key.id in subject.made_by:
        return Standing.above
    return Standing.stranger


def may(asker: Asker | None, act: Act, subject: Subject) -> bool:
    """Whether `asker` may do this. The one place where it is decided."""
    stands = standing(asker, subject)
    if act is Act.make_sub_key and stands is Standing.itself:
        return asker is not None and asker.key is not None and Right.delegate in asker.key.rights
    return act in MAY[stands]


def refusal(keys: Sequence[ApiKey], now: int) -> str | None:
    """Why a key, given with the keys it descends from, may not be used at `now`; None if it may.

    Each must be good: in [created, expires), and not revoked.
    """
    for key in keys:
        if key.revoked_at is not None:
            return "this key was revoked"
        if key.expires_at is not None and now >= key.expires_at:
            return "this key has expired"
    return None


def may_call(keys: Sequence[ApiKey], name: str, asked: str) -> bool:
    """Whether a key, given with the keys it descends from, may call a model: by its `@org/name`, or as the request
    names it (name or CID).
    """
    return all(key.models is None or name in key.models or asked in key.models for key in keys)


def loosened(old: ApiKey, new: ApiKey) -> str | None:
    """The first limit that `new` has looser than `old`; None when it is as tight or tighter."""
    for name in ("budget", "rate", "expires_at"):
        before, after = getattr(old, name), getattr(new, name)
        if before is not None and (after is None or after > before):
            return name
    if not budgets.is_within(old.budgets, new.budgets):
        return "budgets"
    if old.models is not None and (new.models is None or not set(new.models) <= set(old.models)):
        return "models"
    return None if set(new.rights) <= set(old.rights) else "rights"


def left(keys: Sequence[ApiKey]) -> ApiKey:
    """A key, given first with the keys it descends from, and as budget what neither has spent of theirs."""
    rest = [max(0, key.budget - key.spent) for key in keys if key.budget is not None]
    return replace(keys[0], budget=min(rest, default=None))


def sub_key(outer: ApiKey, wanted: ApiKey) -> ApiKey:
    """The key that a key with `delegate` makes. A limit that is not named is what is `left` of the maker's; a budget of
    a period or a model the maker's whole one, since what the key spends counts against that too. A realm that is not
    named is the maker's.
    """
    parts = ("budget", "rate", "expires_at", "models", "realm")
    inherited = {name: getattr(outer, name) for name in parts if getattr(wanted, name) is None}
    made_by, both = (*outer.made_by, outer.id), budgets.merged(outer.budgets, wanted.budgets)
    return replace(wanted, made_by=made_by, budgets=both, **inherited)


def grant(left: Atoms, need: Atoms, target: Atoms) -> Atoms:
    """A gateway's part of a deposit or budget: the target, at least the need; 0 when less than the need is left.

    Above the need it is at most a quarter of what is left, so that other gateways get some too.
    """
    return max(need, min(target, left // 4)) if need <= left else 0


def mandate(cum_max: Atoms, debit_at_exit: Atoms, paid_in: Atoms) -> Atoms:
    """The most a lane may ever debit an account. `Questions.answerMandate` has the same rule on chain.

    `cum_max` is its highest voucher's, `debit_at_exit` its debit when it last left the lane, `paid_in` what it paid by
    x402 and was booked since: such an authorization says that it pays for calls, as a voucher does.
    """
    return max(cum_max, debit_at_exit) + paid_in
