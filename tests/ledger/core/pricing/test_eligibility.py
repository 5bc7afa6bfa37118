"""Which providers may serve: each condition by itself, their order, and what a refusal says."""

from dataclasses import dataclass, field

import pytest

from ledger.core.catalog.models import Model, model
from ledger.core.pricing.eligibility import (
    ANY,
    AboveLimit,
    AllPaused,
    NoneFits,
    RoutePreferences,
    alive,
    check_memory,
    distance,
    eligible,
    lacking,
    serving_shortened,
)
from ledger.core.values.errors import Rejected
from ledger.core.values.meters import Units
from tests.ledger.core.examples import a_model

NOW = 1_000


@dataclass
class Measured:
    """What was measured of a provider: nothing yet, and it has not failed."""

    latency_ms: int = 0
    round_trip_ms: int = 0
    paused_until: int = 0

    @property
    def near(self) -> int | None:
        """More than 80 ms are not near."""
        return next((bound for bound in (10, 80) if self.round_trip_ms <= bound), None)

    @property
    def usable(self) -> bool:
        """Its circuit is open while a probe is awaited."""
        return not self.paused_until


@dataclass
class Provider:
    """A provider at a price."""

    price: int = 100
    realm: str = ""
    tier: str = "center"
    slo_ms: int = 2_000
    health: Measured = field(default_factory=Measured)


def chosen(preferences: RoutePreferences, *providers: Provider) -> list[Provider]:
    """Those that may serve."""
    return eligible(providers, preferences, lambda one: one.price)


def test_who_asks_for_nothing_gets_everybody_of_the_public_realm_in_order() -> None:
    first, second = Provider(), Provider(price=1)
    assert chosen(ANY, first, Provider(realm="clinic"), second) == [first, second]


@pytest.mark.parametrize(
    ("preferences", "fitting", "missing"),
    [
        (RoutePreferences(realm="clinic"), Provider(realm="clinic"), Provider()),
        (RoutePreferences(tiers=frozenset({"center"})), Provider(), Provider(tier="edge")),
        (
            RoutePreferences(tiers=frozenset({"edge"})),
            Provider(tier="edge", health=Measured(round_trip_ms=80)),
            Provider(tier="edge", health=Measured(round_trip_ms=81)),
        ),
        (
            RoutePreferences(near_ms=30),
            Provider(health=Measured(round_trip_ms=30)),
            Provider(health=Measured(round_trip_ms=31)),
        ),
        (
            RoutePreferences(max_latency_ms=500),
            Provider(health=Measured(latency_ms=500)),
            Provider(health=Measured(latency_ms=501)),
        ),
        (RoutePreferences(max_latency_ms=500), Provider(slo_ms=500), Provider(slo_ms=501)),
    ],
)
def test_a_provider_fits_what_is_asked_of_the_route(
    preferences: RoutePreferences, fitting: Provider, missing: Provider
) -> None:
    assert chosen(preferences, missing, fitting) == [fitting]
    with pytest.raises(NoneFits):
        chosen(preferences, missing)


def test_a_far_provider_of_the_edge_serves_those_who_do_not_ask_for_the_edge() -> None:
    far = Provider(tier="edge", health=Measured(round_trip_ms=200))
    assert chosen(ANY, far) == [far]


def test_what_costs_more_than_the_limit_does_not_serve() -> None:
    cheap, dear = Provider(price=100), Provider(price=101)
    assert chosen(RoutePreferences(max_price=100), dear, cheap) == [cheap]
    with pytest.raises(AboveLimit) as refused:
        chosen(RoutePreferences(max_price=99), dear, cheap)
    assert (refused.value.least, refused.value.limit) == (100, 99)


def test_an_open_circuit_does_not_serve_and_says_when_it_is_tried_again() -> None:
    down, later = Provider(health=Measured(paused_until=NOW + 5)), Provider(health=Measured(paused_until=NOW + 9))
    assert chosen(ANY, down, Provider(health=Measured())) != []
    with pytest.raises(AllPaused) as refused:
        chosen(ANY, later, down)
    assert refused.value.until == NOW + 5


def test_the_first_condition_that_leaves_nobody_is_the_reason() -> None:
    down = Provider(price=100, health=Measured(paused_until=NOW + 5))
    with pytest.raises(NoneFits):
        chosen(RoutePreferences(max_price=99, realm="clinic"), down)
    with pytest.raises(AllPaused):
        chosen(RoutePreferences(max_price=99), down)


