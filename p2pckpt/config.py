"""Settings and places: flag > environment > project file > user file > default, each with its origin.

A setting is one row of ``SETTINGS``. ``Config`` is immutable; tests and the demo make one per home. The user
file is ``config.toml`` in the config directory; a project file is ``.p2pckpt.toml`` in the working directory or
above. ``P2PCKPT_HOME`` puts everything under one directory.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import platformdirs

from p2pckpt.errors import BadUsage
from p2pckpt.hours import parse_hours
from p2pckpt.units import exact_size, parse_size

PROJECT_FILE: Final = ".p2pckpt.toml"
_SOCKET_PATH_LIMIT: Final = 100
"""Bytes a Unix socket's path may have; the kernel's limit is 108 on Linux, 104 on macOS."""

Value = str | int | bool


class Kind(StrEnum):
    """What a setting's value is; the words are those that an error uses."""

    TEXT = "text"
    NUMBER = "number"
    SWITCH = "yes or no"
    SIZE = "size"
    """Bytes, also written ``5M`` (``units.parse_size``)."""
    HOURS = "hours"
    """Periods of the week (``hours.parse_hours``)."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table of settings."""

    group: str
    key: str
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    kind: Kind = Kind.TEXT
    live: bool = False
    """Whether a change counts at once; if not, the daemon goes on with the old value until it starts next."""
    most: int = 0
    """The largest number that makes sense; 0 where ``kind`` is no number."""

    @property
    def environment(self) -> str:
        return "P2PCKPT_" + self.key.upper()


def _switch(group: str, key: str, default: bool, text: str, *, live: bool = False) -> Setting:
    return Setting(group, key, default, text, kind=Kind.SWITCH, live=live)


def _number(group: str, key: str, text: str, *, most: int = 65_535) -> Setting:
    """Most numbers are ports."""
    return Setting(group, key, 0, text, kind=Kind.NUMBER, most=most)


def _limit(key: str, default: int, text: str) -> Setting:
    return Setting("Limits", key, default, text, kind=Kind.SIZE, live=True)


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting("General", "name", "", "what you are called in members' lists; empty: the login name"),
    Setting(
        "General", "tracker", "", "tracker to publish through, host:port#key; empty: one beside the daemon", live=True
    ),
    Setting("General", "store", "", "directory of the objects; empty: beside the rest of the data"),
    _number("General", "workers", "threads that pack and unpack; 0: one per core", most=1024),
    _number("General", "nice", "how far the daemon stands back for other programs, as nice(1); 19: the most", most=19),
    _switch("General", "seed_after_get", True, "keep offering what was received", live=True),
    Setting(
        "General",
        "key_store",
        "auto",
        "where a new identity is kept; auto: the OS keyring if open",
        ("auto", "keyring", "file"),
        live=True,
    ),
    Setting("General", "passphrase_file", "", "file with the identity's passphrase, for daemons that start unattended"),
    Setting(
        "General",
        "new_keys",
        "tell",
        "versions by a publisher who is new in a share; wait: until you decide",
        ("tell", "wait"),
        live=True,
    ),
    Setting(
        "General",
        "log_level",
        "info",
        "what the daemon writes to its log",
        ("debug", "info", "warning", "error"),
        live=True,
    ),
    Setting("Network", "public_address", "", "host name or address that others reach this machine at"),
    _number("Network", "public_tls_port", "port at public_address that leads to tls_port; 0: the same number"),
    Setting("Network", "listen", "0.0.0.0", "address that peers connect to"),
    _number("Network", "port", "port that peers connect to; 0: any free one, kept over restarts"),
    _number(
        "Network",
        "tls_port",
        "port that peers of shares that are not public connect to; 0: any, kept over restarts",
    ),
    Setting("Network", "tracker_listen", "0.0.0.0", "address the tracker beside the daemon listens on"),
    _number("Network", "tracker_port", "its port; 0: any free one, kept over restarts"),
    _number(
        "Network",
        "announce_port",
        "port of its announces for stock clients, open while there are public shares; 0: any",
    ),
    _switch("Network", "port_mapping", True, "ask the router for mapped ports (UPnP, NAT-PMP)"),
    _switch("Network", "dht", True, "find peers of public shares through the DHT, too", live=True),
    Setting(
        "Network",
        "dht_bootstrap",
        "",
        "host:port of DHT nodes to begin with, separated by commas; empty: libtorrent's",
    ),
    _switch("Network", "local_discovery", True, "find peers of public shares by multicast on the LAN, too", live=True),
    _limit("download_limit", 0, "bytes per second over all transfers; 0: none"),
    _limit("upload_limit", 0, "bytes per second over all transfers; 0: none"),
    Setting(
        "Limits",
        "turtle",
        "auto",
        "slow mode, with the limits of turtle_…; auto: within turtle_hours",
        ("auto", "on", "off"),
        live=True,
    ),
    Setting(
        "Limits",
        "turtle_hours",
        "",
        "when slow mode is on by itself, such as mon-fri 09:00-18:00, 22:00-06:00; empty: never",
        kind=Kind.HOURS,
        live=True,
    ),
    _limit("turtle_download_limit", 1 << 20, "bytes per second over all transfers in slow mode; 0: as otherwise"),
    _limit("turtle_upload_limit", 1 << 20, "bytes per second over all transfers in slow mode; 0: as otherwise"),
    _switch(
        "Gateway", "gateway", False, "let programs that read a model hub read your shares (HF_ENDPOINT)", live=True
    ),
    _number("Gateway", "gateway_port", "port of the gateway on 127.0.0.1; 0: any free one, kept over restarts"),
    Setting("Interface", "theme", "p2pckpt", "colours of the terminal interface", live=True),
)
_BY_KEY: Final = {row.key: row for row in SETTINGS}


