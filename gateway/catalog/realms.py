"""Which catalog a request sees: the one for everybody, or, if its caller belongs to the realm it names, that realm's.

`ledger.core.catalog.realms` says who belongs. A token's signature is checked once, and remembered.
"""

from collections.abc import Mapping

from gateway import bounds
from gateway.catalog.catalog import Catalog
from gateway.errors import Refusal
from ledger.core.accounts.permissions import ApiKey
from ledger.core.catalog import realms
from ledger.core.catalog.realms import Token
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Address
from ledger.core.values.typed_data import Domain

HEADER = b"tollway-realm"


def realm_named(headers: Mapping[bytes, bytes], key: ApiKey | None) -> str:
    """The realm that a request is made in, by its header or else its key: a realm's name, a token of it, or ""."""
    named = headers.get(HEADER)
    if named is not None:
        return named.decode("latin-1")
    return (key.realm or "") if key is not None else ""


class Realms:
    """Finds the catalog of the realm that a request names, by the realm's name or a token of it."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._tokens: dict[str, tuple[str, Token | None]] = {}

    def catalog(self, public: Catalog, account: Address | None, named: str, now: int) -> Catalog:
        """The catalog of the realm that `named` names. For an account that does not belong to it, or None for a
        stranger, there is nothing in it: also no realm, so both look and take the same.
        """
        realm, token = self._read(named)
        inside = public.inside.get(realm)
        members = inside.members if inside is not None else None
        if account is None or not realms.belongs(realm, members, account, now, token) or inside is None:
            return public.nothing_in(realm)
        return inside

    def _read(self, named: str) -> tuple[str, Token | None]:
        """A realm's name, and its token if one was sent that its owner signed."""
        known = self._tokens.get(named)
        if known is not None:
            return known
        try:
            if not named.startswith(realms.PREFIX):
                return realms.realm_name(named), None
            token = realms.read_token(named)
        except Rejected as rejected:
            raise Refusal(400, "invalid_realm", rejected.message, param="Tollway-Realm") from rejected
        if len(self._tokens) >= bounds.REALM_TOKENS:
            self._tokens.clear()
        read = token.realm, token if realms.check_token(token, self._domain) else None
        self._tokens[named] = read
        return read
