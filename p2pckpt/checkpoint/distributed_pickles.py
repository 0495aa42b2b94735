"""The pickles of a distributed checkpoint: what its metadata gives out as one has to be what the search looked at.

``torch.distributed.checkpoint`` unpickles, without restraint, whatever bytes of a file its ``.metadata`` says an object
is. The search for pickles sees a shard as a row of archives; bytes within a tensor that happen to be one as well are
not looked into, and so must not be what the metadata points at.
"""

from __future__ import annotations

from collections.abc import Iterable

from p2pckpt.checkpoint.formats import torch_legacy, zip_row
from p2pckpt.checkpoint.formats.dcp import DcpItem, read_metadata
from p2pckpt.checkpoint.formats.layout import Malformed, short
from p2pckpt.checkpoint.formats.pickle_walk import MAX_BYTES, PickleUnreadable
from p2pckpt.checkpoint.formats.source import ByteSource
from p2pckpt.checkpoint.pickles import Finding, Verdict


def objects_in(path: str, source: ByteSource) -> tuple[tuple[DcpItem, ...], Finding | None]:
    """What the metadata at ``path`` says are objects, and what is to be said of it if that can't be found out.

    Neither for a file that is no pickle.
    """
    if not torch_legacy.looks_like(source.read(0, min(2, source.size))):
        return (), None
    try:
        if source.size > MAX_BYTES:
            raise PickleUnreadable(f"the pickle is larger than {MAX_BYTES >> 20} MiB")
        metadata = read_metadata(source.read(0, source.size))
    except (Malformed, PickleUnreadable) as exc:
        return (), Finding(Verdict.UNREADABLE, path, f"what it names in other files can't be followed: {exc}")
    return tuple(item for item in metadata.items if item.offsets is None), None


def judge_objects(path: str, items: Iterable[DcpItem], shard: ByteSource) -> Finding | None:
    """What is to be said of a shard at ``path``, given what the metadata says are objects in it; None for nothing."""
    looked_at = {(0, shard.size), *zip_row.parts(shard)}
    for item in items:
        if not item.plain:
            return Finding(Verdict.UNREADABLE, path, f"the object {short(item.name)} is compressed or encrypted")
        if (item.offset, item.length) not in looked_at:
            return Finding(Verdict.UNREADABLE, path, f"the object {short(item.name)} is no archive of its own")
    return None
