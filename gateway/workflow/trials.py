"""A trial: a run of a workflow that is not published. Its steps are calls of the consumer's own.

There is no capsule that a receipt could name, and no weaver to pay. So each step that served has a receipt as any call
of its model has: on its terms, and with no call above it. The steps run as those of a published workflow (`run`), and
all receipts are written together. What differs follows from whose calls they are:

- The most that all steps may cost is held before the first is asked, each of the budget of its model. It never grows:
  a provider that is dearer than planned does not serve.
- The key must be allowed what each step calls, and each step counts against its rate.
- What served is paid by the consumer, whatever `failure` says. A published workflow inside keeps its own promise.
- Who is slower than a step's `timeout_ms` is not blamed, and no bond pays for it: the consumer chose it.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import structs

from gateway import bounds
from gateway.call.call import TIMER_STEP, Call, Charge, Request, late
from gateway.call.idempotency import JSON, StoredResponse
from gateway.catalog.catalog import CapsuleEntry, Catalog
from gateway.context import Gateway
from gateway.errors import ClientLeft, Refusal
from gateway.metering import openai
from gateway.metering.ask import CHAT, Ask, written
from gateway.payment.auth import Caller
from gateway.payment.billing import Billing
from gateway.workflow import steps
from gateway.workflow.completion import Holds, failure, note_earnings
from gateway.workflow.plan import Plan, PlannedStep
from gateway.workflow.run import Execution
from gateway.workflow.wasm import MAX_FUEL
from ledger.core.accounts.budgets import Allowance
from ledger.core.catalog import capsules, names
from ledger.core.catalog.bids import Line, Role, Terms
from ledger.core.catalog.capsules import MAX_STEPS, Policy
from ledger.core.pricing.price import compile_terms
from ledger.core.values.atoms import Atoms
from ledger.core.values.documents import Document, Json
from ledger.core.values.errors import Rejected
from ledger.core.values.hashes import keccak256
from ledger.core.values.ids import ZERO_ADDRESS, ZERO_DIGEST, Digest, cid, did, to_hex
from ledger.flows import receipt_log
from ledger.store.receipts import receipts
from ledger.store.receipts.receipts import Signed

PATH: Final = "/v1/try"
FREE: Final = compile_terms(Terms(ZERO_DIGEST, (Line(ZERO_ADDRESS, Role.weaver),)))
"""The terms of a trial's root call: it costs what its steps cost. No receipt names them."""


class Trial(Ask, frozen=True, kw_only=True):
    """A chat request to a workflow that came with it."""

    entry: CapsuleEntry


async def read(gateway: Gateway, catalog: Catalog, body: bytes) -> Trial:
    """A workflow and its input. Rejected, with the place, when it could not be published. A long one takes a second,
    so it is read in a thread that no other call waits for.
    """
    return await gateway.aside(lambda _: _read(gateway, catalog, body))


def _read(gateway: Gateway, catalog: Catalog, body: bytes) -> Trial:
    bounds.check_whole(body)
    try:
        whole = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"the body is not JSON: {error}") from error
    document, values = (whole.get("capsule"), whole.get("input")) if isinstance(whole, dict) else (None, None)
    if not isinstance(document, dict) or not isinstance(values, dict) or not isinstance(values.get("messages"), list):
        message = "a trial has `capsule`, the content of a capsule.json, and `input`, an object with `messages`"
        raise Refusal(400, "invalid_request", message, param="capsule")
    unknown = sorted(whole.keys() - {"capsule", "input"})
    if unknown:
        raise Refusal(400, "rejected", f"unknown field {unknown[0]!r}", param=unknown[0])
    size = len(written(document))
    if size > bounds.CAPSULE_BYTES:
        said = f"the capsule has {size} bytes, more than {bounds.CAPSULE_BYTES}"
        raise Refusal(413, "body_too_large", said, param="capsule")
    entry = _entry(gateway, catalog, document)
    asked = openai.read(CHAT, written({**values, "model": entry.name, "stream": False}))
    return Trial(**structs.asdict(asked), entry=entry)


def check_key(catalog: Catalog, caller: Caller, entry: CapsuleEntry) -> None:
    """Refuse a trial without a key, or with a step of what the key may not call. What a capability finds is limited to
    what it may call when the trial is planned.
    """
    if caller.key is None:
        raise Refusal(401, "missing_key", "a trial is paid by an API key: send `Authorization: Bearer tw_...`")
    for step in entry.capsule.steps.values():
        subject = step.model or step.capsule
        called = catalog.of_step(entry.capsule, step).by_id.get(subject) if subject is not None else None
        if called is not None and not caller.may_call(called.name, cid(called.id)):
            said = f"this key may not call {called.name}, which step {step.id} runs"
            raise Refusal(403, "model_not_allowed", said, param=step.id)


