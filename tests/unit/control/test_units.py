from __future__ import annotations

import pytest

from p2pckpt.units import exact_size, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("1234", 1234),
        ("12B", 12),
        ("5M", 5 << 20),
        ("5m", 5 << 20),
        ("5 MiB", 5 << 20),
        ("5MB", 5_000_000),
        ("1.5K", 1536),
        ("1.5kb/s", 1500),
        ("2G/s", 2 << 30),
        (" 3T ", 3 << 40),
        ("0.1G", (1 << 30) // 10),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "5X", "5 M B", "1,5M", "1.M", "5MBB", "1e9", "٣M", "9999999P", "none"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|is too large"):
        parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1, "1"), (1000, "1KB"), (1024, "1K"), (1536, "1536"), (5 << 20, "5M"), (2 * 10**6, "2MB")],
)
def test_a_size_is_written_as_short_as_it_is_read_back_exactly(count: int, text: str) -> None:
    assert exact_size(count) == text
    assert parse_size(text) == count
