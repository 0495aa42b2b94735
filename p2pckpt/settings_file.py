"""The user's ``config.toml``: one setting changed at a time, everything else in it left as it was written."""

from __future__ import annotations

from pathlib import Path

from p2pckpt.atomic import write_whole
from p2pckpt.config import Kind, Value, convert, setting
from p2pckpt.errors import BadUsage
from p2pckpt.units import exact_size


def write_setting(path: Path, key: str, value: Value | None, origin: str) -> None:
    """Set ``key`` in the file at ``path``, or with None take it out; comments and order stay.

    Blocks on the disk. Raises ``BadUsage``, naming ``origin``, for a value that makes no sense, and for a file that
    can't be read; ``NotAllowed`` when it can't be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    row = setting(key, origin)
    converted = None if value is None else convert(key, value, origin)
    path = path.resolve()  # a link into somebody's collection of settings stays a link
    try:
        document = tomlkit.parse(path.read_text("utf-8")) if path.exists() else tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as exc:
        raise BadUsage(f"{path} cannot be read: {exc}", kept="it was not changed") from exc
    if converted is None:
        if key not in document:
            return
        document.remove(key)
    elif row.kind is Kind.SIZE and not (text := exact_size(int(converted))).isdecimal():
        document[key] = text  # 5M says more than 5242880
    else:
        document[key] = converted
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    write_whole(path, tomlkit.dumps(document).encode(), mode=mode)
