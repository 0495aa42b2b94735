"""The real thing once: a terminal (tmux), a real daemon, tracker and transfer, driven by keys, read from the screen."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench.generate import make_checkpoint
from p2pckpt.control import messages as m
from p2pckpt.tracker_protocol import Visibility

from ..support.homes import Home, failure, tree, until


class Terminal:
    """A tmux server of its own with one window that runs the TUI of a home, or a shell."""

    def __init__(self, home: Home, directory: Path, *, shell: bool = False) -> None:
        self._server = f"p2pckpt-test-{uuid.uuid4().hex[:8]}"
        settings = [f"{key}={value}" for key, value in home.env.items() if key.startswith("P2PCKPT_")]
        program = ["sh"] if shell else [sys.executable, "-m", "p2pckpt"]
        command = ["env", "--unset=COLUMNS", "--unset=LINES", "PS1=ready>", *settings, *program]
        self._tmux("new-session", "-d", "-x", "120", "-y", "40", "-c", str(directory), shlex.join(command))

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._server, "kill-server"], check=False, capture_output=True)

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)

    async def run(self, line: str) -> None:
        """Have the shell run ``line`` and show its exit code in brackets."""

        async def prompts() -> bool:
            return self.screen.rstrip().endswith("ready>")

        await until(prompts, "the shell prompts")
        self.type(line + '; echo "($?)"')
        self.press("Enter")

    def press(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    @property
    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    @property
    def colours(self) -> str:
        """The screen with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    async def shows(self, *texts: str) -> None:
        """Wait until all ``texts`` are on the screen."""
        try:
            await until(self._has(texts), f"the screen shows {texts}")
        except AssertionError as exc:
            exc.add_note(self.screen)
            raise

    def _has(self, texts: tuple[str, ...]) -> Callable[[], Awaitable[bool]]:
        async def look() -> bool:
            screen = await asyncio.to_thread(lambda: self.screen)
            return all(text in screen for text in texts)

        return look

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-L", self._server, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture(scope="module", autouse=True)
def tmux() -> None:
    """tmux, from Debian where it is missing."""
    if shutil.which("tmux") is None:
        subprocess.run(["apt-get", "update", "-qq"], check=True, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "tmux"], check=True, capture_output=True)


async def test_a_folder_is_shared_and_received_by_keys_alone(tmp_path: Path) -> None:
    source = tmp_path / "model"
    make_checkpoint(source, 8 << 20, "BF16", tensors=4)
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob", download_limit=4 << 20) as bob:
        publisher, receiver = Terminal(alice, tmp_path), Terminal(bob, tmp_path)
        try:
            await publisher.shows("Nothing here yet", "● daemon")
            await receiver.shows("Nothing here yet", "● daemon")

            publisher.press("n")
            await publisher.shows("Share a checkpoint folder", "Folder")
            publisher.type(str(source))
            publisher.press("Enter")
            await publisher.shows("[2 Describe]", "Next")
            publisher.press("Enter")
            await publisher.shows("[3 Who]")
            publisher.press("Tab", "Enter")
            await publisher.shows("[4 Review]", "its first version", "Publish")
            publisher.press("Enter")
            await publisher.shows("seeding 100%", "p2pckpt:")
            (job,) = await alice.client.jobs()

            receiver.press("o")
            await receiver.shows("Receive", "Link")
            receiver.type(job.link)
            receiver.press("Enter")
            await receiver.shows("model @ v1", "from 1 seed", "Start")
            receiver.press("Enter")
            await receiver.shows("▼")
            receiver.press("Space")
            await receiver.shows("‖")
            (fetch,) = await bob.client.jobs()
            assert fetch.state is m.JobState.PAUSED
            receiver.press("Space")
            await receiver.shows("▲", "100%")
            assert (tmp_path / "model-v1" / "model.safetensors").read_bytes() == (
                source / "model.safetensors"
            ).read_bytes()

            receiver.press("2")
            await receiver.shows("[2 Shares]", "downloader", "latest v1")
            receiver.press("1", "d")
            await receiver.shows("Remove")
            receiver.press("Escape")
            await receiver.shows("100%")
            assert len(await bob.client.jobs()) == 1, "the default answer keeps the transfer"
        finally:
            publisher.close()
            receiver.close()


async def test_a_daemon_killed_in_the_middle_is_started_by_a_key_and_the_transfer_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "model"
    make_checkpoint(source, 8 << 20, "BF16", tensors=4)
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob", download_limit=512 << 10) as bob:
        link = (await alice.share(source, name="model")).link
        fetch = await bob.client.fetch(m.FetchRequest(source=link, to=str(tmp_path / "got")))
        terminal = Terminal(bob, tmp_path)
        try:
            await terminal.shows("● daemon", "▼ downloading")
            await bob.wait_until(fetch.id, lambda job: job.wire_done > 1 << 20)
            await bob.kill()
            await terminal.shows("✗ no daemon", "start it", "The lists are as they were", "model")
            terminal.press("s")
            await terminal.shows("● daemon", "▼ downloading")
            stopped = await bob.cli("daemon", "stop")
            assert stopped.returncode == 0, stopped.stderr
            await terminal.shows("✗ no daemon")
            bob.set(download_limit=0)
            await bob.start()
            await terminal.shows("● daemon", "▲ seeding", "100%")
            assert tree(tmp_path / "got") == tree(source)
        finally:
            terminal.close()


