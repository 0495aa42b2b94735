"""Files in other tools' directories: shared, never replacing anything, and taken away with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt.bridges import placing
from p2pckpt.bridges.placing import Placement, Placements, Way, place, place_all, take_away
from p2pckpt.errors import Conflict, P2pckptError
from tests.support.homes import small_disk, write_files


def placement(directory: Path, files: tuple[placing.Placed, ...] = (), **changes: object) -> Placement:
    base = {"tool": "test", "directory": str(directory), "share_id": "ab" * 32, "share": "a", "version": 1}
    return Placement(**{**base, "files": files, **changes})  # type: ignore[arg-type]


def test_a_placed_file_has_the_bytes_and_takes_none_of_its_own(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"bytes"}) / "a"
    source.chmod(0o600)
    way = place(source, tmp_path / "t" / "deep" / "b")
    assert way in (Way.LINK, Way.CLONE)
    target = tmp_path / "t" / "deep" / "b"
    assert target.read_bytes() == b"bytes"
    assert target.samefile(source) == (way is Way.LINK)
    assert (target.stat().st_mode, target.stat().st_mtime_ns) == (source.stat().st_mode, source.stat().st_mtime_ns)
    assert [path.name for path in target.parent.iterdir()] == ["b"]


def test_a_clone_is_taken_before_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def clone(source: Path, target: Path) -> bool:
        target.write_bytes(source.read_bytes())
        return True

    monkeypatch.setattr(placing, "clone", clone)
    source = write_files(tmp_path, {"a": b"bytes"}) / "a"
    made = place_all([(source, tmp_path / "b")], ())
    assert made.ways == {tmp_path / "b": Way.CLONE}
    (tmp_path / "b").write_bytes(b"other")
    assert source.read_bytes() == b"bytes"
    assert take_away(placement(tmp_path, made.files)) == (0, [str(tmp_path / "b")]), "written to: the user's now"
    (tmp_path / "b").unlink()
    made = place_all([(source, tmp_path / "b")], ())
    again = place_all([(source, tmp_path / "b")], [placement(tmp_path, made.files)])
    assert (again.ways, again.files) == ({tmp_path / "b": Way.THERE}, made.files)


def test_another_disk_needs_a_copy_which_is_made_on_request_alone(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"bytes" * 1000}) / "a"
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        with pytest.raises(P2pckptError, match="another disk") as refused:
            place(source, disk / "models" / "a")
        assert "--copy" in refused.value.next_step
        assert not list((disk / "models").iterdir())
        assert place(source, disk / "models" / "a", copy=True) is Way.COPY
        assert (disk / "models" / "a").read_bytes() == source.read_bytes()


def test_all_are_placed_or_none(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1", "b": b"2", "c": b"3"})
    target = write_files(tmp_path / "t", {"b": b"somebody's"})
    pairs = [(source / name, target / name) for name in "abc"]
    with pytest.raises(Conflict, match="t/b"):
        place_all(pairs, ())
    assert [path.name for path in target.iterdir()] == ["b"]
    (target / "b").unlink()

    def interrupted() -> None:
        raise KeyboardInterrupt

    (target / "c").symlink_to("nowhere")
    with pytest.raises(Conflict, match="t/c"):
        place_all(pairs, ())
    (target / "c").unlink()
    (source / "c").unlink()
    with pytest.raises(P2pckptError):
        place_all(pairs, (), check=interrupted)
    assert not list(target.iterdir())


def test_a_file_with_the_same_bytes_is_there_already_and_somebody_else_s(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1"}) / "a"
    target = write_files(tmp_path / "t", {"a": b"1"}) / "a"
    made = place_all([(source, target)], ())
    assert (made.ways, made.files) == ({target: Way.THERE}, ())


def test_what_is_ours_is_taken_away_and_what_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    source = write_files(tmp_path / "s", {"a": b"1", "b": b"2", "c": b"3"})
    target = tmp_path / "t"
    made = place_all([(source / name, target / "in" / name) for name in "abc"], ())
    (target / "in" / "b").unlink()
    write_files(target, {"in/b": b"somebody's", "other": b"x"})
    (target / "link").symlink_to("a")
    found = placement(target, made.files, links={str(target / "link"): "a", str(target / "in" / "no"): "a"}, texts={})
    assert take_away(found) == (3, [str(target / "in" / "b")])
    assert sorted(str(path.relative_to(target)) for path in target.rglob("*")) == ["in", "in/b", "other"]
    assert (source / "a").read_bytes() == b"1"
    (target / "in" / "b").unlink()
    take_away(found)
    assert [path.name for path in target.iterdir()] == ["other"], "empty directories go, the tool's own stays"


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
