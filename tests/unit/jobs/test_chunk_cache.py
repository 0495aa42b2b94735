from __future__ import annotations

from p2pckpt.jobs.chunk_cache import ChunkCache


def test_the_least_recently_used_chunk_makes_way() -> None:
    cache = ChunkCache(10)
    for name in (b"a", b"b"):
        cache.put(name, name * 5)
    assert cache.get(b"a") == b"aaaaa"
    cache.put(b"c", b"ccccc")
    assert cache.get(b"b") is None
    assert (cache.get(b"a"), cache.get(b"c"), cache.size) == (b"aaaaa", b"ccccc", 10)


def test_what_is_larger_than_the_cache_is_not_kept_and_pushes_nothing_out() -> None:
    cache = ChunkCache(10)
    cache.put(b"a", b"aaaaa")
    cache.put(b"b", bytes(11))
    cache.put(b"a", b"aaaaa")
    assert (cache.get(b"b"), cache.get(b"a"), cache.size) == (None, b"aaaaa", 5)
