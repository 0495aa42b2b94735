"""What a publish would find new in a directory, why, and about how much of it there would be to store and to send."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from blake3 import blake3

from p2pckpt.checkpoint.card import read_card
from p2pckpt.checkpoint.chunking import Cut, cuts
from p2pckpt.checkpoint.codec import frame as codec
from p2pckpt.checkpoint.formats.layout import FileLayout, TensorInfo
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.control.publish_messages import NewFile, PublishPlan, PublishRequest
from p2pckpt.errors import P2pckptError, TrackerUnreachable, UnsafeContent, VerificationFailed
from p2pckpt.jobs.delta_base import BaseChunk, DeltaBase
from p2pckpt.jobs.folder import cancellable, card_warnings, default_name, described, places, readme_of
from p2pckpt.jobs.keyframes import base_for
from p2pckpt.jobs.layouts import Layouts
from p2pckpt.jobs.packing import FileSource
from p2pckpt.jobs.safety import as_warnings, require_publishable, scan_files
from p2pckpt.jobs.scanning import Scan, ScannedFile, scan
from p2pckpt.jobs.services import Services
from p2pckpt.store.checkout import free_bytes

_MAX_FILES: Final = 200
"""Files that a plan names."""
_SAMPLE_ALWAYS: Final = 16 << 20
_SAMPLE_PART: Final = 0.05
"""New bytes that are compressed to see how small they get: the first ones, and this part of all."""


async def plan(services: Services, request: PublishRequest) -> PublishPlan:
    """Reads and hashes everything, writes nothing."""
    directory = Path(request.path)
    found = await cancellable(lambda check: scan(directory, check))
    findings = await cancellable(lambda check: scan_files(places(found), check))
    warnings = [*found.warnings, *await asyncio.to_thread(_card_problems, directory, found, request)]
    warnings += as_warnings(tuple(map(str, findings)))
    try:
        require_publishable(findings, allow=request.allow_unsafe_pickle)
    except UnsafeContent as exc:
        warnings.append(f"it would not be published like this: {exc.next_step}")
    name = request.name or await asyncio.to_thread(default_name, directory)
    share = await services.shares.own(name)
    version, share_id = 1, b""
    before: Manifest | None = None
    base: DeltaBase | None = None
    if share is not None:
        share_id = share.share_id
        trusted = await services.shares.trusted(share)
        version = max(trusted.targets.versions, default=0) + 1
        if trusted.targets.versions:
            with contextlib.suppress(VerificationFailed, TrackerUnreachable):  # only the reasons need it
                before, _ = await services.shares.manifest(share, trusted, version - 1)
        base = await base_for(services, share, trusted, request.tags)
    look = await cancellable(lambda check: _Look(services, share_id, version == 1, before, base, check).run(found))
    return PublishPlan(
        share=name,
        version=version,
        files=len(found.files),
        size=found.size,
        new_size=look.new_size,
        stored_size=look.delta_size if request.delta else look.whole_size,
        new_files=tuple(look.files[:_MAX_FILES]),
        new_file_count=len(look.files),
        warnings=tuple(warnings),
        disk_needed=look.new_size,
        disk_free=free_bytes(services.layout.root),
        delta_size=look.delta_size if base is not None else -1,
    )


def _card_problems(directory: Path, found: Scan, request: PublishRequest) -> tuple[str, ...]:
    """What is wrong with the card as it would be published."""
    readme = readme_of(directory, found)
    return card_warnings(read_card(readme if request.card is None else described(readme, request.card)), directory)


class _Look:
    """One pass over a directory. Blocks; ``check`` is called often, to be stopped by."""

    def __init__(
        self,
        services: Services,
        share_id: bytes,
        is_first: bool,
        before: Manifest | None,
        base: DeltaBase | None,
        check: Callable[[], None],
    ) -> None:
        self._services = services
        self._share_id = share_id
        self._base = base
        self._check = check
        self._is_first = is_first
        self._knows_before = before is not None
        self._paths = {file.path for file in before.body.files} if before is not None else set()
        tensors = before.body.tensors if before is not None else ()
        self._tensors = {(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors}
        self._names = {tensor.name for tensor in tensors}
        self._seen: set[bytes] = set()
        self._sampled = self._sample_whole = self._sample_delta = 0
        self.files: list[NewFile] = []
        self.new_size = 0

    @property
    def whole_size(self) -> int:
        """About how many bytes of frames the new ones would be."""
        return self._projected(self._sample_whole)

    @property
    def delta_size(self) -> int:
        """The same with differences to the base, where these are smaller."""
        return self._projected(self._sample_delta)

    def run(self, found: Scan) -> _Look:
        layouts = Layouts(found.files)
        for file in found.files:
            self._file(file, layouts)
        return self

    def _projected(self, sample: int) -> int:
        return round(self.new_size * sample / self._sampled) if self._sampled else 0

    def _file(self, file: ScannedFile, layouts: Layouts) -> None:
        outside, touched, new = 0, set[int](), 0
        with FileSource(file) as source:
            layout = layouts.of(file.path, source)
            for cut in cuts(layout, source):
                self._check()
                raw = cut.data if cut.data is not None else source.read(cut.offset, cut.length)
                if not self._is_new(raw):
                    continue
                new += cut.length
                touched.add(cut.tensor)
                outside += cut.length if cut.tensor < 0 else 0
                self._sample(raw, cut, layout)
        if new:
            self.new_size += new
            self.files.append(NewFile(file.path, file.size, new, self._why(file.path, layout, touched - {-1}, outside)))

    def _is_new(self, raw: bytes | memoryview) -> bool:
        chunk = blake3(raw).digest()
        if chunk in self._seen:
            return False
        self._seen.add(chunk)
        known = self._services.catalogue.locate(self._share_id, chunk) if self._share_id else None
        return known is None or bool(known.delta)

    def _sample(self, raw: bytes | memoryview, cut: Cut, layout: FileLayout) -> None:
        if self._sampled > _SAMPLE_ALWAYS + _SAMPLE_PART * self.new_size:
            return
        self._sampled += cut.length
        tensor = layout.tensors[cut.tensor] if cut.tensor >= 0 else None
        alone = len(codec.encode(raw, cut.dtype))
        delta: bytes | None = None
        if (like := self._like(tensor, cut)) is not None:
            with contextlib.suppress(P2pckptError):  # a damaged base: packing takes none, either
                delta = codec.encode_delta(raw, like.raw(), cut.dtype, alone=alone)
        self._sample_whole += alone
        self._sample_delta += alone if delta is None else len(delta)

    def _like(self, tensor: TensorInfo | None, cut: Cut) -> BaseChunk | None:
        if self._base is None or tensor is None:
            return None
        return self._base.find(tensor, cut.offset - tensor.offset, cut.length)

    def _why(self, path: str, layout: FileLayout, touched: set[int], outside: int) -> str:
        """In words: which tensors, or what else."""
        if self._is_first:
            return "the first version"
        if not self._knows_before:
            return "the version before can't be read here"
        said = Counter(self._kind(layout.tensors[index]) for index in touched)
        many = len(layout.tensors)
        parts = [f"{said[kind]:,} of {many:,} tensors {kind}" for kind in ("changed", "new", "in another shape or type")
                 if said[kind]]  # fmt: skip
        if outside and layout.tensors:
            parts.append("its header" if not parts else "and its header")
        elif outside:
            parts.append("its content" if path in self._paths else "a new file")
        return ", ".join(parts)

    def _kind(self, tensor: TensorInfo) -> str:
        if (tensor.name, tensor.dtype, tensor.shape) in self._tensors:
            return "changed"
        return "in another shape or type" if tensor.name in self._names else "new"
