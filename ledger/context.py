"""A worker process's means: its database, its lane, and the chain if there is one. One a process."""

from dataclasses import dataclass, replace
from functools import cached_property

from sqlalchemy import Engine

from ledger import keystore
from ledger.chain.reads import Chain
from ledger.core.settlement.transactions import Policy
from ledger.core.values.ids import Address, address
from ledger.core.values.typed_data import Domain
from ledger.deployments import Deployment, load
from ledger.flows import audits, batches, indexer
from ledger.settings import Settings
from ledger.store.session import connect

GWEI = 10**9


@dataclass(frozen=True)
class Context:
    """Each part is opened when it is first used, so that a forked worker opens its own."""

    settings: Settings

    @cached_property
    def engine(self) -> Engine:
        """The database."""
        return connect(self.settings.sqlalchemy_url)

    @cached_property
    def deployment(self) -> Deployment | None:
        """The contracts' addresses; None on a private grid."""
        if self.settings.private:
            return None
        if self.settings.deployment is None:
            raise ValueError("LEDGER_RPC_URL is set: LEDGER_DEPLOYMENT must name the deployment's file")
        return load(self.settings.deployment)

    @cached_property
    def chain(self) -> Chain | None:
        """The chain to read; None on a private grid."""
        return Chain(self.settings.rpc_url, self.deployment) if self.deployment is not None else None

    @cached_property
    def wire(self) -> Chain | None:
        """The chain to read and sign for; None on a private grid, or without the operator's key."""
        s = self.settings
        key = keystore.load(s.operator_key, s.operator_keystore, s.operator_password)
        return self.chain.with_key(key) if self.chain is not None and key is not None else None

    @cached_property
    def network(self) -> indexer.Network:
        """The contracts to index, and the length of epochs."""
        assert self.deployment is not None, "there is a chain"
        return indexer.Network(
            chain_id=self.deployment.chain_id,
            lane=self.settings.lane,
            start_block=self.deployment.block,
            confirmations=self.settings.confirmations,
            epoch_seconds=self.deployment.epoch_seconds,
            settlement=address(self.deployment.settlement),
            currency=self.deployment.currency,
        )

    @cached_property
    def domain(self) -> Domain:
        """The domain receipts and vouchers are signed in."""
        return self.deployment.domain if self.deployment is not None else Domain()

    @cached_property
    def lane(self) -> batches.Lane:
        """The lane to settle."""
        sender: Address | None = self.wire.sender if self.wire is not None else None
        batch_ms = self.settings.batch_seconds * 1_000
        lane = batches.Lane(self.settings.lane, self.domain, sender, self.settings.batch_calls, batch_ms)
        if self.deployment is None:
            return lane
        return replace(lane, exit_notice=self.deployment.exit_notice_seconds, day=self.deployment.day_seconds)

    @cached_property
    def policy(self) -> Policy:
        """When a transaction is settled, and when it is replaced at which fee."""
        s = self.settings
        return Policy(s.confirmations, s.stuck_seconds * 1_000, s.max_fee_gwei * GWEI)

    @cached_property
    def scope(self) -> audits.Scope:
        """The scope of the audit."""
        held = self.chain.held if self.chain is not None else None
        return audits.Scope(self.settings.lane, self.domain, held)
