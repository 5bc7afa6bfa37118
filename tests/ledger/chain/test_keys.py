"""The keys of a lane's gateways, as a node reads them."""

from ledger.core.values.ids import Address
from tests.ledger.chain.conftest import Stage


def test_the_keys_that_sign_for_a_lane_are_those_added_and_not_revoked(stage: Stage) -> None:
    chain, operator, other = stage.chain, stage.key(stage.operator), Address(b"\x47" * 20)
    assert chain.gateway_keys(stage.lane) == {operator.address}
    chain.transact(operator, chain.calls.add_gateway(stage.lane, other))
    assert chain.gateway_keys(stage.lane) == {operator.address, other}
    chain.transact(operator, chain.calls.to("Keys", "revokeGateway", stage.lane, other))
    assert chain.gateway_keys(stage.lane) == {operator.address}
    assert chain.gateway_keys(Address(bytes(19) + b"\x09")) == frozenset()