@dataclass(frozen=True, slots=True)
class Origin:
    """A value and where it came from."""

    key: str
    value: Value
    origin: str
    """``flag``, ``environment P2PCKPT_…``, a file's path, or ``default``."""

    @property
    def written(self) -> str:
        """The value as ``convert`` reads it back."""
        return written(_BY_KEY[self.key].kind, self.value)


@dataclass(frozen=True, slots=True)
class Config:
    """Where this home's files are, and every setting's value with its origin."""

    config_dir: Path
    data_dir: Path
    state_dir: Path
    runtime_dir: Path
    home: Path | None = None
    """The one directory that holds everything, when ``P2PCKPT_HOME`` or a caller asked for it."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of the terminal UI that differ from the built-in ones: action → keys, separated by commas."""

    def text(self, key: str) -> str:
        return str(self.origins[key].value)

    def number(self, key: str) -> int:
        return int(self.origins[key].value)

    def flag(self, key: str) -> bool:
        return bool(self.origins[key].value)

    @property
    def user_file(self) -> Path:
        return self.config_dir / "config.toml"

    @property
    def socket_path(self) -> Path:
        """The daemon's socket, in a directory only this user may enter."""
        return self.runtime_dir / "daemon.sock"

    @property
    def store_dir(self) -> Path:
        return Path(self.text("store")) if self.text("store") else self.data_dir / "store"

    @property
    def keys_dir(self) -> Path:
        return self.data_dir / "keys"

    @property
    def known_keys(self) -> Path:
        """What is remembered of other people's keys."""
        return self.data_dir / "known-keys.db"

    @property
    def tracker_dir(self) -> Path:
        """Data of the tracker that runs beside the daemon."""
        return self.data_dir / "tracker"

    @property
    def daemon_log(self) -> Path:
        return self.state_dir / "daemon.log"

    @property
    def workers(self) -> int:
        return self.number("workers") or max(1, os.cpu_count() or 1)

    def environment(self) -> dict[str, str]:
        """Variables that make a child process find this same home."""
        return {"P2PCKPT_HOME": str(self.home)} if self.home else {}


def load(
    *,
    home: Path | None = None,
    flags: Mapping[str, Value] | None = None,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> Config:
    """The configuration as seen from ``directory`` (default: the working directory).

    Raises ``BadUsage`` naming file and key when a value has the wrong type, or a file cannot be read.
    """
    environ = os.environ if environ is None else environ
    if home is None and environ.get("P2PCKPT_HOME"):
        home = Path(environ["P2PCKPT_HOME"]).expanduser().absolute()
    places = _places(home)
    layers: list[tuple[str, Mapping[str, Any]]] = []
    user_file = places["config_dir"] / "config.toml"
    in_file = dict(_read(user_file))
    keys = _key_map(in_file.pop("keys", {}), user_file)
    layers.append((str(user_file), in_file))
    project_file = _project_file(directory or Path.cwd())
    if project_file is not None:
        layers.append((str(project_file), _read(project_file)))
    origins: dict[str, Origin] = {s.key: Origin(s.key, s.default, "default") for s in SETTINGS}
    for origin, values in layers:
        for key, raw in values.items():
            origins[key] = Origin(key, convert(key, raw, origin), origin)
    for row in SETTINGS:
        if row.environment in environ:
            origin = f"environment {row.environment}"
            origins[row.key] = Origin(row.key, convert(row.key, environ[row.environment], origin), origin)
    for key, raw in (flags or {}).items():
        origins[key] = Origin(key, convert(key, raw, "flag"), "flag")
    return Config(home=home, origins=origins, keys=keys, **places)


def setting(key: str, origin: str) -> Setting:
    """The row of ``key``; ``BadUsage`` says that ``origin`` names one there is not."""
    found = _BY_KEY.get(key)
    if found is None:
        raise BadUsage(f"{origin}: there is no setting {key!r}", next_step="p2pckpt config show")
    return found


def written(kind: Kind, value: Value) -> str:
    """``value`` as ``convert`` reads it back."""
    if isinstance(value, bool):
        return str(value).lower()
    return exact_size(value) if kind is Kind.SIZE and isinstance(value, int) else str(value)


def convert(key: str, raw: Any, origin: str) -> Value:
    """``raw`` as the type of setting ``key``; ``BadUsage`` names what is wrong and where."""
    row = setting(key, origin)
    try:
        value = _READ[row.kind](raw)
    except ValueError as exc:
        raise BadUsage(f"{origin}: {key}: {exc}") from exc
    if value is None:
        raise BadUsage(f"{origin}: {key} = {raw!r} is no {row.kind.value}")
    if row.most and int(value) > row.most:
        raise BadUsage(f"{origin}: {key} is at most {row.most:,}")
    if row.choices and value not in row.choices:
        raise BadUsage(f"{origin}: {key} is one of {', '.join(row.choices)}, not {raw!r}")
    return value


def _key_map(table: Any, path: Path) -> Mapping[str, str]:
    if not isinstance(table, dict) or not all(isinstance(keys, str) and keys for keys in table.values()):
        raise BadUsage(f'{path}: [keys] has lines such as "job.pause" = "p"', next_step=f"correct {path}")
    return table


def _as_text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) else None


