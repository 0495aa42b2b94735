from __future__ import annotations

from random import Random
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.errors import BadUsage
from p2pckpt.trust.links import Link, LinkSecret, TrackerAddress, is_link

SHARE = bytes(range(32))
SECRET = LinkSecret("0123456789abcdef", bytes(range(100, 124)))
PINNED = TrackerAddress(("tracker.example:6881",), b"\xaa" * 32)

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}(\.[a-z][a-z0-9]{0,10}){0,3}", fullmatch=True)
IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(lambda address: f"[{address}]")
HOSTS = st.tuples(NAMES | IPV4 | IPV6, st.integers(1, 65535)).map(lambda pair: f"{pair[0]}:{pair[1]}") | NAMES
LOOPBACK = st.sampled_from(["http://127.0.0.1:80", "http://[::1]:8080", "http://localhost:1", "http://127.9.9.9"])
ADDRESSES = st.builds(
    TrackerAddress,
    st.lists(HOSTS | LOOPBACK, min_size=1, max_size=4).map(tuple),
    st.just(b"") | st.binary(min_size=32, max_size=32),
)
SECRETS = st.builds(
    LinkSecret,
    st.binary(min_size=8, max_size=8).map(bytes.hex),
    st.binary(min_size=24, max_size=24),
)
LINKS = st.builds(
    Link,
    st.binary(min_size=32, max_size=32),
    ADDRESSES,
    st.none() | SECRETS,
    st.integers(0, 999_999_999),
)


@given(LINKS)
def test_a_link_survives_being_sent_as_text(link: Link) -> None:
    assert Link.parse(link.text) == link
    assert Link.parse(f"  {link.text}\n") == link
    assert is_link(link.text)


@given(ADDRESSES)
def test_an_address_survives_being_written_into_settings(address: TrackerAddress) -> None:
    assert TrackerAddress.parse(address.text) == address


@given(LINKS)
def test_the_https_form_means_the_same_where_there_is_one(link: Link) -> None:
    if link.web_text:
        again = Link.parse(link.web_text)
        assert (again.share_id, again.secret, again.version) == (link.share_id, link.secret, link.version)
        assert again.tracker == TrackerAddress(link.tracker.hosts[:1])
    else:
        assert link.tracker.certificate or link.tracker.hosts[0].startswith("http://")


def test_the_forms_are_as_the_format_describes_them() -> None:
    share, secret = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq", SECRET.text
    assert Link(SHARE, TrackerAddress(("h:1", "http://127.0.0.1:2")), SECRET, 3).text == (
        f"p2pckpt:{share}?tr=h:1,http://127.0.0.1:2&v=3#{secret}"
    )
    assert Link(SHARE, TrackerAddress(("h:1",)), None).web_text == f"https://h:1/s/{share}"
    assert Link(SHARE, PINNED, SECRET).text.count("&pk=") == 1
    assert len(secret) == 43


def test_what_follows_the_hash_is_the_secret_alone() -> None:
    before, _, after = Link(SHARE, PINNED, SECRET, 4).text.partition("#")
    assert after == SECRET.text
    assert SECRET.text not in before
    assert SECRET.secret.hex() not in before


def test_several_hosts_become_several_urls_in_order() -> None:
    address = TrackerAddress.parse("a.example:1, b.example ,http://127.0.0.1:3".replace(" ", ""))
    assert address.urls == ("https://a.example:1", "https://b.example", "http://127.0.0.1:3")


@pytest.mark.parametrize("host", ["http://example.com:80", "http://10.0.0.1", "http://[2001:db8::1]:80"])
def test_plain_http_is_refused_beyond_this_machine(host: str) -> None:
    with pytest.raises(BadUsage, match="plain http"):
        TrackerAddress.parse(host)


