"""The swarm in memory, held against a model that keeps peers as objects."""

from __future__ import annotations

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from p2pckpt.tracker_protocol import Endpoint
from p2pckpt_tracker.peer_address import Address, Realm, address, reach
from p2pckpt_tracker.swarm import Asker, DaemonPeer, Kind, Swarm, peer_key

HOSTS = [
    "203.0.113.1", "203.0.113.2", "198.51.100.1", "10.0.0.1", "10.0.0.2", "127.0.0.1", "2001:db8::1", "fd00::1",
]  # fmt: skip
ALL = 10_000


def at(text: str) -> Address:
    found = address(text)
    assert found is not None
    return found


def cut(asked: tuple[bytes, bytes]) -> list[bytes]:
    v4, v6 = asked
    assert len(v4) % 6 == 0
    assert len(v6) % 18 == 0
    return [v4[n : n + 6] for n in range(0, len(v4), 6)] + [v6[n : n + 18] for n in range(0, len(v6), 18)]


class SwarmAgainstModel(RuleBasedStateMachine):
    """Random announces, stops, evictions and ageing; every peer has a port of its own that identifies it."""

    def __init__(self) -> None:
        super().__init__()
        self.swarm = Swarm()
        self.now = 1000
        # (member, number) -> (kind, {(realm, family): (host, seen)})
        self.model: dict[tuple[int, int], tuple[Kind, dict[tuple[Realm, int], tuple[str, int]]]] = {}
        self.completed = 0

    def port(self, member: int, number: int) -> int:
        return 1000 + member * 10 + number

    def key(self, member: int, number: int) -> int:
        return peer_key(member, bytes([number]) * 20)

    @rule(
        member=st.integers(0, 4),
        number=st.integers(0, 2),
        kind=st.sampled_from(Kind),
        host=st.sampled_from(HOSTS),
        completed=st.booleans(),
    )
    def announce(self, member: int, number: int, kind: Kind, host: str, completed: bool) -> None:
        seen = at(host)
        before = self.model.get((member, number))
        new = self.swarm.announce_plain(
            self.key(member, number), member, kind, seen, self.port(member, number), self.now, completed=completed
        )
        assert new is (before is None)
        if before and before[0] is Kind.LEECHER and kind is Kind.SEED and completed:
            self.completed += 1
        places = dict(before[1]) if before else {}
        places[seen.realm, len(seen.packed)] = (host, self.now)
        self.model[member, number] = (kind, places)

    @rule(
        member=st.integers(0, 4),
        number=st.integers(0, 2),
        kind=st.sampled_from(Kind),
        host=st.sampled_from(HOSTS),
        stated=st.lists(st.sampled_from(HOSTS), max_size=3),
    )
    def announce_daemon(self, member: int, number: int, kind: Kind, host: str, stated: list[str]) -> None:
        port = self.port(member, number)
        endpoints = tuple(Endpoint(each, port) for each in stated if at(each).realm is Realm.LAN)
        peer = DaemonPeer(member, bytes([number]) * 20, kind, at(host), port, endpoints)
        how = reach(peer.seen, port, endpoints)
        new = self.swarm.announce_daemon(peer, how, self.now, completed=False)
        assert new is ((member, number) not in self.model)
        seen = at(host)
        self.model[member, number] = (kind, {(seen.realm, len(seen.packed)): (host, self.now)})

    @rule(member=st.integers(0, 4), number=st.integers(0, 2))
    def stop(self, member: int, number: int) -> None:
        was_there = self.model.pop((member, number), None) is not None
        assert self.swarm.remove(self.key(member, number)) is was_there
        assert not self.swarm.remove(self.key(member, number))

    @rule(member=st.integers(0, 4))
    def evict(self, member: int) -> None:
        gone = [each for each in self.model if each[0] == member]
        assert self.swarm.evict(member) == len(gone)
        for each in gone:
            del self.model[each]

    @rule(by=st.integers(1, 50))
    def pass_time(self, by: int) -> None:
        self.now += by

    @rule(age=st.integers(0, 60))
    def expire(self, age: int) -> None:
        before = self.now - age
        for _ in self.swarm.expire(before):
            pass
        for each, (kind, places) in list(self.model.items()):
            left = {place: entry for place, entry in places.items() if entry[1] >= before}
            if left:
                self.model[each] = (kind, left)
            else:
                del self.model[each]

    @rule(member=st.integers(0, 4), kind=st.sampled_from(Kind), host=st.sampled_from(HOSTS), want=st.integers(0, 8))
    def ask(self, member: int, kind: Kind, host: str, want: int) -> None:
        asker = Asker(member, kind, at(host))
        found = cut(self.swarm.hand_out(asker, ALL))
        assert len(found) == len(set(found)), "nobody is named twice"
        plain = set()
        for (owner, number), (has, places) in self.model.items():
            if owner == member or has not in kind.partners:
                continue
            for (realm, _), (where, _) in places.items():
                if realm <= asker.seen.realm:
                    plain.add(at(where).compact(self.port(owner, number)))
        assert plain <= set(found)
        for extra in set(found) - plain:
            where = address(str(ipaddress.ip_address(extra[:-2])))
            assert where is not None
            assert where.realm is Realm.LAN, "only neighbours' LAN addresses come on top"
        ports = {int.from_bytes(each[-2:], "big") for each in found}
        assert not any(1000 + member * 10 <= port < 1010 + member * 10 for port in ports)
        few = cut(self.swarm.hand_out(asker, want))
        assert set(few) <= set(found)

    @invariant()
    def counts_agree(self) -> None:
        seeds = sum(kind is Kind.SEED for kind, _ in self.model.values())
        assert (self.swarm.seeds, self.swarm.leechers) == (seeds, len(self.model) - seeds)
        assert self.swarm.completed == self.completed


