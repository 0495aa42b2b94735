"""Tensors of a version, read one at a time: only the chunks under what is asked for are fetched.

    with p2pckpt.open("cars/sd15@stable") as tensors:
        tensors.keys()
        weight = tensors.get_tensor("unet.conv_in.weight")
        rows = tensors.get_slice("embedding.weight")[1000:1010]

The reading shape is that of safetensors' ``safe_open``, over every format whose headers are read: safetensors, GGUF
and ``torch.save`` archives, of which nothing is ever unpickled. ``open_async`` is for code with a loop of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from math import prod
from types import TracebackType
from typing import Any, Final

from p2pckpt import arrays
from p2pckpt.background import client_of, run
from p2pckpt.checkpoint.formats.dtypes import BITS
from p2pckpt.config import Config, load
from p2pckpt.control.client import ControlClient, connect
from p2pckpt.control.read_messages import Contents, FileInfo, TensorInfo
from p2pckpt.errors import BadUsage, DaemonUnavailable, NotFound, VerificationFailed
from p2pckpt.tensor_index import Selection, select

_PATIENCE: Final = 60.0
_MAX_HEADER: Final = 100_000_000
"""Bytes of a safetensors header, as its own library limits them."""
_MAX_DIMENSIONS: Final = 32
"""Of an array, as older versions of numpy limit them."""
_LARGEST: Final = (1 << 63) - 1
"""Bytes of an array."""
_KINDS: Final = ("safetensors", "gguf", "torch_zip")
"""Of files in one directory that hold a tensor of the same name, the first of these is taken."""


def open(
    name: str,
    *,
    framework: str = "np",
    device: str = "cpu",
    only: Sequence[str] = (),
    patience: float = _PATIENCE,
    config: Config | None = None,
) -> LazyTensors:
    """The tensors of ``NAME[@VERSION|@TAG]`` of a share that is known here, or of a link, which is joined.

    ``framework`` is ``np`` or ``pt``, ``device`` torch's; ``only`` names files whose tensors count (paths; default:
    all). What ``name`` stands for is looked up once: a tag that moves meanwhile changes nothing. ``patience`` is how
    many seconds may pass without a byte. Raises ``NotFound``, ``NotAllowed``, ``UntrustedKey``, ``VerificationFailed``,
    ``DaemonUnavailable`` and others of ``p2pckpt.errors``; reading raises ``NoSeeds`` when nobody has the rest, too.
    """
    arrays.check(framework, "", "F32")

    settings = config or load()

    async def client() -> ControlClient:
        return await client_of(settings)  # of this process: a fork has its own

    async def opened() -> AsyncLazyTensors:
        contents = await (await client()).contents(name)
        return AsyncLazyTensors(client, contents, framework, device, only, patience)

    return LazyTensors(run(opened()))


async def open_async(
    name: str,
    *,
    framework: str = "np",
    device: str = "cpu",
    only: Sequence[str] = (),
    patience: float = _PATIENCE,
    config: Config | None = None,
) -> AsyncLazyTensors:
    """See ``open``. Use as an asynchronous context manager, or close it."""
    arrays.check(framework, "", "F32")
    client = await connect(config or load())

    async def own() -> ControlClient:
        return client

    try:
        contents = await client.contents(name)
        return AsyncLazyTensors(own, contents, framework, device, only, patience, client.close)
    except BaseException:
        await client.close()
        raise


class AsyncLazyTensors:
    """See ``LazyTensors``; what fetches is awaited."""

    def __init__(
        self,
        client: Callable[[], Awaitable[ControlClient]],
        contents: Contents,
        framework: str,
        device: str,
        only: Sequence[str],
        patience: float,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.contents = contents
        self._client = client
        self._framework = framework
        self._device = device
        self._patience = patience
        self._close = close
        self._pinned = f"{contents.share_id}@{contents.version}"
        paths = [file.path for file in contents.files]
        if unknown := set(only) - set(paths):
            raise NotFound(f"{contents.share}@v{contents.version} has no file {min(unknown)!r}")
        self._chosen = {number for number, path in enumerate(paths) if not only or path in only}
        self._tensors = _named(contents, self._chosen)

    async def __aenter__(self) -> AsyncLazyTensors:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """No tensor can be read afterwards."""
        if self._close is not None:
            await self._close()

    def keys(self) -> list[str]:
        """Names of the tensors, in the order in which they are stored."""
        return list(self._tensors)

    offset_keys = keys

    def info(self, name: str) -> TensorInfo:
        """Type, shape and place of a tensor. Raises ``NotFound``, and ``BadUsage`` for a view of a storage."""
        found = self._tensors.get(name)
        if found is None:
            path, _, short = name.rpartition(":")
            found = next(
                (
                    tensor
                    for tensor in self.contents.tensors
                    if tensor.file in self._chosen
                    and (self.contents.files[tensor.file].path, tensor.name) == (path, short)
                ),
                None,
            )
        if found is None:
            if (storage := next((each for each in self._tensors if each.startswith(f"{name}@")), None)) is not None:
                raise BadUsage(
                    f"tensor {name!r} is a view of a storage that is not laid out as it is",
                    next_step=f"read {storage!r}, all of it as a row, or get the version and load it with torch",
                )
            raise NotFound(f"{self.contents.share}@v{self.contents.version} has no tensor {name!r}")
        return found

    async def metadata(self) -> dict[str, str] | None:
        """What the safetensors files say under ``__metadata__``, the first word counting; None without any.

        Fetches their headers.
        """
        files = [f for n, f in enumerate(self.contents.files) if n in self._chosen and f.kind == "safetensors"]
        found: dict[str, str] = {}
        for file in files:
            length = int.from_bytes(await self._bytes(file.path, 0, 8), "little")
            if length > min(file.size - 8, _MAX_HEADER):
                raise VerificationFailed(f"the header of {file.path} is longer than it can be")
            try:
                header = json.loads(await self._bytes(file.path, 8, 8 + length))
                found = {**header.get("__metadata__", {}), **found}
            except (ValueError, AttributeError, TypeError) as exc:
                raise VerificationFailed(f"the header of {file.path} can't be read: {exc}") from exc
        return found or None

    async def get_tensor(self, name: str) -> Any:
        """A whole tensor, in an array of its own. Raises ``NotFound``, ``NoSeeds`` and others."""
        return await self.get_slice(name)[...]

    def get_slice(self, name: str) -> AsyncLazySlice:
        """A tensor to be indexed; nothing is fetched yet. Raises ``NotFound``, ``BadUsage`` for a quantised one, and
        ``VerificationFailed`` for one that can't be as the manifest says."""
        tensor = self.info(name)
        arrays.check(self._framework, name, tensor.dtype)
        _require_sense(tensor, self.contents.files[tensor.file])
        return AsyncLazySlice(self, tensor)

    async def read(self, tensor: TensorInfo, selection: Selection) -> Any:
        """The elements that were selected, as an array."""
        width = _bytes_of_each(tensor.dtype)
        start = tensor.offset + selection.start * width
        data = await self._bytes(self.contents.files[tensor.file].path, start, start + selection.count * width)
        found = arrays.array(self._framework, tensor.dtype, selection.shape, data, self._device)
        return found[selection.index] if selection.index else found

    async def _bytes(self, path: str, start: int, end: int) -> bytearray:
        data = bytearray(end - start)
        at = 0
        if data:
            # numbers alone are made of these bytes, whatever pickle is beside them
            client = await self._client()
            blocks = client.read(self._pinned, path, start, end, patience=self._patience, allow_unsafe_pickle=True)
            async with contextlib.aclosing(blocks):
                async for block in blocks:
                    data[at : at + len(block)] = block
                    at += len(block)
        if at != end - start:
            raise DaemonUnavailable("the daemon sent fewer bytes than were asked for", next_step="p2pckpt daemon logs")
        return data


