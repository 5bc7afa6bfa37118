"""`tollway curator`: recommend models and workflows, and earn a commission on the calls you bring."""

import time
from typing import Annotated

from typer import Argument, Option

from ledger.core.pricing import commissions
from ledger.core.pricing.commissions import Referral
from ledger.core.values.ids import cid, to_hex
from roles.cli import amounts, output
from roles.cli.context import Group, here
from roles.cli.shared import cells
from roles.cli.shared.payees import MAX_COUNT, add_earnings, add_statement
from roles.cli.shared.sponsorship import add_curators_order

app = Group("Recommend models and workflows, and earn a commission on the calls you bring.")
add_earnings(app)
add_statement(app)
add_curators_order(app)


@app.command("token")
def token(
    subject: Annotated[str, Argument(help="The model or workflow you recommend: @org/name, or its id.")],
    keep: Annotated[str, Option(help="Your part of the commission; the consumer gets the rest.")] = "50%",
    window: Annotated[
        int, Option(help="It counts for a consumer's first WINDOW paid calls.", min=1, max=MAX_COUNT)
    ] = 1_000,
    days: Annotated[int, Option(help="Days until it expires.", min=1, max=3_660)] = 30,
) -> None:
    """Sign a referral token. A consumer who calls with it pays the same or less, and you earn your commission."""
    keep_ppm = amounts.parse_ratio(keep)
    until = (int(time.time()) + days * 86_400) * 1000
    referral = Referral(here().account, here().resolve(subject), keep_ppm, window, until)
    text = commissions.token(referral, here().signer, here().domain)
    keeps, end = amounts.format_ratio(referral.keep_ppm), cells.utc(until)
    output.show({"token": text, "subject": subject, "keeps": keeps, "days": days, "ends": f"{end} UTC"})
    pays = here().gateway.get(f"/v1/models/{subject}").get("curation")
    if not pays:
        output.warn(f"nobody pays curators of {subject} now: this earns nothing until its owner does (... sponsor)")
    output.note("a consumer sends it as the header Tollway-Referral, or with `consumer call --referral`")


@app.command("offers")
def offers() -> None:
    """List the commissions on offer: the sponsor, the part of its share, and on how many calls of a consumer."""
    rows = [row for row in here().gateway.get("/v1/models")["data"] if row.get("curation")]
    rows.sort(key=lambda row: -int(row["curation"]["offer_ppm"]))
    output.show_table(
        [
            {
                "subject": row["id"],
                "sponsor": row["curation"]["sponsor"],
                "of_its_line": amounts.format_ratio(int(row["curation"]["offer_ppm"])),
                "window_calls": row["curation"]["window_calls"],
            }
            for row in rows
        ],
        "commissions on offer",
        "there are no commissions on offer now",
    )


@app.command("read")
def read(text: Annotated[str, Argument(metavar="TOKEN", help="A referral token, tr_...")]) -> None:
    """Show what a token says, after checking that its curator signed it for this lane."""
    referral = commissions.read(text, here().domain)
    output.show(
        {
            "curator": to_hex(referral.curator),
            "subject": cid(referral.subject),
            "keeps": amounts.format_ratio(referral.keep_ppm),
            "window_calls": referral.window_calls,
            "valid_until_ms": referral.valid_until,
        }
    )
