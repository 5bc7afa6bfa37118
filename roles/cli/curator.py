"""`tollway curator`: recommend models and workflows, and share in what you brought."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ledger.core.pricing import commissions
from ledger.core.pricing.commissions import Referral
from ledger.core.values.ids import cid, to_hex
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import names
from roles.cli.shared.payees import payee_commands

app = Group("Recommend models and workflows, and share in what you brought.")
payee_commands(app)


@app.verb("token")
def token(
    subject: Annotated[str, typer.Argument(help="@org/name or an id.")],
    keep: Annotated[str, typer.Option(help="Of the commission; the rest is the consumer's rebate.")] = "50%",
    window: Annotated[int, typer.Option(help="For a consumer's first so many paid calls.")] = 1_000,
    days: Annotated[int, typer.Option(help="How long it may be used.")] = 30,
) -> None:
    """Sign a referral token: whoever calls with it pays the same or less, and part of a sponsor's line is yours."""
    until = (int(time.time()) + days * 86_400) * 1000
    made = Referral(here().account, names.resolve(here().gateway, subject), amounts.ratio(keep), window, until)
    text = commissions.token(made, here().signer, here().domain)
    output.tell({"token": text, "subject": subject, "keeps": amounts.percent(made.keep_ppm), "days": days})
    output.remark("a consumer sends it as the header Tollway-Referral, or with `consumer call --referral`")


@app.verb("offers")
def offers() -> None:
    """Who offers curators anything, how much of its line, and for how many calls of a consumer."""
    rows = [row for row in here().gateway.get("/v1/models")["data"] if row.get("curation")]
    rows.sort(key=lambda row: -int(row["curation"]["offer_ppm"]))
    output.tabulate(
        [
            {
                "subject": row["id"],
                "sponsor": row["curation"]["sponsor"],
                "of_its_line": amounts.percent(int(row["curation"]["offer_ppm"])),
                "window_calls": row["curation"]["window_calls"],
            }
            for row in rows
        ],
        "commissions on offer",
        "nobody offers curators anything now",
    )


@app.verb("read")
def read(text: Annotated[str, typer.Argument(metavar="TOKEN", help="tr_...")]) -> None:
    """What a token says, and that its curator signed it for this lane."""
    said = commissions.read(text, here().domain)
    output.tell(
        {
            "curator": to_hex(said.curator),
            "subject": cid(said.subject),
            "keeps": amounts.percent(said.keep_ppm),
            "window_calls": said.window_calls,
            "valid_until_ms": said.valid_until,
        }
    )
