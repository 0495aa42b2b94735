from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from p2pckpt import atomic
from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.errors import NoSpace, NotAllowed, P2pckptError
from p2pckpt.store import checkout
from p2pckpt.store.checkout import REPLACED, PartialCheckout, free_bytes, partial_directory, require_space
from tests.support.homes import small_disk, tree
from tests.unit.store.versions import manifest_of

FILES = {
    "model.bin": [b"first ", b"second ", b"third"],
    "run/train.sh": [b"#!/bin/sh\n"],
    "run/deep/notes.txt": [b"second ", b"notes"],
    "empty": [],
}
MANIFEST = manifest_of(FILES, directories=["logs", "run/cache/old"], executable=["run/train.sh"])
ALL = tuple(range(len(FILES)))
CONTENT = {path: b"".join(chunks) for path, chunks in FILES.items()}
NUMBERS = {path: number for number, path in enumerate(FILES)}


def partial(
    target: Path, *, mark: str = "version 1", in_place: Iterable[int] = (), manifest: Manifest = MANIFEST
) -> PartialCheckout:
    made = PartialCheckout(target, manifest, mark, range(len(manifest.body.files)), set(in_place))
    made.open()
    return made


def fill(made: PartialCheckout, places: Iterable[int] | None = None, manifest: Manifest = MANIFEST) -> list[int]:
    """Write the chunks of these places (default: all that are not durable), and make them so."""
    rows = list(enumerate(manifest.places()))
    chosen = [place for place, _ in rows if place not in made.placed] if places is None else list(places)
    for place, (file, offset, chunk) in rows:
        if place in chosen:
            content = b"".join(FILES[manifest.body.files[file].path]) if manifest is MANIFEST else b""
            made.write(file, offset, content[offset : offset + int(manifest.raw_lengths[chunk])])
    made.sync(chosen)
    return chosen


def assert_is_checkout(target: Path, leave_out: tuple[str, ...] = ()) -> None:
    for path, content in CONTENT.items():
        assert (target / path).read_bytes() == content
    assert {path: kind[:6] for path, kind in tree(target, leave_out=leave_out).items()} == {
        "empty": "file -", "logs": "direct", "model.bin": "file -", "run": "direct", "run/cache": "direct",
        "run/cache/old": "direct", "run/deep": "direct", "run/deep/notes.txt": "file -", "run/train.sh": "file x",
    }  # fmt: skip


# -- a target that is not there yet


def test_a_checkout_appears_whole_under_its_own_name(tmp_path: Path) -> None:
    target = tmp_path / "model"
    made = partial(target)
    fill(made)
    assert not target.exists()
    assert made.conflicts(set()) == []
    assert made.finish(set()) == []
    assert_is_checkout(target)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_modes_do_not_depend_on_who_is_checking_out(tmp_path: Path) -> None:
    made = partial(tmp_path / "model")
    fill(made)
    made.finish(set())
    modes = {path: (tmp_path / "model" / path).stat().st_mode & 0o777 for path in CONTENT}
    assert modes == {"model.bin": 0o644, "run/train.sh": 0o755, "run/deep/notes.txt": 0o644, "empty": 0o644}
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_nobody_else_sees_it_before_it_is_whole(tmp_path: Path) -> None:
    partial(tmp_path / "model").close()
    assert partial_directory(tmp_path / "model").stat().st_mode & 0o777 == 0o700


def test_chunks_may_come_in_any_order_and_from_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "_OPEN_FILES", 2)
    chunks = {f"file{number}": [bytes([number, part]) * 500 for part in range(20)] for number in range(6)}
    manifest = manifest_of(chunks)
    made = partial(tmp_path / "model", manifest=manifest)
    rows = list(manifest.places())
    Random(1).shuffle(rows)
    barrier = threading.Barrier(4)

    def write(worker: int) -> None:
        barrier.wait()
        for file, offset, _ in rows[worker::4]:
            made.write(file, offset, memoryview(b"".join(chunks[f"file{file}"]))[offset : offset + 1000])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert made.read(3, 1000, 1000) == chunks["file3"][1]
    made.sync(range(len(rows)))
    made.finish(set())
    assert all((tmp_path / "model" / name).read_bytes() == b"".join(parts) for name, parts in chunks.items())


# -- going on


def test_an_interrupted_checkout_goes_on_where_it_was(tmp_path: Path) -> None:
    first = partial(tmp_path / "model")
    fill(first, [0, 2, 3])
    first.write(2, 0, b"written, never synced"[:7])
    first.close()
    second = partial(tmp_path / "model")
    assert list(second.placed) == [0, 2, 3]
    assert fill(second) == [1, 4, 5]
    second.finish(set())
    assert_is_checkout(tmp_path / "model")


