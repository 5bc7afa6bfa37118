"""A consumer's way out of a lane."""

from __future__ import annotations

from ledger.core.values.errors import Rejected
from ledger.core.values.ids import to_hex
from roles.cli.context import here
from roles.wallet import deposits, keystore, signing, transactions


class Leaving:
    """Ask, wait for a final batch, receive: each step is found on chain, so it can be taken up anywhere."""

    def __init__(self, relayer: str | None) -> None:
        self.lane = int(here().lane["lane"])
        self.account = here().account
        self.payer = keystore.unlock(relayer) if relayer else None

    @property
    def asked(self) -> bool:
        """Whether the request stands on chain."""
        return int(transactions.read("settlement", "accounts", self.lane, self.account)["requestedAt"]) > 0

    def must_be_here(self) -> None:
        """Rejected when there is nothing to leave with."""
        if not int(transactions.read("settlement", "accounts", self.lane, self.account)["index"]):
            raise Rejected(f"{here().wallet} never deposited into lane {self.lane}", lane=self.lane)

    def ask(self) -> transactions.Sent:
        """Ask to leave: by one's own transaction, or signed for the relayer to send."""
        if self.payer is None:
            return transactions.send("settlement", "requestWithdraw", self.lane)
        nonce, until = int(transactions.read("settlement", "nonces", self.account)), deposits.good_until()
        signature = signing.leave(here().signer, here().domain, self.lane, nonce, until)
        arguments = (self.lane, self.account, until, signature)
        return transactions.send("settlement", "requestWithdrawFor", *arguments, signer=self.payer)

    def take(self) -> tuple[int, transactions.Sent] | None:
        """Withdraw with the final debit, if a final batch settles it by now."""
        account = transactions.read("settlement", "accounts", self.lane, self.account)
        head = transactions.read("settlement", "head", self.lane)
        notice = int(transactions.read("settlement", "exitNotice"))
        if int(head["finalPostedAt"]) <= int(account["requestedAt"]) + notice:
            return None
        proof = here().gateway.get(f"/v1/proofs/debit/{to_hex(self.account)}")
        debit, siblings = int(proof["cumulative"]), [bytes.fromhex(word[2:]) for word in proof["proof"]]
        before = transactions.token_balance(self.account)
        sent = transactions.send("settlement", "withdraw", self.lane, self.account, debit, siblings, signer=self.payer)
        return transactions.token_balance(self.account) - before, sent
