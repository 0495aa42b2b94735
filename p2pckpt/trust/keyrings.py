"""The keyring's content: epochs of content keys, whom they are sealed to, and how each leads back to the one before.

Only the newest epoch is sealed to members, one entry each. Every epoch carries the previous one's keys under its own,
view under view and content under content, so that a member of today reads what was published before, a viewer stays
a viewer in all epochs, and nothing old is sealed again when somebody goes. Signing it is ``trust.versions``.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping
from typing import Final

from msgspec.structs import replace

from p2pckpt.errors import VerificationFailed
from p2pckpt.tracker_protocol import Role
from p2pckpt.tracker_protocol.signed import KeyringContent, Reader, SealedEpoch
from p2pckpt.trust import sealing
from p2pckpt.trust.identity import Identity, PublicIdentity
from p2pckpt.trust.sealing import EpochKeys

_VIEW: Final = b"p2pckpt earlier view key v1\0"
_CONTENT: Final = b"p2pckpt earlier content key v1\0"


def first(owner: PublicIdentity, share: bytes) -> KeyringContent:
    """The keyring of a new share: one epoch, the owner its only reader."""
    keys = EpochKeys.generate(1)
    return with_reader(KeyringContent((SealedEpoch(1, {}),)), keys, owner, Role.OWNER, share)


def reader_of(member: PublicIdentity, role: Role) -> Reader:
    """The entry for a member whose keys were checked."""
    return Reader(role, member.receive_key.hex())


def with_reader(
    content: KeyringContent, keys: EpochKeys, member: PublicIdentity, role: Role, share: bytes
) -> KeyringContent:
    """``content`` with the newest epoch's ``keys`` sealed to one member more, or anew in another role."""
    reader = reader_of(member, role)
    newest = content.epochs[-1]
    sealed = newest.sealed | {member.identity.hex(): _seal(keys, reader, share)}
    return replace(
        content,
        epochs=(*content.epochs[:-1], replace(newest, sealed=sealed)),
        readers=content.readers | {member.identity.hex(): reader},
        removed=tuple(each for each in content.removed if each != member.identity.hex()),
    )


def new_epoch(
    content: KeyringContent, present: EpochKeys, readers: Mapping[str, Reader], share: bytes
) -> tuple[KeyringContent, EpochKeys]:
    """``content`` with an epoch more, sealed to ``readers`` (by identity) and nobody else; and its keys.

    ``present`` are the keys of the epoch that ends, view and content: the new ones lead back to them.
    """
    keys = EpochKeys.generate(content.newest + 1)
    epoch = SealedEpoch(
        keys.epoch,
        {identity: _seal(keys, reader, share) for identity, reader in readers.items()},
        earlier_view=_encode(sealing.wrap(keys.view, present.view, _context(_VIEW, share, keys.epoch))),
        earlier_content=_encode(sealing.wrap(keys.content, present.content, _context(_CONTENT, share, keys.epoch))),
    )
    ended = tuple(replace(each, sealed={}) for each in content.epochs)
    return replace(content, epochs=(*ended, epoch), readers=dict(readers)), keys


def open_epochs(
    content: KeyringContent, identity: Identity, share: bytes, known: Mapping[int, EpochKeys] | None = None
) -> dict[int, EpochKeys]:
    """Every epoch's keys that we can reach, from what is sealed to us and from ``known`` ones, such as a link's.

    What does not open gives no keys, and is no reason to refuse the share: neither a link nor another owner must be
    able to take from us what we can read otherwise.
    """
    found = dict(known or {})
    for epoch in reversed(content.epochs):
        sealed = epoch.sealed.get(identity.hex)
        if sealed is not None:
            with contextlib.suppress(VerificationFailed):
                mine = sealing.open_as_member(_decode(sealed), identity.receiving, share)
                if mine.epoch == epoch.epoch:
                    found[epoch.epoch] = mine
        if epoch.epoch in found and epoch.epoch > 1 and epoch.epoch - 1 not in found:
            with contextlib.suppress(VerificationFailed):
                found[epoch.epoch - 1] = _earlier(epoch, found[epoch.epoch], share)
    return found


def for_role(keys: EpochKeys, role: Role) -> EpochKeys:
    """The keys that a role is given: a viewer's open manifests only."""
    return keys if role.covers(Role.DOWNLOADER) else EpochKeys(keys.epoch, keys.view, b"")


def _earlier(epoch: SealedEpoch, keys: EpochKeys, share: bytes) -> EpochKeys:
    view = sealing.unwrap(keys.view, _decode(epoch.earlier_view), _context(_VIEW, share, epoch.epoch))
    content = b""
    if keys.content:
        context = _context(_CONTENT, share, epoch.epoch)
        content = sealing.unwrap(keys.content, _decode(epoch.earlier_content), context)
    return EpochKeys(epoch.epoch - 1, view, content)


def _seal(keys: EpochKeys, reader: Reader, share: bytes) -> str:
    try:
        receive_key = bytes.fromhex(reader.receive_key)
    except ValueError as exc:
        raise VerificationFailed("a reader's receive key in the keyring can't be read") from exc
    return _encode(sealing.seal_for_member(for_role(keys, reader.role), receive_key, share))


def _context(label: bytes, share: bytes, epoch: int) -> bytes:
    return label + share + epoch.to_bytes(4, "little")


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise VerificationFailed("content keys in the keyring can't be read") from exc
