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


def misplaced(path: str, file: str) -> Finding | None:
    """What is to be said of the metadata at ``path`` if it names an object in ``file``; None for nothing."""
    if "/" in file or file in (".", ".."):
        return Finding(Verdict.UNREADABLE, path, f"it names an object in another place, {short(file)}")
    return None


def judge_beside(name: str, metadata: ByteSource, path: str, source: ByteSource) -> Finding | None:
    """What the metadata at ``name`` makes of the file at ``path`` in the same directory, be it that metadata itself.

    None for nothing. Of metadata that can't be followed nobody knows what it makes of the files beside it.
    """
    objects, finding = objects_in(name, metadata)
    if finding is None and path == name:
        finding = next(filter(None, (misplaced(name, item.file) for item in objects)), None)
    if finding is not None:
        return finding
    mine = [item for item in objects if name[: name.rfind("/") + 1] + item.file == path]
    return judge_objects(path, mine, source) if mine else None


def judge_objects(path: str, items: Iterable[DcpItem], shard: ByteSource) -> Finding | None:
    """What is to be said of a shard at ``path``, given what the metadata says are objects in it; None for nothing."""
    looked_at = {(0, shard.size), *zip_row.parts(shard)}
    for item in items:
        if not item.plain:
            return Finding(Verdict.UNREADABLE, path, f"the object {short(item.name)} is compressed or encrypted")
        if (item.offset, item.length) not in looked_at:
            return Finding(Verdict.UNREADABLE, path, f"the object {short(item.name)} is no archive of its own")
    return None