async def check_new(gateway: Gateway, request: Request) -> None:
    """Refuse a trial some of whose calls have a receipt: it was made. It is locked, so nobody makes it meanwhile."""
    ids = [_call_id(request.call_id, ordinal) for ordinal in range(MAX_STEPS)]
    found = await gateway.db(lambda session: receipts.by_calls(session, gateway.lane, ids))
    if not found:
        return
    charge = str(sum(one.receipt.price for one in found.values()))
    calls = [to_hex(call) for call in ids if call in found]
    said = "this trial was made and charged; its answer is not kept any more, the receipts of its steps are"
    again = Refusal(409, "answer_not_kept", said, facts={"calls": calls, "charge": charge})
    again.headers.append((b"x-should-retry", b"false"))
    raise again


async def serve(gateway: Gateway, request: Request, plan: Plan) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Run a trial, charge what served, and answer with its trace. Raises a Refusal when it failed and nothing did."""
    fuel = sum(planned.most.fuel for planned in plan.steps.values() if planned.glue is not None)
    if fuel > MAX_FUEL:  # nobody is paid for it
        said = (
            f"the glue of a trial may use {MAX_FUEL} fuel in all, and its runs may use {fuel}: publish it, or run less"
        )
        raise Refusal(400, "invalid_request", said, param="capsule")
    calls = sum(planned.step.paid for planned in plan.steps.values())
    gateway.authenticator.count(request.caller, max(0, calls - 1))  # the request itself was counted as one
    billing = request.billing(gateway, plan.catalog, plan.entry.name)
    called = {name for planned in plan.steps.values() for name in _called(planned)}
    allowances = {name: request.allowance(gateway, name) for name in called}
    holds = await Holds.take(gateway, billing, plan, _parts(plan, allowances))
    try:
        ask = request.ask
        execution = _Execution(
            gateway, plan, billing, ask.json, ask.body, late(gateway), asked=request, allowances=allowances
        )
        work = _answer(execution, holds)
        return await (work if gateway.tracing is None else gateway.tracing.workflow(plan.entry.name, work))
    finally:
        holds.release()


@dataclass(slots=True)
class _Execution(Execution):
    """The run of a trial, as it was `asked` for."""

    asked: Request = field(kw_only=True)
    allowances: Mapping[str, Allowance | None] = field(kw_only=True)
    """What the calls of each model are taken of: that of which their holds were."""
    unstored: list[bytes] = field(default_factory=list)
    """Terms that a receipt will name and no bid made."""

    async def afford(self, more: Atoms) -> None:
        raise Refusal(402, "above_max_price", f"it costs {more} atoms more than is held: a trial's hold does not grow")

    def call(
        self, planned: PlannedStep, values: Json, *, include_usage: bool = False, charge: Charge | None = None
    ) -> Call:
        call = Execution.call(self, planned, values, include_usage=include_usage, charge=charge)
        call.is_late_by_node = False
        return call

    def _subcall_billing(self, planned: PlannedStep, model: str) -> Billing:
        billing = self._of_model(Execution._subcall_billing(self, planned, model), model)
        ordinal = list(self.plan.steps).index(planned.step.id)
        return structs.replace(billing, call_id=_call_id(self.asked.call_id, ordinal), parent=ZERO_DIGEST)

    def _of_model(self, billing: Billing, model: str) -> Billing:
        return structs.replace(billing, model=model, allowance=self.allowances[model])

    def _bond_pays(self, inner: Execution) -> bool:
        is_late = asyncio.get_running_loop().time() >= inner.late_at - TIMER_STEP
        return not is_late and Execution._bond_pays(self, inner)

    def _take_over(self, planned: PlannedStep, inner: Execution) -> None:
        """A workflow that failed was a call of the consumer's own: what served in it is paid as that call."""
        root = inner.failed_root()
        self.guaranteed += inner.guaranteed
        if root is not None:
            self.unstored.append(root.tariff.body)
        charged = [root] if root is not None else inner.served
        self.served += [replace(one, step=planned.step.id) for one in charged]


