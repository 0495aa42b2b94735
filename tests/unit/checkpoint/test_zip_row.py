from __future__ import annotations

import io
import zipfile

from p2pckpt.checkpoint.formats import BytesSource, zip_row
from p2pckpt.checkpoint.formats.pickle_search import search
from tests.support import pickles
from tests.unit.checkpoint.builders import torch_bytes, zip_bytes

EVIL = pickles.torch_file(pickles.call("os", "system"))
PLAIN = pickles.torch_file(b"\x80\x02}.")


def parts(data: bytes) -> list[tuple[int, int]]:
    return zip_row.parts(BytesSource(data))


def test_archives_one_after_the_other_are_told_apart() -> None:
    rows = [PLAIN, torch_bytes(), PLAIN]
    found = parts(b"".join(rows))
    assert [length for _, length in found] == [len(row) for row in rows]
    assert [offset for offset, _ in found] == [0, len(PLAIN), len(PLAIN) + len(torch_bytes())]


def test_what_is_no_row_is_none() -> None:
    for data in (
        b"",
        b"PK",
        PLAIN,
        b"text" + PLAIN,
        PLAIN + b"gap" + PLAIN,
        PLAIN + zip_bytes({"a": b""}, comment=b"c"),
    ):
        assert parts(data) == []


def test_the_pickles_of_every_archive_of_a_row_are_found() -> None:
    for place in range(3):
        row = [PLAIN, PLAIN, PLAIN]
        row[place] = EVIL
        content = search(BytesSource(b"".join(row)))
        assert content.problems == []
        assert [str(found) for found in content.imports] == ["os.system"]
    assert search(BytesSource(PLAIN * 3)).imports == set()


def test_a_row_in_which_a_reader_from_the_start_finds_another_directory_is_refused() -> None:
    """The last archive's directory, counted from the start of the file, lies in a member of the first."""
    last = bytearray(PLAIN)
    offset = int.from_bytes(last[-6:-2], "little")
    hidden = bytearray(zip_bytes({"data.pkl": pickles.call("os", "system")}))
    directory = hidden.index(b"PK\x01\x02")
    lead = zip_bytes({"a": b""}).index(b"PK\x01\x02")  # bytes of a local header of that name
    padding = bytes(offset - directory - lead)
    first = zip_bytes({"a": padding + bytes(hidden) + bytes(offset)})
    row = first + bytes(last)
    assert row[offset : offset + 4] == b"PK\x01\x02"
    assert parts(row) == []
    content = search(BytesSource(row))
    assert content.problems != []


def test_pythons_own_reader_finds_what_is_in_the_last_archive() -> None:
    with zipfile.ZipFile(io.BytesIO(PLAIN + EVIL)) as archive:
        assert pickles.call("os", "system") in [archive.read(name) for name in archive.namelist()]