@pytest.mark.parametrize(
    "host",
    [
        "", ":80", "host:port", "host:99999", "host:-1", "user@host", "host/path", "host?query", "host#x", "a b",
        "[::1", "host,", "ho\x1bst", "ftp://host", "host%00", "h\u2100st", "http://",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(host: str) -> None:
    with pytest.raises(BadUsage):
        TrackerAddress.parse(host)


GOOD = Link(SHARE, PINNED, SECRET, 12).text
BAD = {
    "nothing": "",
    "a name": "cars/sd15",
    "another scheme": GOOD.replace("p2pckpt:", "magnet:"),
    "a web page": "https://tracker.example/",
    "plain http": f"http://tracker.example/s/{GOOD[8:60]}",
    "no share": "p2pckpt:?tr=h:1",
    "a share that is cut off": GOOD.replace(GOOD[8:20], ""),
    "a share in another alphabet": GOOD.replace(GOOD[8:12], "0189"),
    "a share in letters that are not ASCII": GOOD.replace(GOOD[8:10], "éß"),
    "no tracker": GOOD.replace("tr=", "tx="),
    "an empty tracker": f"p2pckpt:{GOOD[8:60]}?tr=#{SECRET.text}",
    "a tracker on plain http": GOOD.replace("tr=", "tr=http://"),
    "a pin that is cut off": GOOD.replace("pk=vkv", "pk="),
    "a pin that is not ASCII": GOOD.replace("pk=vkv", "pk=vkü"),
    "an empty pin": GOOD[: GOOD.index("pk=") + 3],
    "a secret that is cut off": GOOD[:-3],
    "a secret that is too long": GOOD + "AAAA",
    "a secret in another alphabet": GOOD[:-1] + "!",
    "a secret that is not ASCII": GOOD[:-1] + "é",
    "a version that is no number": GOOD.replace("v=12", "v=latest"),
    "a negative version": GOOD.replace("v=12", "v=-1"),
    "a version with other digits": GOOD.replace("v=12", "v=\N{ARABIC-INDIC DIGIT ONE}"),
    "a version beyond numbers": GOOD.replace("v=12", "v=12345678901"),
    "a query without values": GOOD.replace("v=12", "v"),
    "too many fields": GOOD.replace("v=12", "&".join(f"x{i}=1" for i in range(20))),
    "too long": GOOD + "A" * 3000,
    "a broken address": "p2pckpt://[::1/x?tr=h",
    "a hash that was escaped": GOOD.replace("#", "%23"),
    "a hash that was escaped behind the tracker": f"p2pckpt:{GOOD[8:60]}?tr=h:1%23{SECRET.text}",
    "a hash that was escaped behind a port": f"p2pckpt:{GOOD[8:60]}?tr=h:99999%23{SECRET.text}",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_no_link_is_refused_without_repeating_a_secret(text: str) -> None:
    assert GOOD.index("pk=vkv") > 0
    with pytest.raises(BadUsage) as refused:
        Link.parse(text)
    assert not _tells(refused.value, SECRET.text)


@given(st.text(max_size=300) | st.text(max_size=200).map("p2pckpt:".__add__) | st.text(max_size=200).map(GOOD.__add__))
def test_any_text_is_a_link_or_bad_usage(text: str) -> None:
    _parse_or_refuse(text)


@given(st.randoms(use_true_random=False), LINKS)
def test_damaged_links_are_refused_without_repeating_the_secret(random: Random, link: Link) -> None:
    text = list(link.text)
    for _ in range(random.choice([1, 1, 2, 5])):
        at = random.randrange(len(text))
        match random.randrange(4):
            case 0:
                text[at] = chr(random.choice([random.randrange(128), random.randrange(0xD800)]))
            case 1:
                del text[at]
            case 2:
                text[at:at] = random.choice(["%23", "#", "&", "?", "=", "://", "@", ",", ":", "\n"])
            case _:
                text[at] = quote(text[at], safe="")
    refused = _parse_or_refuse("".join(text))
    if refused is not None and link.secret is not None:
        assert not _tells(refused, link.secret.text)


def _parse_or_refuse(text: str) -> BadUsage | None:
    try:
        link = Link.parse(text)
    except BadUsage as exc:
        return exc
    assert len(link.share_id) == 32
    assert Link.parse(link.text) == link
    assert all(url.startswith(("https://", "http://")) for url in link.tracker.urls)
    return None


def _tells(error: BadUsage, secret: str) -> bool:
    """Whether a person who reads the error could use a part of the secret."""
    shown = f"{error} {error.kept} {error.next_step}"
    return any(secret[at : at + 8] in shown for at in range(len(secret) - 8))


# -- what a secret opens


def test_keys_follow_from_secret_password_and_salt() -> None:
    other = LinkSecret(SECRET.link_id, bytes(24))
    elsewhere = LinkSecret("f" * 16, SECRET.secret)
    salt, pepper = b"s" * 16, b"p" * 16
    opened = [
        SECRET.keys("", b""),
        other.keys("", b""),
        elsewhere.keys("", b""),
        SECRET.keys("", salt),
        SECRET.keys("password", salt),
        SECRET.keys("password", pepper),
    ]
    values = [keys.auth for keys in opened] + [keys.wrap for keys in opened]
    assert len(set(values)) == 12
    assert {len(value) for value in values} == {32}
    assert SECRET.keys("password", salt) == opened[4]


def test_without_a_salt_a_password_changes_nothing() -> None:
    assert SECRET.keys("password", b"") == SECRET.keys("", b"")


def test_secrets_are_random() -> None:
    made = [LinkSecret.generate() for _ in range(50)]
    assert len({secret.link_id for secret in made}) == len({secret.secret for secret in made}) == 50
    assert all(len(bytes.fromhex(secret.link_id)) == 8 and len(secret.secret) == 24 for secret in made)