TestSwarmAgainstModel = SwarmAgainstModel.TestCase
TestSwarmAgainstModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.sampled_from(Kind)), max_size=40),
    st.integers(0, 5),
    st.sampled_from(Kind),
    st.integers(0, 60),
)
def test_the_hand_out_never_names_the_asker_nor_its_own_machines(
    peers: list[tuple[int, int, Kind]], member: int, kind: Kind, want: int
) -> None:
    swarm = Swarm()
    for owner, number, has in peers:
        swarm.announce_plain(
            peer_key(owner, bytes([number]) * 20),
            owner,
            has,
            at(f"203.0.113.{owner}"),
            1000 + number,
            5,
            completed=False,
        )
    asked = cut(swarm.hand_out(Asker(member, kind, at(f"203.0.113.{member}")), want))
    assert at(f"203.0.113.{member}").packed not in {each[:4] for each in asked}


def test_a_large_swarm_hands_out_what_was_asked_for_and_not_always_the_same() -> None:
    swarm = Swarm()
    for n in range(2000):
        kind = Kind.SEED if n % 2 else Kind.LEECHER
        seen = at(f"203.0.{n // 256}.{n % 256}")
        swarm.announce_plain(peer_key(n, bytes(20)), n, kind, seen, 6881, 5, completed=False)
    asker = Asker(9999, Kind.LEECHER, at("198.51.100.1"))
    draws = [set(cut(swarm.hand_out(asker, 50))) for _ in range(50)]
    assert {len(each) for each in draws} == {50}
    assert len(set().union(*draws)) > 500


def test_the_same_peer_over_both_families_counts_once_and_is_found_over_both() -> None:
    swarm = Swarm()
    key = peer_key(1, bytes(20))
    assert swarm.announce_plain(key, 1, Kind.SEED, at("203.0.113.1"), 1, 5, completed=False)
    assert not swarm.announce_plain(key, 1, Kind.SEED, at("2001:db8::1"), 1, 5, completed=False)
    assert (swarm.seeds, swarm.leechers) == (1, 0)
    v4, v6 = swarm.hand_out(Asker(2, Kind.LEECHER, at("198.51.100.1")), 50)
    assert (len(v4), len(v6)) == (6, 18)
