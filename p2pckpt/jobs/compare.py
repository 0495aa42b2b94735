"""Comparing two versions by their manifests: files, chunks and tensors, without any content."""

from __future__ import annotations

from p2pckpt.checkpoint.manifest import Body, Manifest
from p2pckpt.checkpoint.plan import missing_chunks, pieces_wanted, wire_bytes
from p2pckpt.control.messages import DiffReply, DiffRow, FactChange


def compare(name_a: str, a: Manifest, name_b: str, b: Manifest) -> DiffReply:
    """What somebody who has ``a`` needs for ``b``, file by file and tensor by tensor."""
    have = {a.chunk_id(chunk) for chunk in range(a.chunk_count)}
    files_a = {file.path: file for file in a.body.files}
    rows: list[DiffRow] = []
    new_chunks: set[int] = set()
    for file in b.body.files:
        chunks = set(b.chunks_of(file).tolist())
        new = {chunk for chunk in chunks if b.chunk_id(chunk) not in have}
        new_chunks |= new
        before = files_a.get(file.path)
        change = "added" if before is None else "same" if _same(before, file) else "changed"
        new_bytes = sum(int(b.raw_lengths[chunk]) for chunk in new)
        rows.append(DiffRow(file.path, change, before.size if before else 0, file.size, new_bytes))
    present = {file.path for file in b.body.files}
    rows += [DiffRow(path, "removed", file.size, 0, 0) for path, file in files_a.items() if path not in present]
    tensors_a, tensors_b = _tensors(a), _tensors(b)
    present_in_a = {chunk for chunk in range(b.chunk_count) if b.chunk_id(chunk) in have}
    needed = missing_chunks(b, range(len(b.body.files)), present_in_a)
    return DiffReply(
        a=name_a,
        b=name_b,
        rows=tuple(sorted(rows, key=lambda row: row.path)),
        new_bytes=sum(int(b.raw_lengths[chunk]) for chunk in new_chunks),
        wire_bytes=wire_bytes(b, pieces_wanted(b, needed)),
        delta_bytes=sum(int(b.raw_lengths[chunk]) for chunk in new_chunks if b.bases[chunk]),
        tensors_added=tuple(sorted(tensors_b.keys() - tensors_a.keys())),
        tensors_removed=tuple(sorted(tensors_a.keys() - tensors_b.keys())),
        tensors_changed=tuple(sorted(n for n in tensors_a.keys() & tensors_b.keys() if tensors_a[n] != tensors_b[n])),
        facts=_facts(a.body, b.body),
    )


def _facts(a: Body, b: Body) -> tuple[FactChange, ...]:
    """What they say differently, in the order of ``_said``."""
    before, after = _said(a), _said(b)
    names = dict.fromkeys([*after, *before])
    return tuple(
        FactChange(name, before.get(name, ""), after.get(name, ""))
        for name in names
        if before.get(name) != after.get(name)
    )


def _said(body: Body) -> dict[str, str]:
    """Facts, then metrics; one that is called as a fact is gives way."""
    facts = {
        "step": "" if body.step is None else str(body.step),
        "licence": body.licence,
        "base model": ", ".join(body.base_model),
        "card": body.card.hex()[:12],
        "encoder": body.encoder,
    }
    return facts | {name: f"{value:.6g}" for name, value in sorted(body.metrics.items()) if name not in facts}


def _same(before: object, after: object) -> bool:
    fields = ("size", "executable", "sha256")
    return all(getattr(before, name) == getattr(after, name) for name in fields)


def _tensors(manifest: Manifest) -> dict[str, tuple[str, tuple[int, ...], tuple[bytes, ...]]]:
    """Name → dtype, shape and the chunks that hold it: tensors are cut from their own start, so equal content
    means equal chunks whatever file they lie in."""
    starts: dict[int, dict[int, int]] = {}
    for number, offset, chunk in manifest.places():
        starts.setdefault(number, {})[offset] = chunk
    found = {}
    for tensor in manifest.body.tensors:
        chunks: list[bytes] = []
        position = tensor.offset
        while position < tensor.offset + tensor.length and position in starts.get(tensor.file, {}):
            chunk = starts[tensor.file][position]
            chunks.append(manifest.chunk_id(chunk))
            position += int(manifest.raw_lengths[chunk])
        found[tensor.name] = (tensor.dtype, tensor.shape, tuple(chunks))
    return found
