"""EIP-712 digests are byte for byte the contracts': contracts/test/TypedData.t.sol checks the same vectors."""

from __future__ import annotations

import json
from pathlib import Path

from ledger.core.receipts.receipt import EndReason, Receipt, pack, receipt_digest, struct_hash
from ledger.core.values.ids import Lane, address, digest
from ledger.core.values.meters import MAX_UNITS, Units, counted
from ledger.core.values.typed_data import Domain, Voucher, signing_digest, voucher_hash, word

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "typed_data.json"


def computed() -> dict[str, object]:
    """The vectors, computed anew: `python -m tests.ledger.chain.test_typed_data` writes them."""
    domain = Domain(31337, address("0x" + "5e" * 20))
    voucher = Voucher(Lane(bytes(19) + b"\7"), address("0x" + "ac" * 20), 2**64 - 1)
    receipts = [a_receipt(number) for number in range(4)]
    return {
        "chainId": domain.chain_id,
        "contract": "0x" + domain.contract.hex(),
        "separator": "0x" + domain.separator.hex(),
        "voucher": {
            "lane": "0x" + voucher.lane.hex(),
            "account": "0x" + voucher.account.hex(),
            "cumMax": str(voucher.cum_max),
            "digest": "0x" + signing_digest(domain, voucher_hash(voucher)).hex(),
        },
        "receipts": [
            {
                "words": "0x" + b"".join(word(field) for field in receipt[:-1]).hex(),
                "units": [list(pair) for pair in counted(receipt.units)],
                "record": "0x" + pack(receipt).hex(),
                "hash": "0x" + struct_hash(receipt).hex(),
                "digest": "0x" + receipt_digest(domain, receipt).hex(),
            }
            for receipt in receipts
        ],
    }


def a_receipt(number: int) -> Receipt:
    """Every field another; the last at its largest."""
    top = number == 3
    at = [2**63 - 1 if top else 1_000 * number + place for place in range(10)]
    name = [digest("0x" + f"{17 * number + place:02x}" * 32) for place in range(5)]
    who = [address("0x" + f"{29 * number + place:02x}" * 20) for place in range(2)]
    return Receipt(
        call_id=name[0],
        parent=name[1],
        lane=address("0x" + f"{29 * number + 2:02x}" * 20),
        gateway=who[0],
        seq=number + 1,
        consumer=who[1],
        terms=name[2],
        epoch=at[0],
        subcalls=21 * number,
        subcall_total=at[7],
        price=at[8],
        charge=at[9],
        end=EndReason(number),
        ended_at=1_700_000_000_000 + number,
        request_digest=name[3],
        response_digest=name[4],
        units=Units(*(MAX_UNITS if top else 100 * number * place for place in range(15))),
    )


def test_the_vectors_are_what_this_computes() -> None:
    assert json.loads(VECTORS.read_text()) == computed()


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(computed(), indent=1) + "\n")
