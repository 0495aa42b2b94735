"""Which saves there are in a run's directory, and whether their writers are done with them.

How the writers end, read in their sources and followed by ``strace`` (Linux, ext4):

- transformers 5.24, ``Trainer._save_checkpoint``: model, ``training_args.bin``, optimizer, scheduler, scaler, RNG,
  and at the very end ``trainer_state.json``, written in place. It is the mark if it is whole and nothing is newer, as a
  run that starts again from an earlier save writes the later ones once more, over the old ones. With several ranks,
  ``rng_state_<rank>.pth`` of the others comes when it comes, so a mark also has to rest a moment.
- Lightning 2.6.5 with fsspec 2026.9: ``torch.save`` to memory, then a file of a random name in ``$TMPDIR``, then
  ``shutil.move``: a rename, but where ``$TMPDIR`` is another file system a copy in place, whose time is set afterwards.
  The mark is that the zip's directory is at the file's end, where it is written last; ``torch.save`` alone is as good.
- torch 2.13, ``torch.distributed.checkpoint``: each rank's ``__<rank>_<n>.distcp`` in place with fsync, then
  ``.metadata.tmp``, fsync, renamed to ``.metadata`` by the coordinator; without collectives each rank has a
  ``__<rank>.metadata``. That of an earlier save in the same directory is replaced at the end only, so here too the
  mark has to be the newest file. Lightning's sharded strategies write ``meta.pt`` after it.
- accelerate 1.x, ``save_state``: ``random_states_<rank>.pkl`` last, but for custom objects: no mark.
- safetensors 0.8 writes ``.tmp…`` beside the target and renames it; ``torch.save`` writes in place.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from p2pckpt.checkpoint.formats.dcp import METADATA, SHARD, is_metadata
from p2pckpt.checkpoint.formats.layout import Malformed
from p2pckpt.checkpoint.formats.zip_directory import read_directory
from p2pckpt.errors import BadUsage, NotAllowed, NotFound, P2pckptError
from p2pckpt.jobs.safety import open_source
from p2pckpt.jobs.saves import names
from p2pckpt.jobs.saves.save import Print, Save, Writer, survey
from p2pckpt.trust import oms

TRAINER_STATE: Final = "trainer_state.json"
LIGHTNING_META: Final = "meta.pt"
"""Beside the shards, of what is not sharded; Lightning's FSDP and model-parallel strategies write it last."""
_MAX_JSON: Final = 64 << 20
_DEPTH: Final = 4
"""Directories between a run and its saves: ``lightning_logs/version_0/checkpoints``."""
_MAX_DIRECTORIES: Final = 10_000
_SETTLED: Final = 0.5
"""Seconds without a change after which a save that has its writer's mark is finished."""
_FUTURE: Final = 3600.0


def find(run: Path, known: Callable[[Path, Print], bool] = lambda path, printed: False) -> list[Save]:
    """Every save below a run's directory, oldest first: by step where all names say one, else by time.

    A directory that a trainer saves to over and over again is the one save in it. Of saves that are ``known`` the
    writer's mark, which has to be read, is not looked at.

    Raises ``NotFound`` when there is no such directory, ``NotAllowed`` when it can't be read. Anything in it that can't
    be read, goes away meanwhile or has a name that is no text is left out.
    """
    try:
        os.scandir(run).close()
    except PermissionError as exc:
        raise NotAllowed(f"{run} can't be read: {exc.strerror}") from exc
    except OSError as exc:
        why = "" if exc.errno in (errno.ENOENT, errno.ENOTDIR) else f" that can be read: {exc.strerror}"
        raise NotFound(f"there is no directory {run}{why}") from exc
    candidates = list(_candidates(run))
    if _is_saved_to(run, candidates):
        candidates = [run]
    saves = [save for path in candidates if (save := _look(path, known)) is not None]
    if all(save.step is not None for save in saves):
        return sorted(saves, key=lambda save: (save.step or 0, save.changed_at, save.name))
    return sorted(saves, key=lambda save: (_written_at(save), save.name))


def look(path: Path) -> Save:
    """The save at ``path``, whatever its name.

    Raises ``NotFound`` when nothing is there that can be read, and ``BadUsage`` for what is no save: an empty
    directory, a device.
    """
    mode = _mode(path)
    if not mode:
        raise NotFound(f"there is no save {path}")
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise BadUsage(f"{path} is neither a directory nor a file")
    save = _look(path)
    if save is None:
        raise BadUsage(f"there is no file in {path}")
    return save


def is_one_save(directory: Path) -> bool:
    """Whether all that lies in a directory is of one save, as a trainer or a restore leaves it."""
    visible = [name for name in _names_in(directory) if not name.startswith(".") and name != oms.FILE]
    if len(visible) == 1 and names.is_single(visible[0]):
        return _is_file(directory / visible[0])
    return _is_save(directory) and not any(names.is_of_transformers(name) for name in visible)


def is_finished(save: Save, quiet: float, now: float) -> bool:
    """Whether nothing more is to be expected: unchanged for ``quiet`` seconds, or a moment where there is a mark.

    ``now`` is seconds since 1970. Times that lie far in the future say nothing, and are passed over.
    """
    rested = now - save.changed_at
    return rested >= (min(quiet, _SETTLED) if save.marked else quiet) or rested < -_FUTURE


def writer_of(path: Path) -> Writer:
    """What wrote a save, by its name and by which files there are."""
    if _is_file(path):
        return Writer.LIGHTNING if path.suffix == ".ckpt" and _is_zip(path) else Writer.FILES
    return writer_by(path.name, {name: path / name for name in _names_in(path)})


