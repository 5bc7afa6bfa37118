"""What a name means, who may publish it, and what a child must have frozen."""

import pytest

from ledger.core.catalog import lineage, names
from ledger.core.catalog.lineage import Parent, Royalty
from ledger.core.catalog.names import Name, Published
from ledger.core.values.errors import Rejected
from ledger.core.values.ids import Digest
from tests import builders as b
from tests.ledger.core.examples import a_base
from tests.rates import asks

OLD, NEW, NEWEST = (Digest(bytes((n,)) * 32) for n in (1, 2, 3))
VERSIONS = [
    Published(Name("north", "iris", version), id) for version, id in (("1.0", OLD), ("2.0", NEW), ("10.0", NEWEST))
]
EVERYTHING = {OLD, NEW, NEWEST}


def called(on_sale: set[Digest], own: set[Digest], published: list[Published] = VERSIONS) -> Digest:
    """What the name without a version means."""
    return names.meanings(published, on_sale.__contains__, lambda one: one.id in own)["@north/iris"]


def test_a_name_with_a_version_is_one_id_for_ever() -> None:
    again = [*VERSIONS, Published(Name("north", "iris", "1.0"), NEWEST)]
    for on_sale in (set[Digest](), EVERYTHING):
        found = names.meanings(again, on_sale.__contains__, lambda one: True)
        assert [found[f"@north/iris@{version}"] for version in ("1.0", "2.0", "10.0")] == [OLD, NEW, NEWEST]


def test_a_name_without_a_version_means_the_newest_on_sale() -> None:
    assert called(EVERYTHING, EVERYTHING) == NEWEST
    assert called({OLD, NEW}, EVERYTHING) == NEW, "the newest cannot be called yet"
    assert called(set(), EVERYTHING) == NEWEST, "there is nothing better"
    assert called(EVERYTHING, EVERYTHING, VERSIONS[::-1]) == OLD, "the newest is the one published last"


def test_a_sold_version_gives_the_name_to_one_that_the_organisation_still_has_on_sale() -> None:
    assert called(EVERYTHING, {OLD, NEW}) == NEW
    assert called({NEWEST}, {OLD, NEW}) == NEWEST, "until then its calls go on"
    assert called(EVERYTHING, set()) == NEWEST, "all are sold"


def test_a_model_is_listed_by_the_name_that_calls_it_and_else_by_its_version() -> None:
    listed = names.shown(names.meanings(VERSIONS, EVERYTHING.__contains__, lambda one: True))
    assert listed == {OLD: "@north/iris@1.0", NEW: "@north/iris@2.0", NEWEST: "@north/iris"}
    renamed = [*VERSIONS, Published(Name("delta", "iris", "1"), OLD)]
    listed = names.shown(names.meanings(renamed, EVERYTHING.__contains__, lambda one: True))
    assert listed[OLD] == "@delta/iris", "a name that calls it goes before one of a version"


def test_only_who_speaks_for_an_organisation_publishes_under_it_and_other_content_never() -> None:
    new = VERSIONS[0]
    names.check_publication(new, b.MAKER, {b.MAKER, b.BOB}, None)
    names.check_publication(new, b.ALICE, set(), OLD)  # published already: anybody may show the document
    with pytest.raises(Rejected, match="does not speak for @north"):
        names.check_publication(new, b.ALICE, {b.MAKER}, None)
    with pytest.raises(Rejected, match="another document already, for ever"):
        names.check_publication(new, b.MAKER, {b.MAKER}, NEW)


@pytest.mark.parametrize(
    "text",
    [
        *("north/iris@1", "@north/iris", "@north@1", "@/iris@1", "@north/@1", "@north/iris@", "@north/iris@1@2"),
        *("@North/iris@1", "@north/iris@1+2", "@north/iris@V1", f"@{'n' * 33}/iris@1", f"@north/{'i' * 63}@1"),
    ],
)
def test_what_the_registry_could_not_hold_is_no_name(text: str) -> None:
    with pytest.raises(Rejected):
        names.parse(text)


def test_names_are_read_as_they_are_written() -> None:
    for text in ("@north/iris@1.0.0", f"@{'n' * 32}/{'i' * 62}@1", "@a-b/c.d_e-f@2026-11-29"):
        name = names.parse(text)
        assert (str(name), names.on_chain(names.label(name.organisation), name.versioned)) == (text, name)
    assert names.of_document(a_base()) == names.parse("@alpha/emotion-base@1.0.0")
    assert names.on_chain(names.label("north"), "iris") is None, "nothing is called by it"
    assert names.of_documents([(OLD, {**a_base(), "version": "A B"}), (NEW, a_base())]) == [
        Published(names.parse("@alpha/emotion-base@1.0.0"), NEW)
    ]


def test_a_child_freezes_at_least_what_its_parent_grants() -> None:
    granted = Royalty(120_000, asks(call=40, input_token=7))
    better = Royalty(120_001, asks(call=41, input_token=7, cached_input_token=9))
    for frozen in (granted, better):
        lineage.check_granted(Parent(OLD, frozen), granted)
    worse = (
        Royalty(119_999, granted.floor),
        Royalty(120_000, asks(call=39, input_token=7)),
        Royalty(120_000, asks(call=40)),
        Royalty(120_000, asks(call=40, input_token=7, cached_input_token=6)),  # what was counted as input pays less
    )
    for frozen in worse:
        with pytest.raises(Rejected, match="grants itself 120000 ppm"):
            lineage.check_granted(Parent(OLD, frozen), granted)
    with pytest.raises(Rejected, match="offers no terms"):
        lineage.check_granted(Parent(OLD, granted), None)
