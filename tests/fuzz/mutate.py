"""Small damage to valid input, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

_INTERESTING = [0, 1, 7, 8, 31, 32, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
_INTERESTING += [2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def mutations(corpus: list[bytes], count: int, seed: int, *, head: int = 0) -> Iterator[bytes]:
    """``count`` damaged copies. With ``head``, most damage is done to so many bytes at either end."""
    assert corpus, "nothing to mutate"
    assert all(corpus), "an empty input cannot be mutated"
    random = Random(seed)
    for _ in range(count):
        data = bytearray(random.choice(corpus))
        for _ in range(random.choice([1, 1, 1, 2, 4, 16])):
            _damage(data, random, head)
        yield bytes(data)


def _damage(data: bytearray, random: Random, head: int) -> None:
    at = _place(len(data), random, head)
    match random.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << random.randrange(8)
        case 1 if at < len(data):
            data[at] = random.randrange(256)
        case 2:
            width = random.choice([1, 2, 4, 8])
            value = random.choice(_INTERESTING) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, random.choice(["little", "big"]))
        case 3:
            del data[at : at + random.choice([1, 2, 8, 100])]
        case 4:
            data[at:at] = random.randbytes(random.choice([1, 2, 8, 100]))
        case 5:
            length = random.choice([1, 8, 50])
            source = _place(len(data), random, head)
            data[at : at + length] = data[source : source + length]
        case 6:
            del data[at:]
        case _:
            data += b"\0"


def _place(length: int, random: Random, head: int) -> int:
    if not length:
        return 0
    if head and random.random() < 0.9:
        distance = random.randrange(min(head, length))
        return distance if random.random() < 0.5 else length - 1 - distance
    return random.randrange(length)
