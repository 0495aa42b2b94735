from __future__ import annotations

from msgspec.structs import replace

from p2pckpt.checkpoint.manifest import TensorEntry
from p2pckpt.checkpoint.plan import pieces_wanted, wire_bytes
from p2pckpt.jobs.compare import compare
from tests.unit.store.versions import manifest_of

A, B, C, D = b"a" * 10, b"b" * 20, b"c" * 30, b"d" * 40


def rows(files_a: dict[str, list[bytes]], files_b: dict[str, list[bytes]]) -> dict[str, tuple[str, int, int, int]]:
    reply = compare("x@1", manifest_of(files_a), "x@2", manifest_of(files_b))
    return {row.path: (row.change, row.old_size, row.new_size, row.new_bytes) for row in reply.rows}


def test_files_are_added_removed_changed_or_the_same() -> None:
    found = rows({"same": [A], "changed": [A, B], "gone": [C]}, {"same": [A], "changed": [A, D], "new": [B, C]})
    assert found == {
        "same": ("same", 10, 10, 0),
        "changed": ("changed", 30, 50, 40),
        "gone": ("removed", 30, 0, 0),
        "new": ("added", 0, 50, 0),
    }


def test_chunks_that_the_first_version_has_anywhere_are_not_new() -> None:
    assert rows({"one": [A, B, C]}, {"two": [C, A], "three": [B, D]}) == {
        "one": ("removed", 60, 0, 0),
        "two": ("added", 0, 40, 0),
        "three": ("added", 0, 60, 40),
    }


def test_a_chunk_that_is_used_often_is_new_once() -> None:
    reply = compare("x@1", manifest_of({"old": [A]}), "x@2", manifest_of({"one": [D, D], "two": [D]}))
    assert {row.path: row.new_bytes for row in reply.rows if row.change == "added"} == {"one": 40, "two": 40}
    assert reply.new_bytes == 40


def test_the_executable_bit_is_a_change_without_new_bytes() -> None:
    before = manifest_of({"run.sh": [A]})
    after = manifest_of({"run.sh": [A]}, executable=["run.sh"])
    (row,) = compare("x@1", before, "x@2", after).rows
    assert (row.change, row.new_bytes) == ("changed", 0)


def test_a_version_compared_with_itself_needs_nothing() -> None:
    manifest = manifest_of({"one": [A, B], "two": []}, tensors=[TensorEntry("w", "U8", (10,), 0, 0, 10)])
    reply = compare("x@1", manifest, "x@1", manifest)
    assert (reply.new_bytes, reply.wire_bytes) == (0, 0)
    assert {row.change for row in reply.rows} == {"same"}
    assert reply.tensors_added + reply.tensors_removed + reply.tensors_changed == ()


def test_what_else_the_manifests_say_is_compared() -> None:
    before, after = manifest_of({"one": [A]}), manifest_of({"one": [A]})
    before.body = replace(before.body, step=100, metrics={"loss": 2.5, "eval": 1.0}, licence="mit", card=b"")
    metrics = {"loss": 2.25, "eval": 1.0, "step": 7.0}
    after.body = replace(after.body, step=200, metrics=metrics, licence="apache-2.0", card=b"c" * 32)
    assert [(fact.name, fact.before, fact.after) for fact in compare("x@1", before, "x@2", after).facts] == [
        ("step", "100", "200"),
        ("licence", "mit", "apache-2.0"),
        ("card", "", "636363636363"),
        ("loss", "2.5", "2.25"),
    ]
    assert compare("x@1", before, "x@1", before).facts == ()


def test_rows_are_sorted_by_path_and_the_names_are_kept() -> None:
    reply = compare("x@1", manifest_of({"b": [A], "d": [B]}), "x@2", manifest_of({"c": [A], "a": [B]}))
    assert [row.path for row in reply.rows] == ["a", "b", "c", "d"]
    assert (reply.a, reply.b) == ("x@1", "x@2")


def test_the_wire_counts_pieces_under_new_chunks() -> None:
    after = manifest_of({"one": [A, D]})
    reply = compare("x@1", manifest_of({"one": [A]}), "x@2", after)
    assert reply.wire_bytes == wire_bytes(after, pieces_wanted(after, {1})) == 50


def test_tensors_are_compared_by_content_wherever_they_lie() -> None:
    def tensor(name: str, file: int, offset: int, length: int, dtype: str = "U8") -> TensorEntry:
        return TensorEntry(name, dtype, (length,), file, offset, length)

    before = manifest_of(
        {"one": [A, B, C]},
        tensors=[
            tensor("moved", 0, 10, 20),
            tensor("changed", 0, 30, 30),
            tensor("retyped", 0, 0, 10),
            tensor("gone", 0, 0, 0),
        ],
    )
    after = manifest_of(
        {"two": [D, b"C" * 30], "three": [B, A]},
        tensors=[
            tensor("moved", 1, 0, 20),
            tensor("changed", 0, 40, 30),
            tensor("retyped", 1, 20, 10, "I8"),
            tensor("new", 0, 0, 40),
        ],
    )
    reply = compare("x@1", before, "x@2", after)
    assert (reply.tensors_added, reply.tensors_removed) == (("new",), ("gone",))
    assert reply.tensors_changed == ("changed", "retyped")