def test_who_cannot_be_called_sets_no_price_and_is_not_listed() -> None:
    down, dear = Provider(price=100, health=Measured(paused_until=NOW + 5)), Provider(price=900)
    assert alive([down, dear]) == [dear]
    with pytest.raises(AboveLimit) as refused:
        chosen(RoutePreferences(max_price=200), down, dear)
    assert refused.value.least == 900
    limited = serving_shortened(
        [down, dear], 1_800, lambda one, units: one.price * units.output_token, Units(output_token=9)
    )
    assert limited == (Units(output_token=2), [dear])


def test_the_price_is_not_computed_without_a_limit() -> None:
    def price(_: Provider) -> int:
        raise AssertionError("a call without a limit prices nobody here")

    assert len(eligible([Provider()], ANY, price)) == 1


def test_output_is_shortened_until_a_provider_is_within_the_limit() -> None:
    cheap, dear, most = Provider(price=3), Provider(price=5), Units(output_token=100)

    def shortened(limit: int | None, *providers: Provider) -> tuple[Units, list[Provider]]:
        return serving_shortened(providers, limit, lambda one, units: one.price * units.output_token, most)

    assert shortened(None, cheap, dear) == (most, [cheap, dear])
    assert shortened(500, cheap, dear) == (most, [cheap, dear])
    assert shortened(59, cheap, dear) == (Units(output_token=19), [cheap])
    with pytest.raises(AboveLimit):
        shortened(2, cheap, dear)
    with pytest.raises(AllPaused):
        shortened(59, Provider(price=3, health=Measured(paused_until=NOW + 5)))


def test_what_a_model_lacks_is_said_in_words() -> None:
    made = model(a_model())
    assert lacking(made, {"task": "text-classification", "languages": ["zh"], "require": ["open-weights"]}) == []
    assert lacking(made, {"task": "chat"}) == ["the task chat"]
    wanted = {"languages": ["zh", "fr"], "input_modes": ["text/plain"], "require": ["tee", "bitexact"]}
    assert lacking(made, wanted) == ["languages fr, zh", "bitexact execution", "tee"]


def needing(size: int | None, said: int | None) -> Model:
    """A model with files of that size, whose document says that memory, in MB."""
    document = a_model()
    document["execution"] |= {} if said is None else {"min_memory_mb": said}
    if size is None:
        return model({**{name: part for name, part in document.items() if name != "artifact"}, "kind": "endpoint"})
    document["artifact"]["size"] = size
    return model(document)


@pytest.mark.parametrize(
    ("size", "said", "need"),
    [
        (1, None, 1),
        (2**20, None, 1),
        (2**20 + 1, None, 2),
        (2**20, 64, 64),
        (65 * 2**20, 64, 65),  # a claim below the size of its files does not count
        (None, 64, 64),
        (None, None, None),
    ],
)
def test_a_model_needs_what_it_says_and_at_least_its_files(
    size: int | None, said: int | None, need: int | None
) -> None:
    made = needing(size, said)
    assert (made.size_bytes, made.memory_mb) == (size, need)
    check_memory(made, None)  # a node that does not say has enough
    if need is None:
        check_memory(made, 1)
        assert lacking(made, {"max_memory_mb": 10**6}) == ["a need of 1000000 MB of memory at most that it states"]
        return
    check_memory(made, need)
    assert lacking(made, {"max_memory_mb": need}) == []
    if need > 1:
        with pytest.raises(Rejected, match=rf"needs {need} MB of memory and the node has {need - 1} MB: .*tollway"):
            check_memory(made, need - 1)
        assert lacking(made, {"max_memory_mb": need - 1}) == [
            f"a need of {need - 1} MB of memory at most (it has {need})"
        ]


def test_the_nearest_is_of_the_lowest_measured_class_and_then_of_the_nearest_tier() -> None:
    unmeasured, near, slow, far = (Measured(round_trip_ms=ms) for ms in (0, 10, 11, 81))
    order = [
        Provider(tier="edge", health=near),
        Provider(tier="enterprise", health=unmeasured),
        Provider(tier="center", health=near),
        Provider(tier="edge", health=slow),
        Provider(tier="edge", health=far),
        Provider(tier="center", health=far),
    ]
    mixed = [*order[3:], *order[:3]]
    assert sorted(mixed, key=lambda one: distance(one, nearest=True)) == order
    assert len({distance(one, nearest=False) for one in order}) == 1


@pytest.mark.parametrize(
    ("since", "tokens", "prefers"), [(None, 10**9, False), (0, 0, True), (5, 4, False), (5, 5, True)]
)
def test_the_nearest_are_preferred_from_a_length_of_input_on(since: int | None, tokens: int, prefers: bool) -> None:
    assert RoutePreferences(nearest_from=since).prefers_nearest(tokens) is prefers
