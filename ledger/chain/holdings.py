"""What the contract holds for a lane, read at one block: the chain's side of law L4."""

from ledger.chain.client import Chain
from ledger.core.values.ids import address


def held(chain: Chain, lane: int, block: int) -> int:
    """Atoms of a lane at a block: deposits less withdrawals, less all claims.

    With one lane this is the token balance less bond and insurance, so that a token that moved in any other way shows;
    with several, claims are read payee by payee.
    """
    state = chain.lane(lane, block)
    if int(chain.settlement("laneCount", block=block)) == 1:
        return chain.balance(address(chain.deployment.settlement), block) - state.bond - state.insurance
    payees = int(chain.read("Registry", chain.deployment.registry, "payeeCount", block=block))
    return state.net - sum(chain.claimed(lane, index, block) for index in range(1, payees + 1))