async def _answer(trial: _Execution, holds: Holds) -> tuple[StoredResponse, tuple[Signed, ...]]:
    """Run, charge and answer. A consumer that leaves stops the steps that run, and pays for those that served."""
    client = trial.asked.client
    try:
        with client.presence:
            await trial.run()
    except ClientLeft:
        signed = await _charge(trial, holds)
        if not signed:
            raise
        left = Refusal(409, "client_abort", "the client left before the end: it paid for the steps that served")
        left.headers.append(_charged(signed))
        return client.refusal(left), signed
    step, body = trial.failed, b""
    reason = trial.reasons.get(step, "it failed") if step is not None else ""
    if step is None:
        try:
            body = written(_answer_body(trial))
        except Rejected as rejected:
            step, reason = "output", rejected.message
    signed = await _charge(trial, holds)
    if step is None:
        return StoredResponse(200, [*JSON, _charged(signed)], body), signed
    refused = failure(trial, step, reason, signed)
    if not signed:
        raise refused
    refused.headers.append(_charged(signed))
    return client.refusal(refused), signed


async def _charge(trial: _Execution, holds: Holds) -> tuple[Signed, ...]:
    """Charge what served, each call on its own terms."""
    if trial.unstored:
        await trial.gateway.db(lambda session: receipt_log.store_terms(session, trial.unstored))
    signed = await holds.charge(trial.gateway, trial.guaranteed, trial.served)
    for one in trial.served:
        note_earnings(trial.gateway, one)
    return signed


def _answer_body(trial: _Execution) -> dict[str, Any]:
    """The answer (`answers.Tried`). Rejected when the workflow's output names what is not there."""
    output = trial.output()
    return {
        "capsule": trial.plan.entry.name,
        "output": output,
        "text": steps.text_of(output),
        "charge": str(sum(one.price for one in trial.served)),
        "steps": trial.trace(),
    }


def _charged(signed: tuple[Signed, ...]) -> tuple[bytes, bytes]:
    return b"tollway-charge", b"%d" % sum(one.receipt.charge for one in signed)


def _call_id(trial: Digest, ordinal: int) -> Digest:
    """The id of the call of a trial's step: the same whenever the same trial is sent again, so it is charged once."""
    return keccak256(trial, bytes([ordinal]))


def _parts(plan: Plan, allowances: Mapping[str, Allowance | None]) -> dict[Allowance | None, Atoms]:
    """What is held for a trial, by the budgets it is taken of. A step that models with several budgets may serve is
    held for in each: which of them serves is not known.
    """
    parts: dict[Allowance | None, Atoms] = {}
    for planned in plan.steps.values():
        for allowance in {allowances[name] for name in _called(planned)}:
            parts[allowance] = parts.get(allowance, 0) + planned.price
    return parts


def _called(planned: PlannedStep) -> Iterator[str]:
    """The names of what may serve a step, but for glue."""
    yield from (model.name for model in planned.models)
    if planned.plan is not None:
        yield planned.plan.entry.name


def _entry(gateway: Gateway, catalog: Catalog, document: Document) -> CapsuleEntry:
    """A workflow as a catalog would have it. Models and workflows may be written `@org/name`."""
    fields = {name: value for name, value in document.items() if name != "$schema"}
    if not fields.get("weaver"):
        fields["weaver"] = did(gateway.domain.chain_id, ZERO_ADDRESS)
    rows = document.get("steps")
    if isinstance(rows, list):
        in_realm = any("realm" in _uses(row) for row in rows)
        fields["steps"] = [_with_ids(catalog, row, in_realm) for row in rows]
    capsule = capsules.capsule(fields)
    names.of_document(fields)
    if capsule.realm not in ("", catalog.realm):
        said = f"its steps run in the realm {capsule.realm}: send the header Tollway-Realm"
        raise Refusal(400, "invalid_request", said, param="Tollway-Realm")
    return CapsuleEntry(replace(capsule, policy=Policy.partial_ok), capsule.name, ZERO_ADDRESS, FREE, FREE)


def _uses(row: Json) -> Mapping[str, Json]:
    """What a row of `steps` says that it uses; empty when it is no step: its schema refuses it."""
    uses = row.get("uses") if isinstance(row, dict) else None
    return uses if isinstance(uses, dict) else {}


def _with_ids(catalog: Catalog, row: Json, in_realm: bool) -> Json:
    """A step whose model or workflow is named by id, as it is called where the step runs. Refused when there is none.

    Where a step names a realm (`in_realm`), those that do not run outside of it.
    """
    uses, named_in = _uses(row), catalog
    if in_realm and "realm" not in uses and catalog.outside is not None:
        named_in = catalog.outside
    ids = {
        kind: cid(named_in.find(name).id)
        for kind in ("model", "capsule")
        if isinstance(name := uses.get(kind), str) and name.startswith("@")
    }
    return {**row, "uses": {**uses, **ids}} if ids else row