def writer_by(name: str, entries: Mapping[str, Path]) -> Writer:
    """What wrote a directory of that name in which ``entries`` lie, each where it says."""
    if TRAINER_STATE in entries or "training_args.bin" in entries:
        return Writer.TRANSFORMERS
    if names.is_of_transformers(name) and not any(names.is_of_accelerate(entry) for entry in entries):
        return Writer.TRANSFORMERS  # diffusers' scripts name theirs so too, and fill them with accelerate
    if name.endswith(".ckpt"):
        return Writer.LIGHTNING
    if any(is_metadata(entry) or entry.endswith(SHARD) for entry in entries):
        return Writer.DCP
    only = [entry for entry in entries if not entry.startswith(".")]
    if len(only) == 1 and only[0].endswith(".ckpt") and _is_file(entries[only[0]]):
        return writer_of(entries[only[0]])
    return Writer.FILES


def _look(path: Path, known: Callable[[Path, Print], bool] = lambda path, printed: False) -> Save | None:
    printed, size, changed_at = survey(path)
    if not printed:
        return None
    writer = writer_of(path)
    return Save(
        path=path,
        name=path.name,
        writer=writer,
        step=names.step_in(path.name),
        marked=not known(path, printed) and _is_marked(path, writer, printed),
        print=printed,
        size=size,
        changed_at=changed_at,
    )


def _candidates(run: Path) -> Iterator[Path]:
    """Paths in a run that are saves by their names and places. Links are others' names for the same save."""
    pending = [(run, 0, False)]
    visited = 0
    while pending and visited < _MAX_DIRECTORIES:
        directory, depth, logs = pending.pop()
        visited += 1
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        for entry in entries:
            try:
                link, inside = entry.is_symlink(), entry.is_dir(follow_symlinks=False)
            except OSError:  # where the directory does not say, the entry is asked
                continue
            if link or names.is_temporary(entry.name) or not _is_text(entry.name):
                continue
            path = Path(entry.path)
            if names.is_log(entry.name, directory=inside):
                continue
            if not inside:
                if names.is_single(entry.name):
                    yield path
            elif _is_save(path) and not (logs and not _holds_weights(path)):
                yield path
            elif depth < _DEPTH:
                pending.append((path, depth + 1, logs or names.is_for_logs(entry.name)))


def _is_save(directory: Path) -> bool:
    """Whether a directory is one save, and not a place where several lie."""
    if names.names_a_step(directory.name) or directory.suffix == ".ckpt":
        return True
    entries = _names_in(directory)
    return any(names.is_part(name) or is_metadata(name) or name.endswith(SHARD) for name in entries) and not any(
        names.names_a_step(name) for name in entries
    )


def _is_saved_to(run: Path, below: Sequence[Path]) -> bool:
    """Whether a run's directory is itself what its trainer goes on from, written over with each save.

    As accelerate and DCP can. Weights alone don't make it so: many a trainer leaves its last ones beside its saves, or
    begins with some there.
    """
    entries = _names_in(run)
    state = any(names.is_random_state(name) or is_metadata(name) for name in entries)
    if not state or any(names.names_a_step(part) for path in below for part in path.relative_to(run).parts):
        return False
    return _holds_weights(run)


def _holds_weights(directory: Path) -> bool:
    return any(names.holds_weights(name) or name.endswith(SHARD) for name, *_ in survey(directory)[0])


def _is_text(name: str) -> bool:
    """Whether a name is UTF-8 on the disk."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _is_marked(path: Path, writer: Writer, printed: Print) -> bool:
    if _is_file(path):
        return _is_whole_zip(path)
    match writer:
        case Writer.TRANSFORMERS:
            others = [entry for entry in printed if not names.is_of_a_rank(entry[0])]
            return _is_newest(others, TRAINER_STATE) and _is_whole_json(path / TRAINER_STATE)
        case Writer.DCP:
            ranks = {name[2:].partition("_")[0] for name in _names_in(path) if name.endswith(SHARD)}
            return _is_newest(printed, METADATA) or bool(
                ranks and all(_is_newest_of_rank(printed, rank) for rank in ranks)
            )
        case Writer.LIGHTNING:
            return _is_newest(printed, LIGHTNING_META) and _is_whole_zip(path / LIGHTNING_META)
        case Writer.FILES:
            return False


def _is_newest(printed: Iterable[tuple[str, int, int, int]], name: str) -> bool:
    """Whether a file is there and none is newer: a mark that an earlier save left in the same place is older."""
    times = {path: time for path, _, _, time in printed}
    return name in times and times[name] >= max(times.values())


def _is_newest_of_rank(printed: Print, rank: str) -> bool:
    return _is_newest(
        [entry for entry in printed if entry[0].startswith(f"__{rank}_") or entry[0] == f"__{rank}{METADATA}"],
        f"__{rank}{METADATA}",
    )


def _is_whole_json(path: Path) -> bool:
    try:
        if path.stat().st_size > _MAX_JSON:
            return False
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _is_zip(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def _is_whole_zip(path: Path) -> bool:
    try:
        with open_source(path) as source:
            return bool(read_directory(source))
    except (P2pckptError, Malformed):
        return False


def _mode(path: Path) -> int:
    """0 where nothing is, or nothing that the disk gives."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(_mode(path))


def _names_in(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(directory)]
    except OSError:
        return []


def _written_at(save: Save) -> int:
    return max(mtime for *_, mtime in save.print)
