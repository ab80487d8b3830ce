"""Networks that connect and never ask for a bind: how many strikes, for how long, and what is forgotten."""

from __future__ import annotations

from gateway.smpp_server.strikes import MOST_STRIKES, Strikes

NETWORK = "192.0.2.7"


class House:
    def __init__(self, **settings: int) -> None:
        self.now = 1000.0
        self.strikes = Strikes(lambda: self.now, lock_s=60.0, **settings)

    def strike(self, times: int, network: str = NETWORK, every_s: float = 0.0) -> int:
        """Returns after how many there were too many; 0 = not yet."""
        for number in range(1, times + 1):
            self.now += every_s
            if self.strikes.count(network):
                return number
        return 0


def test_fifty_at_once_are_too_many() -> None:
    house = House()
    assert house.strike(100) == MOST_STRIKES == 50
    assert house.strikes.left_s(NETWORK) == 0
    house.strikes.shut_out(NETWORK)
    assert house.strikes.left_s(NETWORK) == 60


def test_one_a_second_is_never_too_many() -> None:
    assert House().strike(100_000, every_s=1.0) == 0


def test_two_a_second_are_too_many_after_a_while() -> None:
    assert 90 < House().strike(200, every_s=0.5) < 110


def test_a_network_is_let_in_again_by_itself_and_has_all_its_strikes_then() -> None:
    house = House()
    house.strike(50)
    house.strikes.shut_out(NETWORK)
    house.now += 59
    assert house.strikes.left_s(NETWORK) == 1
    house.now += 1
    assert house.strikes.left_s(NETWORK) == 0
    assert house.strike(100) == 50


def test_what_was_open_when_the_lock_came_does_not_prolong_it() -> None:
    house = House()
    house.strike(50)
    house.strikes.shut_out(NETWORK)
    assert house.strike(50) == 0
    house.now += 60
    assert house.strikes.left_s(NETWORK) == 0


def test_networks_count_each_for_itself_and_are_forgotten_one_by_one() -> None:
    house = House()
    for network in ("a", "b"):
        house.strike(50, network)
        house.strikes.shut_out(network)
    assert house.strikes.shut_out_now() == [("a", 50, 60.0), ("b", 50, 60.0)]
    assert house.strikes.forget("a")
    assert not house.strikes.forget("a")
    assert (house.strikes.left_s("a"), house.strikes.left_s("b")) == (0, 60)


def test_an_attacker_with_many_networks_costs_a_limited_memory() -> None:
    house = House(entries=2)
    for network in ("a", "b", "a", "c"):
        house.strike(50, network)
        house.strikes.shut_out(network)
    assert [network for network, _, _ in house.strikes.shut_out_now()] == ["a", "c"]