class AsyncLazySlice:
    """One tensor: ``await lazy_slice[index]`` reads what ``index`` needs."""

    def __init__(self, tensors: AsyncLazyTensors, tensor: TensorInfo) -> None:
        self._tensors = tensors
        self._tensor = tensor

    def get_shape(self) -> list[int]:
        return list(self._tensor.shape)

    def get_dtype(self) -> str:
        """As safetensors writes it: BF16, F32, …"""
        return self._tensor.dtype

    def __getitem__(self, index: Any) -> Coroutine[Any, Any, Any]:
        return self._tensors.read(self._tensor, select(self._tensor.shape, index))


class LazyTensors:
    """The tensors of one version, as safetensors' ``safe_open`` gives them. A context manager.

    A name that several files have belongs to the safetensors file among those of one directory; over directories each
    is called ``FILE:NAME``. Under that name every tensor can be asked for. ``contents`` says what else the version is.
    """

    def __init__(self, tensors: AsyncLazyTensors) -> None:
        self._tensors = tensors

    @property
    def contents(self) -> Contents:
        return self._tensors.contents

    def __enter__(self) -> LazyTensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is open: the daemon lets go of the version by itself."""

    def keys(self) -> list[str]:
        """Names of the tensors, in the order in which they are stored."""
        return self._tensors.keys()

    def offset_keys(self) -> list[str]:
        """The same."""
        return self._tensors.keys()

    def metadata(self) -> dict[str, str] | None:
        """See ``AsyncLazyTensors.metadata``."""
        return run(self._tensors.metadata())

    def get_tensor(self, name: str) -> Any:
        """A whole tensor, in an array of its own. Raises ``NotFound``, ``NoSeeds`` and others."""
        return run(self._tensors.get_tensor(name))

    def get_slice(self, name: str) -> LazySlice:
        """A tensor to be indexed; nothing is fetched yet. Raises ``NotFound``, and ``BadUsage`` for a quantised one."""
        return LazySlice(self._tensors.get_slice(name))


class LazySlice:
    """One tensor: ``lazy_slice[index]`` fetches the rows that ``index`` needs, and no others."""

    def __init__(self, lazy: AsyncLazySlice) -> None:
        self._lazy = lazy

    def get_shape(self) -> list[int]:
        return self._lazy.get_shape()

    def get_dtype(self) -> str:
        """As safetensors writes it: BF16, F32, …"""
        return self._lazy.get_dtype()

    def __getitem__(self, index: Any) -> Any:
        return run(self._lazy[index])


def _bytes_of_each(dtype: str) -> int:
    """Of a type that there is an array type for; of bytes that nothing is known of, 1."""
    return BITS.get(dtype, 8) // 8


def _require_sense(tensor: TensorInfo, file: FileInfo) -> None:
    """Raise ``VerificationFailed`` for a tensor whose shape, type and bytes contradict each other: publishers lie."""
    sides = [max(1, side) for side in tensor.shape]  # arrays without elements have limits, too
    fits = len(sides) <= _MAX_DIMENSIONS and prod(sides) * _bytes_of_each(tensor.dtype) <= _LARGEST
    if (
        not fits
        or min(tensor.shape, default=0) < 0
        or prod(tensor.shape) * _bytes_of_each(tensor.dtype) != tensor.length
        or not 0 <= tensor.offset <= file.size - tensor.length
    ):
        raise VerificationFailed(
            f"the manifest contradicts itself about tensor {tensor.name[:100]!r}",
            kept="nothing was fetched",
            next_step="tell the publisher",
        )


def _named(contents: Contents, chosen: set[int]) -> dict[str, TensorInfo]:
    """What each name stands for, in the order of files and offsets."""
    rank = {
        number: _KINDS.index(f.kind) if f.kind in _KINDS else len(_KINDS) for number, f in enumerate(contents.files)
    }
    where = {number: file.path.rpartition("/")[0] for number, file in enumerate(contents.files)}
    best: dict[tuple[str, str], TensorInfo] = {}
    ordered = sorted((t for t in contents.tensors if t.file in chosen), key=lambda t: (t.file, t.offset))
    for tensor in ordered:
        key = where[tensor.file], tensor.name
        if key not in best or rank[tensor.file] < rank[best[key].file]:
            best[key] = tensor
    places: dict[str, int] = {}
    for _, name in best:
        places[name] = places.get(name, 0) + 1
    kept = sorted(best.values(), key=lambda t: (t.file, t.offset))
    return {t.name if places[t.name] == 1 else f"{contents.files[t.file].path}:{t.name}": t for t in kept}