def test_another_version_starts_afresh(tmp_path: Path) -> None:
    first = partial(tmp_path / "model", mark="version 1")
    fill(first)
    first.close()
    second = partial(tmp_path / "model", mark="version 2")
    assert list(second.placed) == []
    assert second.read(NUMBERS["model.bin"], 0, 6) == bytes(6)
    fill(second)
    second.finish(set())
    assert_is_checkout(tmp_path / "model")


def test_what_was_begun_and_never_marked_is_not_trusted(tmp_path: Path) -> None:
    first = partial(tmp_path / "model")
    fill(first)
    first.close()
    (partial_directory(tmp_path / "model") / "version").unlink()
    assert list(partial(tmp_path / "model").placed) == []


def test_a_file_that_vanished_meanwhile_is_written_again(tmp_path: Path) -> None:
    first = partial(tmp_path / "model")
    fill(first)
    first.close()
    (first.root / "run/deep/notes.txt").unlink()
    second = partial(tmp_path / "model")
    assert list(second.placed) == [0, 1, 2, 3]
    assert fill(second) == [4, 5]
    second.finish(set())
    assert_is_checkout(tmp_path / "model")


def test_files_that_come_and_go_at_the_target_do_not_confuse_what_was_placed(tmp_path: Path) -> None:
    target = tmp_path / "model"
    first = partial(target)
    fill(first, [3, 4])
    first.close()
    target.mkdir()
    (target / "model.bin").write_bytes(CONTENT["model.bin"])
    second = partial(target, in_place=[NUMBERS["model.bin"]])
    assert list(second.placed) == [3, 4]
    second.close()
    (target / "model.bin").unlink()
    third = partial(target)
    assert list(third.placed) == [3, 4]
    assert fill(third) == [0, 1, 2, 5]
    third.finish(set())
    assert_is_checkout(target)


def test_discarding_leaves_nothing_beside_the_target(tmp_path: Path) -> None:
    made = partial(tmp_path / "model")
    fill(made)
    made.discard()
    assert list(tmp_path.iterdir()) == []


# -- a target that exists


def test_files_of_the_user_stay_and_those_that_differ_are_moved_aside(tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "run").mkdir(parents=True)
    (target / "mine.txt").write_bytes(b"mine")
    (target / "model.bin").write_bytes(b"another model")
    (target / "run/train.sh").write_bytes(CONTENT["run/train.sh"])
    in_place = {NUMBERS["run/train.sh"]}
    (target / "run/train.sh").chmod(0o755)
    made = partial(target, in_place=in_place)
    fill(made, [0, 1, 2, 4, 5])
    assert made.conflicts(in_place) == ["model.bin"]
    (moved,) = made.finish(in_place)
    assert_is_checkout(target, leave_out=(REPLACED, "mine.txt"))
    assert (target / "mine.txt").read_bytes() == b"mine"
    assert (target / moved).read_bytes() == b"another model"
    assert Path(moved).parts[0] == REPLACED
    assert Path(moved).name == "model.bin"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_directory_in_the_place_of_a_file_is_moved_aside_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "model.bin").mkdir(parents=True)
    (target / "model.bin" / "inside").write_bytes(b"kept")
    made = partial(target)
    fill(made)
    (moved,) = made.finish(set())
    assert (target / moved / "inside").read_bytes() == b"kept"
    assert_is_checkout(target, leave_out=(REPLACED,))


def test_a_broken_link_in_the_place_of_a_file_is_moved_aside(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "model.bin").symlink_to("../nowhere")
    made = partial(target)
    fill(made)
    (moved,) = made.finish(set())
    assert (target / moved).is_symlink()
    assert not (tmp_path / "nowhere").exists()
    assert_is_checkout(target, leave_out=(REPLACED,))


