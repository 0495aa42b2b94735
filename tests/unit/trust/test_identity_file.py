from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from p2pckpt.errors import BadUsage, NotAllowed, P2pckptError, VerificationFailed
from p2pckpt.trust import os_keyring, sealing
from p2pckpt.trust.identity import model_key_of_old
from p2pckpt.trust.identity_file import (
    backup,
    describe,
    load,
    load_or_create,
    move,
    needs_passphrase,
    restore,
    set_passphrase,
)

FILE = "identity.json"
MAKE = """
import sys
from pathlib import Path
from p2pckpt.trust.identity_file import load_or_create
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
    saved = backup(tmp_path / "old", "correct horse")
    assert saved.isascii()
    restore(tmp_path / "new" / "keys", saved, "correct horse")
    found = load(tmp_path / "new" / "keys")
    assert (found.public, found.name, found.created_at) == (made.public, "ann", made.created_at)
    assert (tmp_path / "new" / "keys").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "keys" / FILE).stat().st_mode & 0o777 == 0o600


def test_restoring_again_over_the_same_identity_changes_nothing(tmp_path: Path) -> None:
    load_or_create(tmp_path, "ann")
    before = (tmp_path / FILE).read_bytes()
    restore(tmp_path, backup(tmp_path, ""), "")
    assert (tmp_path / FILE).read_bytes() == before


def test_restoring_never_replaces_another_identity(tmp_path: Path) -> None:
    load_or_create(tmp_path / "mine", "")
    load_or_create(tmp_path / "theirs", "")
    before = (tmp_path / "mine" / FILE).read_bytes()
    with pytest.raises(NotAllowed, match="another identity"):
        restore(tmp_path / "mine", backup(tmp_path / "theirs", "p"), "p")
    assert (tmp_path / "mine" / FILE).read_bytes() == before
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [FILE]


def test_a_wrong_passphrase_or_damage_restores_nothing(tmp_path: Path) -> None:
    load_or_create(tmp_path / "old", "")
    saved = backup(tmp_path / "old", "right")
    damaged = bytearray(saved)
    damaged[-10] = ord("A") if damaged[-10] != ord("A") else ord("B")
    for data, passphrase in ((saved, "wrong"), (bytes(damaged), "right"), (saved[:60], "right")):
        with pytest.raises(VerificationFailed, match="passphrase is wrong, or the backup is damaged"):
            restore(tmp_path / "new", data, passphrase)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("data", [b"", b"p2pckpt identity", b"\x00" * 1000, b"p2pckpt identity backup v3\nAAAA"])
def test_what_is_no_backup_is_refused_as_such(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadUsage, match="no key backup"):
        restore(tmp_path, data, "")


def test_backups_of_one_identity_differ_and_hold_no_key(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, "")
    first, second = backup(tmp_path, "p"), backup(tmp_path, "p")
    assert first != second
    assert made.signing.private_bytes_raw().hex().encode() not in first


# -- of two keys, and of three


def as_format_1(path: Path) -> bytes:
    """Rewrite the file as it was before there were model keys."""
    content = json.loads(path.read_bytes())
    del content["model_key"]
    path.write_bytes(json.dumps(content | {"format": 1}).encode())
    return path.read_bytes()


def test_a_file_of_format_1_gets_its_third_key_in_place(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, "ann")
    as_format_1(tmp_path / FILE)
    found = load(tmp_path)
    assert (found.hex, found.name, found.created_at) == (made.hex, "ann", made.created_at)
    assert found.public.receive_key == made.public.receive_key
    content = json.loads((tmp_path / FILE).read_bytes())
    assert content["format"] == 2
    assert int(content["model_key"], 16) == model_key_of_old(made.signing).private_numbers().private_value
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_every_copy_of_an_old_identity_gets_the_same_third_key(tmp_path: Path) -> None:
    load_or_create(tmp_path / "one", "ann")
    old = as_format_1(tmp_path / "one" / FILE)
    salt, header = bytes(16), b"p2pckpt identity backup v1\n"
    key = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024).derive(b"then")
    backup_of_then = header + base64.encodebytes(salt + sealing.wrap(key, old, header))
    restore(tmp_path / "two", backup_of_then, "then")
    assert load(tmp_path / "one").public == load(tmp_path / "two").public


def test_a_file_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    load_or_create(tmp_path, "")
    path = tmp_path / FILE
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"format": 3}).encode())
    before = path.read_bytes()
    with pytest.raises(P2pckptError, match="format 3"):
        load_or_create(tmp_path, "")
    assert path.read_bytes() == before


# -- what may lie in the file's place


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path / "real", "")
    (tmp_path / "keys").mkdir(mode=0o700)
    for target in (tmp_path / "real" / FILE, tmp_path / "nothing"):
        (tmp_path / "keys" / FILE).symlink_to(target)
        with pytest.raises(NotAllowed, match="is a link"):
            load_or_create(tmp_path / "keys", "")
        (tmp_path / "keys" / FILE).unlink()


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE, 0o600)
    with pytest.raises(P2pckptError, match="it is no file"):
        load_or_create(tmp_path, "")


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_or_create(tmp_path, "")
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(NotAllowed, match="belongs to another user") as refused:
        load_or_create(tmp_path, "")
    assert refused.value.next_step.startswith("chown")


def test_a_directory_that_others_write_to_is_refused(tmp_path: Path) -> None:
    load_or_create(tmp_path, "")
    tmp_path.chmod(0o770)
    with pytest.raises(NotAllowed, match="others can write to"):
        load_or_create(tmp_path, "")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_never_overwritten_and_shows_no_key(tmp_path: Path, damage: str) -> None:
    load_or_create(tmp_path, "")
    path = tmp_path / FILE
    content = json.loads(path.read_bytes())
    path.write_bytes(DAMAGE[damage](content))
    before = path.read_bytes()
    with pytest.raises(P2pckptError) as refused:
        load_or_create(tmp_path, "")
    assert path.read_bytes() == before
    said = f"{refused.value.fact} {refused.value.kept} {refused.value.next_step} {refused.value.__cause__}"
    assert not any(str(content[key]) in said for key in ("signing_key", "receive_key", "model_key"))


# -- passphrases


def test_a_passphrase_seals_the_file_until_it_is_removed(tmp_path: Path) -> None:
    made = load_or_create(tmp_path, "ann")
    plain = (tmp_path / FILE).read_bytes()
    set_passphrase(tmp_path, "sesame")
    sealed = (tmp_path / FILE).read_bytes()
    assert needs_passphrase(tmp_path)
    assert not any(key.encode() in sealed for key in secrets_of(plain))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert load(tmp_path, ask=lambda: "sesame").public == made.public
    set_passphrase(tmp_path, "another", ask=lambda: "sesame")
    assert load_or_create(tmp_path, "", ask=lambda: "another").public == made.public
    set_passphrase(tmp_path, "", ask=lambda: "another")
    assert (tmp_path / FILE).read_bytes() == plain


def test_without_the_right_passphrase_nothing_is_loaded_or_changed(tmp_path: Path) -> None:
    load_or_create(tmp_path, "")
    set_passphrase(tmp_path, "sesame")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(NotAllowed, match="needs its passphrase") as missing:
        load_or_create(tmp_path, "")
    assert "passphrase_file" in missing.value.next_step
    attempts: list[Callable[[], object]] = [
        lambda: load(tmp_path, ask=lambda: "wrong"),
        lambda: set_passphrase(tmp_path, "", ask=lambda: "wrong"),
        lambda: backup(tmp_path, "p", ask=lambda: "wrong"),
        lambda: move(tmp_path, "keyring", ask=lambda: "wrong"),
    ]
    for attempt in attempts:
        with pytest.raises(VerificationFailed, match="does not open"):
            attempt()
    assert (tmp_path / FILE).read_bytes() == before


def test_a_sealed_identity_can_be_backed_up_and_restored(tmp_path: Path) -> None:
    made = load_or_create(tmp_path / "old", "ann")
    set_passphrase(tmp_path / "old", "sesame")
    saved = backup(tmp_path / "old", "for the backup", ask=lambda: "sesame")
    restore(tmp_path / "new", saved, "for the backup")
    assert load(tmp_path / "new").public == made.public
    restore(tmp_path / "old", saved, "for the backup")
    assert needs_passphrase(tmp_path / "old")


def test_a_sealed_file_of_another_identity_does_not_open_under_this_ones_name(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for directory in (mine, theirs):
        load_or_create(directory, "")
        set_passphrase(directory, "sesame")
    swapped = json.loads((mine / FILE).read_bytes()) | {"sealed": json.loads((theirs / FILE).read_bytes())["sealed"]}
    (mine / FILE).write_text(json.dumps(swapped))
    with pytest.raises(VerificationFailed):
        load(mine, ask=lambda: "sesame")


# -- the OS keyring


def secrets_of(plain: bytes) -> list[str]:
    return [value for name, value in json.loads(plain).items() if name.endswith("_key")]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring that works, as a file."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.support.keyrings.Shelf")
    monkeypatch.setenv("TEST_KEYRING", str(tmp_path / "shelf.json"))
    return tmp_path / "shelf.json"


def test_keys_live_in_the_keyring_and_the_file_points_there(tmp_path: Path, shelf: Path) -> None:
    made = load_or_create(tmp_path / "keys", "ann", store="keyring")
    content = json.loads((tmp_path / "keys" / FILE).read_bytes())
    assert content == {"format": 2, "identity": made.hex, "keyring": "p2pckpt"}
    kept = json.loads(shelf.read_text())[f"p2pckpt/{made.hex}"]
    assert load(tmp_path / "keys").public == made.public
    move(tmp_path / "keys", "file")
    assert (tmp_path / "keys" / FILE).read_bytes().decode() == kept
    assert json.loads(shelf.read_text()) == {}
    move(tmp_path / "keys", "keyring")
    assert "keyring" in describe(tmp_path / "keys")
    saved = backup(tmp_path / "keys", "p")
    restore(tmp_path / "other", saved, "p", store="file")
    assert load(tmp_path / "other").public == made.public


def test_a_keyring_that_lost_the_keys_is_no_reason_for_new_ones(tmp_path: Path, shelf: Path) -> None:
    load_or_create(tmp_path / "keys", "", store="keyring")
    before = (tmp_path / "keys" / FILE).read_bytes()
    shelf.unlink()
    with pytest.raises(P2pckptError, match="no such entry") as lost:
        load_or_create(tmp_path / "keys", "", store="keyring")
    assert "key restore" in lost.value.next_step
    assert (tmp_path / "keys" / FILE).read_bytes() == before


def test_a_keyring_with_the_keys_of_somebody_else_is_noticed(tmp_path: Path, shelf: Path) -> None:
    mine = load_or_create(tmp_path / "mine", "", store="keyring")
    theirs = load_or_create(tmp_path / "theirs", "", store="keyring")
    kept = json.loads(shelf.read_text())
    shelf.write_text(json.dumps(kept | {f"p2pckpt/{mine.hex}": kept[f"p2pckpt/{theirs.hex}"]}))
    with pytest.raises(P2pckptError, match="is not this identity"):
        load(tmp_path / "mine")


BACKENDS = ["keyring.backends.fail.Keyring", "keyring.backends.null.Keyring", "keyring.backends.chainer.ChainerBackend"]


@pytest.mark.parametrize("backend", [*BACKENDS, "tests.support.keyrings.Shelf", "no.such.Backend", ""])
def test_auto_takes_the_file_where_no_keyring_is_open(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
    if not backend:
        monkeypatch.delenv("PYTHON_KEYRING_BACKEND")
    # a bus that nobody answers on: what a session's environment looks like after `su`
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    load_or_create(tmp_path / "keys", "", store="auto")
    assert secrets_of((tmp_path / "keys" / FILE).read_bytes())


def test_auto_without_a_session_does_not_even_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(subprocess, "run", None)
    load_or_create(tmp_path, "", store="auto")


def test_a_keyring_that_was_asked_for_and_fails_is_an_error(
    tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_or_create(tmp_path / "kept", "")
    before = (tmp_path / "kept" / FILE).read_bytes()
    monkeypatch.setattr(os_keyring, "_ANSWER_SECONDS", 1.5)
    for backend in ("tests.support.keyrings.Hangs", "tests.support.keyrings.Quotes", *BACKENDS[:2]):
        monkeypatch.setenv("PYTHON_KEYRING_BACKEND", backend)
        with pytest.raises(os_keyring.KeyringFailed) as failed:
            move(tmp_path / "kept", "keyring")
        assert not any(key in str(failed.value.fact) for key in secrets_of(before))
    with pytest.raises(os_keyring.KeyringFailed):
        load_or_create(tmp_path / "new", "", store="keyring")
    assert not (tmp_path / "new" / FILE).exists()
    assert load(tmp_path / "kept").public == made.public
