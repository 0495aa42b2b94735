"""Files in other tools' directories: shared, never replacing anything, and taken away with nothing else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from p2pckpt import cloning
from p2pckpt.bridges.placements import Placed, Placement, Placements
from p2pckpt.bridges.placing import Made, Wish, place_all, require_outside, take_away
from p2pckpt.cloning import Way
from p2pckpt.errors import BadUsage, Conflict, P2pckptError
from tests.support.homes import small_disk, tree, write_files


def placement(directory: Path, files: tuple[Placed, ...] = (), **changes: object) -> Placement:
    base = {"tool": "test", "directory": str(directory), "share_id": "ab" * 32, "share": "a", "version": 1}
    return Placement(**{**base, "files": files, **changes})  # type: ignore[arg-type]


def wish(source: Path, target: Path) -> Wish:
    return Wish(source, target, hashlib.sha256(source.read_bytes()).hexdigest())


def put(placements: Placements, directory: Path, source: Path, version: int, share_id: str = "ab" * 32) -> Made:
    """Place all of ``source`` in ``directory``, as ``checkout`` does."""
    found = placement(directory, version=version, share_id=share_id)
    earlier = placements.in_directory("test", directory, share_id)
    names = [str(path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()]
    made = place_all([wish((source / name).resolve(), directory / name) for name in names], earlier)
    found = replace(found, files=made.files, directories=made.directories)
    placements.save(found.and_still(earlier))
    placements.hand_over(found)
    return made


def test_a_placed_file_has_the_bytes_and_takes_none_of_its_own(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"bytes"}) / "a"
    source.chmod(0o600)
    target = tmp_path / "t" / "deep" / "b"
    way = place_all([wish(source, target)], ()).ways[target]
    assert way in (Way.LINK, Way.CLONE)
    assert target.read_bytes() == b"bytes"
    assert target.samefile(source) == (way is Way.LINK)
    assert (target.stat().st_mode, target.stat().st_mtime_ns) == (source.stat().st_mode, source.stat().st_mtime_ns)
    assert [path.name for path in target.parent.iterdir()] == ["b"]


def test_a_clone_is_taken_before_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(source: Path, target: Path) -> bool:
        target.write_bytes(source.read_bytes())
        return True

    monkeypatch.setattr(cloning, "clone", clone)
    source = write_files(tmp_path, {"a": b"bytes"}) / "a"
    made = place_all([wish(source, tmp_path / "b")], ())
    assert made.ways == {tmp_path / "b": Way.CLONE}
    (tmp_path / "b").write_bytes(b"other")
    assert source.read_bytes() == b"bytes"
    assert take_away(placement(tmp_path, made.files)) == (0, [str(tmp_path / "b")]), "written to: the user's now"
    (tmp_path / "b").unlink()
    made = place_all([wish(source, tmp_path / "b")], ())
    again = place_all([wish(source, tmp_path / "b")], [placement(tmp_path, made.files)])
    assert (again.ways, again.files) == ({tmp_path / "b": Way.THERE}, made.files)


def test_another_disk_needs_a_copy_which_is_made_on_request_alone(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"bytes" * 1000}) / "a"
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        target = disk / "models" / "a"
        with pytest.raises(P2pckptError, match="another disk") as refused:
            place_all([wish(source, target)], ())
        assert "--copy" in refused.value.next_step
        assert not target.parent.exists()
        assert place_all([wish(source, target)], (), copy=True).ways[target] is Way.COPY
        assert target.read_bytes() == source.read_bytes()


def test_all_are_placed_or_none(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1", "b": b"2", "c": b"3"})
    target = write_files(tmp_path / "t", {"b": b"somebody's"})
    wishes = [wish(source / name, target / name) for name in "abc"]
    with pytest.raises(Conflict, match="t/b"):
        place_all(wishes, ())
    assert [path.name for path in target.iterdir()] == ["b"]
    (target / "b").unlink()
    (target / "c").symlink_to("nowhere")
    with pytest.raises(Conflict, match="t/c"):
        place_all(wishes, ())
    (target / "c").unlink()
    (source / "c").unlink()
    with pytest.raises(P2pckptError):
        place_all(wishes, ())
    assert not list(target.iterdir())


def test_a_file_with_the_same_bytes_is_there_already_and_somebody_else_s(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1"}) / "a"
    target = write_files(tmp_path / "t", {"a": b"1"}) / "a"
    linked = tmp_path / "t" / "linked"
    linked.hardlink_to(source)
    made = place_all([wish(source, target), wish(source, linked)], ())
    assert (made.ways, made.files) == ({target: Way.THERE, linked: Way.THERE}, ())


def test_a_checkout_is_never_placed_over_itself(tmp_path: Path) -> None:
    model = write_files(tmp_path / "model", {"a": b"the only copy", "sub/b": b"the only copy"})
    (tmp_path / "alias").symlink_to(model)
    for directory in (model, tmp_path / "alias"):
        with pytest.raises(BadUsage, match="own file"):
            put(Placements(tmp_path / "placed"), directory, model, 1)
        with pytest.raises(BadUsage, match="inside the checkout"):
            require_outside([directory / "elsewhere" / "a"], model)
    require_outside([tmp_path / "other" / "a"], model)
    assert not list(Placements(tmp_path / "placed").all())


def test_an_original_stays_whatever_was_remembered_of_it(tmp_path: Path) -> None:
    model = write_files(tmp_path / "model", {"a": b"the only copy"})
    status = (model / "a").stat()
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    old = placement(model, (Placed(str(model / "a"), str(model / "a"), *identity),))
    placements = Placements(tmp_path / "placed")
    placements.save(old)
    newer = write_files(tmp_path / "newer", {"a": b"another version"})
    with pytest.raises(Conflict):
        put(placements, model, newer, 2)
    assert take_away(old) == (0, [str(model / "a")])
    assert tree(model) == {"a": tree(model)["a"]} and (model / "a").read_bytes() == b"the only copy"


def test_another_share_of_a_similar_name_takes_nothing_from_one(tmp_path: Path) -> None:
    one, two, same = (
        write_files(tmp_path / name, {"a-b-v1": name.encode()[:3]}) for name in ("one", "two", "one more")
    )
    placements, target = Placements(tmp_path / "placed"), tmp_path / "t"
    put(placements, target, one, 1)
    with pytest.raises(Conflict):
        put(placements, target, two, 1, share_id="cd" * 32)
    assert (target / "a-b-v1").read_bytes() == b"one"
    assert put(placements, target, same, 1, share_id="cd" * 32).files == ()


def test_another_version_takes_the_place_of_what_is_ours(tmp_path: Path) -> None:
    one = write_files(tmp_path / "1", {"weights": b"old", "config": b"same", "gone": b"x"})
    two = write_files(tmp_path / "2", {"weights": b"new", "config": b"same"})
    placements, target = Placements(tmp_path / "placed"), tmp_path / "t"
    put(placements, target, one, 1)
    made = put(placements, target, two, 2)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {
        "weights": b"new",
        "config": b"same",
        "gone": b"x",
    }
    assert made.ways[target / "weights"] in (Way.LINK, Way.CLONE)
    assert (one / "weights").read_bytes() == b"old"
    first, second = sorted(placements.all(), key=lambda p: len(p.files))
    assert [placed.path for placed in first.files] == [str(target / "gone")]
    take_away(first)
    assert sorted(path.name for path in target.iterdir()) == ["config", "weights"]
    take_away(second)
    assert not target.exists()


def test_what_is_ours_is_replaced_only_if_all_of_it_can_be(tmp_path: Path) -> None:
    one, two = (write_files(tmp_path / name, {"a": name.encode(), "b": name.encode()}) for name in ("1", "2"))
    placements, target = Placements(tmp_path / "placed"), tmp_path / "t"
    put(placements, target, one, 1)
    wishes = [wish(two / name, target / name) for name in "ab"]
    (two / "b").unlink()
    with pytest.raises(P2pckptError):
        place_all(wishes, placements.in_directory("test", target))
    assert {path.name: path.read_bytes() for path in target.iterdir()} == {"a": b"1", "b": b"1"}
    (target / "a").unlink()
    (target / "a").write_bytes(b"mine")
    with pytest.raises(Conflict):
        place_all(wishes, placements.in_directory("test", target))


def test_two_files_never_get_one_name(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1", "b": b"2"})
    with pytest.raises(BadUsage, match="would both be"):
        place_all([wish(source / name, tmp_path / "t") for name in "ab"], ())


def test_what_is_ours_is_taken_away_and_what_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1", "b": b"2", "c": b"3"})
    target = tmp_path / "t"
    (target / "there before").mkdir(parents=True)
    names = ("in/a", "in/b", "there before/c")
    made = place_all([wish(source / name[-1], target / name) for name in names], ())
    assert made.directories == (str(target / "in"),)
    (target / "in" / "b").unlink()
    write_files(target, {"in/b": b"somebody's", "other": b"x"})
    (target / "link").symlink_to("a")
    found = placement(
        target,
        made.files,
        links={str(target / "link"): "a", str(target / "in" / "no"): "a"},
        directories=made.directories,
    )
    assert take_away(found) == (3, [str(target / "in" / "b")])
    left = sorted(str(path.relative_to(target)) for path in target.rglob("*"))
    assert left == ["in", "in/b", "other", "there before"]
    assert (source / "a").read_bytes() == b"1"
    (target / "in" / "b").unlink()
    take_away(found)
    assert sorted(path.name for path in target.iterdir()) == ["other", "there before"]


def test_placements_are_remembered_one_for_each_version_and_place(tmp_path: Path) -> None:
    placements = Placements(tmp_path / "placed")
    assert list(placements.all()) == []
    one, two = placement(tmp_path / "x"), placement(tmp_path / "x", version=2)
    for each in (one, two, one):
        placements.save(each)
    write_files(tmp_path / "placed", {"broken.json": b"{"})
    assert sorted(p.version for p in placements.all()) == [1, 2]
    assert placements.of_version("ab" * 32, 2) == [two]
    assert len(placements.in_directory("test", tmp_path / "x")) == 2
    placements.forget(one)
    assert list(placements.all()) == [two]


def test_what_a_version_got_under_another_name_is_still_ours(tmp_path: Path) -> None:
    one, two = (write_files(tmp_path / name, {name: b"x"}) for name in ("1", "2"))
    placements, target = Placements(tmp_path / "placed"), tmp_path / "t"
    put(placements, target, one, 1)
    put(placements, target, two, 1)
    [found] = placements.all()
    assert take_away(found) == (2, [])
    assert not target.exists()