def test_moving_aside_twice_at_once_loses_neither(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    kept = set()
    for content in (b"one", b"two", b"three"):
        (target / "model.bin").unlink(missing_ok=True)
        (target / "model.bin").write_bytes(content)
        made = partial(target, in_place=set(ALL) - {0})
        fill(made, [0, 1, 2])
        kept |= {target / moved for moved in made.finish(set(ALL) - {0})}
    assert sorted(path.read_bytes() for path in kept) == [b"one", b"three", b"two"]


@pytest.mark.parametrize("link", ["run", "run/deep", "run/cache"])
def test_nothing_is_written_through_a_link_inside_the_target(tmp_path: Path, link: str) -> None:
    target, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (target / link).parent.mkdir(parents=True)
    (target / link).symlink_to(elsewhere)
    (target / "model.bin").write_bytes(b"another model")
    made = partial(target)
    fill(made)
    with pytest.raises(NotAllowed, match="does not write through links"):
        made.finish(set())
    assert list(elsewhere.iterdir()) == []
    assert (target / "model.bin").read_bytes() == b"another model"
    made.close()
    (target / link).unlink()
    again = partial(target)
    assert len(again.placed) == 6
    again.finish(set())
    assert_is_checkout(target, leave_out=(REPLACED,))


def test_the_target_itself_may_be_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to("disk")
    made = partial(tmp_path / "model")
    fill(made)
    assert made.finish(set()) == []
    assert_is_checkout(tmp_path / "disk")


@pytest.mark.parametrize("survived", range(5))
def test_a_killed_merge_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "model.bin").write_bytes(b"another model")
    rename, renames = Path.rename, 0

    def dying(path: Path, to: Path) -> Path:
        nonlocal renames
        if renames == survived:
            raise KeyboardInterrupt
        renames += 1
        return rename(path, to)

    first = partial(target)
    fill(first)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dying)
        with pytest.raises(KeyboardInterrupt):
            first.finish(set())
    first.close()
    in_place = {number for path, number in NUMBERS.items() if _is_right(target / path, path)}
    assert len(in_place) == max(0, survived - 1)
    second = partial(target, in_place=in_place)
    assert set(second.placed) >= {place for place, (file, _, _) in enumerate(MANIFEST.places()) if file not in in_place}
    second.finish(in_place)
    assert_is_checkout(target, leave_out=(REPLACED,))
    assert [path.read_bytes() for path in (target / REPLACED).rglob("model.bin")] == [b"another model"]


def test_a_kill_while_a_file_is_added_leaves_nothing_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, temporary = tmp_path / "model", atomic._temporary

    def dying(path: Path, data: bytes, mode: int) -> Path:
        temporary(path, data[:1], mode)
        raise KeyboardInterrupt

    first = partial(target)
    fill(first)
    with monkeypatch.context() as patched:
        patched.setattr(atomic, "_temporary", dying)
        with pytest.raises(KeyboardInterrupt):
            first.add("model.sig", b"signature", replace=False)
    first.close()
    second = partial(target)
    second.add("model.sig", b"signature", replace=False)
    second.finish(set())
    assert (target / "model.sig").read_bytes() == b"signature"
    assert_is_checkout(target, leave_out=("model.sig",))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def _is_right(path: Path, name: str) -> bool:
    return path.is_file() and path.read_bytes() == CONTENT[name]


# -- disks


def test_a_full_disk_is_said_to_be_full_and_what_arrived_stays(tmp_path: Path) -> None:
    chunks = [bytes([number]) * 65536 for number in range(8)]
    manifest = manifest_of({"model.bin": chunks})
    with small_disk(tmp_path / "disk", 256 << 10) as disk:
        made = partial(disk / "model", manifest=manifest)
        written: list[int] = []
        with pytest.raises(NoSpace, match="is full") as full:
            for number, chunk in enumerate(chunks):
                made.write(0, number * 65536, chunk)
                made.sync([number])
                written.append(number)
        assert full.value.kept == "everything that arrived so far"
        assert 0 < len(written) < 4
        made.close()
        again = partial(disk / "model", manifest=manifest)
        assert list(again.placed) == written
        assert all(again.read(0, number * 65536, 65536) == chunks[number] for number in written)
        again.close()


def test_a_disk_without_room_for_names_is_said_to_be_full(tmp_path: Path) -> None:
    manifest = manifest_of({f"file{number}": [] for number in range(1000)})
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        (disk / "filler").write_bytes(bytes(free_bytes(disk)))
        with pytest.raises(NoSpace):
            made = partial(disk / "model", manifest=manifest)
            made.sync([])


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "not" / "there" / "yet")
    require_space(tmp_path / "not", 1, "this")
    with pytest.raises(NoSpace, match="this checkout needs"):
        require_space(tmp_path, 2 * free, "this checkout")


@pytest.mark.parametrize("name", ["a file", "a file/below"])
def test_a_target_that_cannot_be_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(P2pckptError):
        made = partial(tmp_path / name / "model")
        made.close()


def test_a_file_in_the_way_of_a_directory_is_not_lost(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "run").write_bytes(b"a file where a directory belongs")
    made = partial(target)
    fill(made)
    with pytest.raises(P2pckptError):
        made.finish(set())
    assert (target / "run").read_bytes() == b"a file where a directory belongs"
    assert made.root.exists()
