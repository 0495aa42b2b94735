"""The command ``p2pckpt-tracker``: serve, address, user, migrate, backup, restore. Only this module prints."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from .accounts import is_identity
from .app import Tracker
from .backup import BackupRefused, back_up, restore
from .data_dir import DataDir, DataDirInUse
from .log import set_up_logging
from .peer_address import trusted
from .settings import Listen, Settings, parse_listen
from .store import account_rows
from .store.database import Database, StoreUnavailable
from .store.migrate import migrate

T = TypeVar("T")


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (DataDirInUse, BackupRefused, StoreUnavailable, OSError, ValueError, tarfile.TarError) as exc:
        print(f"p2pckpt-tracker: {exc}", file=sys.stderr)
        return 1


def _serve(options: argparse.Namespace) -> int:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise ValueError("--tls-cert and --tls-key belong together")
    settings = Settings(
        data=options.data,
        listen=options.listen,
        announce_listen=options.announce_listen,
        ops_listen=options.ops_listen,
        announce_url=options.announce_url,
        tls_certificate=options.tls_cert,
        tls_key=options.tls_key,
        plain_http=options.plain_http,
        proxy_certificates=tuple(options.proxy_certificate),
        trusted_proxies=trusted(options.trusted_proxy),
        only_listed=options.new_shares == "listed",
        owners=tuple(options.owner),
        ready_file=options.ready_file,
        interval=options.interval,
    )
    set_up_logging()
    return asyncio.run(_serve_until_signal(Tracker(settings)))


async def _serve_until_signal(tracker: Tracker) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    try:
        await tracker.start()
        await stop.wait()
    finally:
        await tracker.stop()
    return 0


def _address(options: argparse.Namespace) -> int:
    ready = json.loads(options.ready_file.read_text())
    digest = bytes.fromhex(ready["certificate_sha256"])
    key = base64.b32encode(digest).decode().rstrip("=").lower()
    print(f"{options.host}:{ready['api_port']}" + (f"#{key}" if digest else ""))
    return 0


def _user_add(options: argparse.Namespace) -> int:
    _in_database(options.data, lambda connection: account_rows.add_listed(connection, options.identity))
    return 0


def _user_rm(options: argparse.Namespace) -> int:
    if not _in_database(options.data, lambda connection: account_rows.remove_listed(connection, options.identity)):
        raise ValueError("this identity is not listed")
    return 0


def _user_ls(options: argparse.Namespace) -> int:
    for identity, name in _in_database(options.data, account_rows.all_listed):
        # Names are chosen by strangers: what a terminal could take for a command is left out.
        print(identity, "".join(char for char in name if char.isprintable()))
    return 0


def _migrate(options: argparse.Namespace) -> int:
    home = DataDir(options.data)
    home.lock()
    database = Database(home.create_database())
    migrate(database.engine)
    database.close()
    return 0


def _backup(options: argparse.Namespace) -> int:
    back_up(options.data, options.file)
    return 0


def _restore(options: argparse.Namespace) -> int:
    restore(options.data, options.file)
    return 0


def _in_database(data: Path, work: Callable[[Connection], T]) -> T:
    database = Database(DataDir(data).create_database())
    try:
        migrate(database.engine)
        return database.run_now(work)
    finally:
        database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="p2pckpt-tracker", description="The tracker of p2pckpt.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--data", type=Path, required=True, metavar="DIR", help="the tracker's directory")

    serve = commands.add_parser("serve", parents=[common], help="run until SIGTERM")
    serve.set_defaults(command=_serve)
    serve.add_argument("--listen", type=_listen, default=Listen("0.0.0.0", 7878), metavar="HOST:PORT")
    serve.add_argument(
        "--announce-listen",
        type=_optional_listen,
        metavar="HOST:PORT",
        help="plain HTTP announces of stock clients",
    )
    serve.add_argument(
        "--announce-url", default="", metavar="URL", help="how stock clients reach that, without the pass"
    )
    serve.add_argument("--ops-listen", type=_optional_listen, metavar="HOST:PORT", help="/livez, /readyz and /metrics")
    serve.add_argument("--tls-cert", type=Path, metavar="FILE", help="instead of the self-signed certificate")
    serve.add_argument("--tls-key", type=Path, metavar="FILE")
    serve.add_argument("--plain-http", action="store_true", help="no TLS: a proxy in front does it")
    serve.add_argument(
        "--trusted-proxy", action="append", default=[], metavar="CIDR", help="believe its X-Forwarded-For"
    )
    serve.add_argument(
        "--proxy-certificate",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="PEM of the certificate that a proxy in front shows; clients sign it when they log in",
    )
    serve.add_argument("--new-shares", choices=["open", "listed"], default="listed")
    serve.add_argument(
        "--owner", action="append", default=[], type=_identity, metavar="IDENTITY", help="list it at start"
    )
    serve.add_argument("--ready-file", type=Path, metavar="FILE", help="written when all listeners are open")
    serve.add_argument("--interval", type=_interval, default=900, metavar="SECONDS", help="between announces (900)")

    address = commands.add_parser("address", help="print what clients set as their tracker")
    address.set_defaults(command=_address)
    address.add_argument("host", help="host name or address at which clients reach this machine")
    address.add_argument("--ready-file", type=Path, required=True, metavar="FILE", help="as given to serve")

    user = commands.add_parser("user", help="who may create shares when only listed accounts may")
    actions = user.add_subparsers(required=True, metavar="ACTION")
    for name, command in (("add", _user_add), ("rm", _user_rm)):
        action = actions.add_parser(name, parents=[common])
        action.add_argument("identity", type=_identity)
        action.set_defaults(command=command)
    actions.add_parser("ls", parents=[common]).set_defaults(command=_user_ls)

    commands.add_parser("migrate", parents=[common], help="bring the database up to date").set_defaults(
        command=_migrate
    )
    for name, command, text in (
        ("backup", _backup, "write database, keys and files to FILE; it holds private keys"),
        ("restore", _restore, "unpack such a FILE into an empty directory"),
    ):
        action = commands.add_parser(name, parents=[common], help=text)
        action.add_argument("file", type=Path)
        action.set_defaults(command=command)
    return parser


def _listen(text: str) -> Listen:
    try:
        return parse_listen(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _optional_listen(text: str) -> Listen | None:
    return _listen(text) if text else None


def _identity(text: str) -> str:
    if not is_identity(text):
        raise argparse.ArgumentTypeError("an identity is 64 lower-case hex digits")
    return text


def _interval(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 86400:
        raise argparse.ArgumentTypeError("1 to 86400 seconds")
    return int(text)


if __name__ == "__main__":
    run()