def _as_size(raw: Any) -> int | None:
    return parse_size(raw) if isinstance(raw, str) else _as_int(raw)


def _as_hours(raw: Any) -> str | None:
    if isinstance(raw, str):
        parse_hours(raw)
        return raw.strip()
    return None


def _as_bool(raw: Any) -> bool | None:
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words.get(str(raw).lower())


def _as_int(raw: Any) -> int | None:
    if isinstance(raw, bool | float):
        return None
    try:
        value = int(raw)
    except (TypeError, ValueError):
        return None
    return value if value >= 0 else None


_READ: Final[Mapping[Kind, Callable[[Any], Value | None]]] = {
    Kind.TEXT: _as_text,
    Kind.NUMBER: _as_int,
    Kind.SWITCH: _as_bool,
    Kind.SIZE: _as_size,
    Kind.HOURS: _as_hours,
}


def _places(home: Path | None) -> dict[str, Path]:
    if home is not None:
        runtime = _short_enough(home / "run", home)
        return {
            "config_dir": home / "config",
            "data_dir": home / "data",
            "state_dir": home / "state",
            "runtime_dir": runtime,
        }
    state = Path(platformdirs.user_state_dir("p2pckpt", appauthor=False))
    runtime = _runtime_directory() or _short_enough(state / "run", state)
    return {
        "config_dir": Path(platformdirs.user_config_dir("p2pckpt", appauthor=False)),
        "data_dir": Path(platformdirs.user_data_dir("p2pckpt", appauthor=False)),
        "state_dir": Path(platformdirs.user_state_dir("p2pckpt", appauthor=False)),
        "runtime_dir": runtime,
    }


def _short_enough(runtime: Path, place: Path) -> Path:
    """``runtime``, or for one too deep to hold a socket a directory of this user alone, named after ``place``."""
    if len(str(runtime / "daemon.sock").encode()) <= _SOCKET_PATH_LIMIT:
        return runtime
    import hashlib

    digest = hashlib.sha256(str(place).encode()).hexdigest()[:16]
    shorter = (_runtime_directory() or Path("/")) / digest
    if shorter.parent == Path("/") or len(str(shorter).encode()) > _SOCKET_PATH_LIMIT - 12:
        shorter = Path("/tmp") / f"p2pckpt-{os.getuid()}" / digest  # noqa: S108 - made 0700, owner checked by the daemon
    return shorter


def _runtime_directory() -> Path | None:
    """The session's directory for sockets; none in containers and after ``su``, where nothing sets it up."""
    if sys.platform == "linux" and not os.environ.get("XDG_RUNTIME_DIR"):
        parent = Path(f"/run/user/{os.getuid()}")
        return parent / "p2pckpt" if parent.is_dir() and os.access(parent, os.W_OK) else None
    directory = Path(platformdirs.user_runtime_dir("p2pckpt", appauthor=False))
    return directory if directory.parent.is_dir() and os.access(directory.parent, os.W_OK) else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise BadUsage(f"{path} cannot be read: {exc}", next_step=f"correct or move {path}") from exc


def _project_file(directory: Path) -> Path | None:
    for parent in (directory, *directory.parents):
        candidate = parent / PROJECT_FILE
        if candidate.is_file():
            return candidate
    return None
