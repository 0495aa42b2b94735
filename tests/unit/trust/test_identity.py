from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pckpt.errors import BadUsage, NotAllowed, P2pckptError, UntrustedKey, VerificationFailed
from p2pckpt.trust.identity import (
    PUBLIC_PREFIX,
    PublicIdentity,
    backup,
    load,
    load_or_create,
    restore,
    verify,
    words,
)
from tests.unit.trust.people import OWNER, STRANGER

FILE = "identity.json"
MAKE = """
import sys
from pathlib import Path
from p2pckpt.trust.identity import load_or_create
sys.stdin.readline()
print(load_or_create(Path(sys.argv[1]), sys.argv[2]).hex)
"""


def test_the_file_is_for_this_user_alone(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "data" / "keys", "ann")
    assert (tmp_path / "data" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data" / "keys" / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "data" / "keys").iterdir()] == [FILE]
    assert made.name == "ann"
    assert len(made.hex) == 64


def test_it_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = load_or_create(tmp_path, "ann")
    again = load_or_create(tmp_path, "another name")
    assert (again.hex, again.name, again.created_at) == (first.hex, "ann", first.created_at)
    assert load(tmp_path).public == first.public


def test_two_directories_get_two_identities(tmp_path: Path) -> None:
    assert load_or_create(tmp_path / "a", "").hex != load_or_create(tmp_path / "b", "").hex


def test_threads_that_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)

    def make(turn: int) -> str:
        barrier.wait()
        return load_or_create(tmp_path / "keys", str(turn)).hex

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(make, range(8)))) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [FILE]


def test_processes_that_make_it_at_once_get_the_same(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path / "keys")]
    running = [
        subprocess.Popen([*command, str(turn)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for turn in range(3)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(set(outputs)) == 1
    assert outputs[0].strip() == load(tmp_path / "keys").hex


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path, "")
    for mode in (0o604, 0o640, 0o666):
        (tmp_path / FILE).chmod(mode)
        with pytest.raises(NotAllowed, match="read by other users") as refused:
            load_or_create(tmp_path, "")
        assert refused.value.next_step.startswith("chmod 600")


DAMAGE: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "empty": lambda content: b"",
    "no json": lambda content: b"not json",
    "no text": lambda content: b'{"format": "\xff"}',
    "another kind": lambda content: b"[]",
    "a field too many": lambda content: json.dumps(content | {"more": 1}).encode(),
    "a key that is no hex": lambda content: json.dumps(content | {"signing_key": "z" * 64}).encode(),
    "a key that is too short": lambda content: json.dumps(content | {"receive_key": "ab" * 31}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    load_or_create(tmp_path, "")
    path = tmp_path / FILE
    path.write_bytes(DAMAGE[damage](json.loads(path.read_bytes())))
    with pytest.raises(P2pckptError, match=FILE):
        load(tmp_path)


def test_a_missing_file_is_an_error_that_names_the_way_back(tmp_path: Path) -> None:
    with pytest.raises(P2pckptError) as missing:
        load(tmp_path)
    assert "key restore" in missing.value.next_step


# -- backups


def test_a_backup_restores_to_the_same_identity(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "old", "ann")
    saved = backup(tmp_path / "old", b"correct horse")
    assert saved.isascii()
    restore(tmp_path / "new" / "keys", saved, b"correct horse")
    found = load(tmp_path / "new" / "keys")
    assert (found.public, found.name, found.created_at) == (made.public, "ann", made.created_at)
    assert (tmp_path / "new" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "keys" / FILE).stat().st_mode & 0o777 == 0o600


def test_restoring_again_over_the_same_identity_changes_nothing(tmp_path: Path) -> None:
    load_or_create(tmp_path, "ann")
    before = (tmp_path / FILE).read_bytes()
    restore(tmp_path, backup(tmp_path, b""), b"")
    assert (tmp_path / FILE).read_bytes() == before


def test_restoring_never_replaces_another_identity(tmp_path: Path) -> None:
    load_or_create(tmp_path / "mine", "")
    load_or_create(tmp_path / "theirs", "")
    before = (tmp_path / "mine" / FILE).read_bytes()
    with pytest.raises(NotAllowed, match="another identity"):
        restore(tmp_path / "mine", backup(tmp_path / "theirs", b"p"), b"p")
    assert (tmp_path / "mine" / FILE).read_bytes() == before
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [FILE]


def test_a_wrong_passphrase_or_damage_restores_nothing(tmp_path: Path) -> None:
    load_or_create(tmp_path / "old", "")
    saved = backup(tmp_path / "old", b"right")
    damaged = bytearray(saved)
    damaged[-10] = ord("A") if damaged[-10] != ord("A") else ord("B")
    for data, passphrase in ((saved, b"wrong"), (bytes(damaged), b"right"), (saved[:60], b"right")):
        with pytest.raises(VerificationFailed, match="passphrase is wrong, or the backup is damaged"):
            restore(tmp_path / "new", data, passphrase)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("data", [b"", b"p2pckpt identity", b"\x00" * 1000, b"p2pckpt identity backup v2\nAAAA"])
def test_what_is_no_backup_is_refused_as_such(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadUsage, match="no key backup"):
        restore(tmp_path, data, b"")


def test_backups_of_one_identity_differ_and_hold_no_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, "")
    first, second = backup(tmp_path, b"p"), backup(tmp_path, b"p")
    assert first != second
    assert made.signing.private_bytes_raw().hex().encode() not in first


# -- what others see


def test_a_public_identity_survives_being_sent_as_text() -> None:
    text = OWNER.public.text
    assert text.startswith(PUBLIC_PREFIX)
    assert PublicIdentity.parse(text) == OWNER.public


def test_a_receive_key_that_somebody_else_signed_is_not_trusted() -> None:
    mixed = PublicIdentity(OWNER.public.identity, STRANGER.public.receive_key, STRANGER.public.signature)
    with pytest.raises(UntrustedKey):
        PublicIdentity.parse(mixed.text)


@given(st.text(max_size=250) | st.text("ABCdef123-_=", min_size=165, max_size=175).map(PUBLIC_PREFIX.__add__))
def test_any_other_text_is_no_public_key(text: str) -> None:
    with pytest.raises((BadUsage, UntrustedKey)):
        PublicIdentity.parse(text)


def test_signatures_verify_for_their_signer_and_content_alone() -> None:
    signature = OWNER.sign(b"content")
    assert verify(OWNER.public_bytes, signature, b"content")
    assert not verify(OWNER.public_bytes, signature, b"content!")
    assert not verify(STRANGER.public_bytes, signature, b"content")
    assert not verify(OWNER.public_bytes, b"short", b"content")
    assert not verify(b"no key", signature, b"content")


def test_a_key_reads_as_six_proquints() -> None:
    # "lusab-babad" is 127.0.0.1 in the proposal that proquints come from
    spoken = words(bytes([127, 0, 0, 1]) + bytes(28))
    assert spoken == "lusab-babad-babab-babab-babab-babab"


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_words_tell_keys_apart_by_their_first_96_bits(one: bytes, other: bytes) -> None:
    assert (words(one) == words(other)) == (one[:12] == other[:12])
    assert all(len(word) == 5 for word in words(one).split("-"))