async def test_members_come_and_go_and_a_damaged_file_is_repaired_by_keys_alone(tmp_path: Path) -> None:
    source = tmp_path / "model"
    make_checkpoint(source, 8 << 20, "BF16", tensors=4)
    homes = [Home(tmp_path / name) for name in ("alice", "bob", "carol")]
    async with homes[0] as alice, homes[1] as bob, homes[2] as carol:
        shared = await alice.share(source, name="model", to=Visibility.MEMBERS)
        owner = Terminal(alice, tmp_path)
        try:
            await owner.shows("● daemon", "▲ seeding")
            owner.press("4")
            await owner.shows("[4 Members]", "model", "1 member")
            for home, members in ((bob, "2 members"), (carol, "3 members")):
                owner.press("a")
                await owner.shows("Add by key: model")
                owner.type((await home.client.key()).public_text)
                owner.press("Enter")
                await owner.shows("is downloader now", "y copies it")
                owner.press("Escape")
                await owner.shows(members)
            link = (await alice.client.link(shared.share_id, "")).link
            await bob.get(link, tmp_path / "bob's")
            await carol.get(link, tmp_path / "carol's")
            identity = (await carol.client.key()).identity
            owner.press("/")
            await owner.shows("words, state:down")
            owner.type(identity[:8])
            await owner.shows("(1 shown)", identity[:4])
            owner.press("Enter")
            await owner.shows("d Remove")
            owner.press("d")
            await owner.shows("Remove a member")
            owner.press("Tab", "Enter")
            await owner.shows("2 members")
            assert (await failure(carol.get("model", tmp_path / "again"))).exit_code in (4, 5)
        finally:
            owner.close()

        damaged = tmp_path / "bob's" / "model.safetensors"
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: 1 << 20] + bytes(4096) + whole[(1 << 20) + 4096 :])
        receiver = Terminal(bob, tmp_path)
        try:
            await receiver.shows("● daemon", "▲ seeding")
            receiver.press("v")
            await receiver.shows("≡ 1 verify" if "≡" in receiver.screen else "✗ 1 failed")
            await receiver.shows("✗ 1 failed")
            receiver.press("G", "Enter")
            await receiver.shows("esc Back")
            receiver.press("]", "]", "]")
            await receiver.shows("1 damaged · 0 repaired", "model.safetensors", "✗ bad")
            receiver.press("r")
            await receiver.shows("Repair")
            receiver.press("Tab", "Enter")

            async def repaired() -> bool:
                return await asyncio.to_thread(damaged.read_bytes) == whole

            await until(repaired, "the file is whole again")
            receiver.press("Escape")
            await receiver.shows("✔ 1 done")
            receiver.press("G", "Enter")
            await receiver.shows("esc Back")
            receiver.press("]", "]", "]")
            await receiver.shows("1 repaired")
        finally:
            receiver.close()


async def test_one_transfer_in_a_few_lines_of_the_shell(tmp_path: Path) -> None:
    source = tmp_path / "model"
    make_checkpoint(source, 8 << 20, "BF16", tensors=4)
    program = f"{shlex.quote(sys.executable)} -m p2pckpt tui --inline"
    async with Home(tmp_path / "alice") as alice, Home(tmp_path / "bob", download_limit=512 << 10) as bob:
        link = (await alice.share(source)).link
        shell = Terminal(bob, tmp_path, shell=True)
        try:
            await shell.run(program)
            await shell.shows("no transfer is active", "(5)")

            fetch = await bob.client.fetch(m.FetchRequest(source=link, to=str(tmp_path / "got")))
            await bob.client.pause(fetch.id)  # a transfer that lasts as long as this takes
            await shell.run("clear; echo above; " + program)
            await shell.shows("above", "model @ v1   ‖ paused", "of 8.0M", "leave")
            assert shell.screen.splitlines()[0] == "above", "what stood there is left alone"
            shell.press("Space")
            await shell.shows("▼ downloading", "1 peer", "↓")
            shell.press("Space")
            await shell.shows("‖ paused")
            shell.press("q")
            await shell.shows(f"model@v1: paused; p2pckpt resume {fetch.id}", "(0)")
            assert (await bob.client.job(fetch.id)).state is m.JobState.PAUSED

            await shell.run(f"clear; {program} {fetch.id}")
            await shell.shows("‖ paused")
            shell.press("C-c")
            await shell.shows("interrupted", "kept: the transfer", "(130)")

            await shell.run(f"clear; echo above; {program} model")
            await shell.shows("‖ paused")
            shell.press("Space")
            await shell.shows("above", "model@v1: 8.4 MB received", "(0)")
            assert "leave" not in shell.screen, "the view is gone, its last line is left"
        finally:
            shell.close()
