"""Which share an address means."""

from __future__ import annotations

import subprocess
import sys

import pytest

from p2pckpt.bridges.fsspec import split_path

NAMES = {"cars", "cars/sd15", "cars/sd15/lora"}
ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("path", "version", "inside"),
    [
        ("cars", "cars", ""),
        ("cars/sd15", "cars/sd15", ""),
        ("/cars/sd15/", "cars/sd15", ""),
        ("cars/sd15/unet/model.safetensors", "cars/sd15", "unet/model.safetensors"),
        ("cars/sd15/lora/a.bin", "cars/sd15/lora", "a.bin"),
        ("cars/sd15@stable/lora/a.bin", "cars/sd15@stable", "lora/a.bin"),
        ("cars/sd15@v7", "cars/sd15@v7", ""),
        ("cars/sd15/a@b/c.txt", "cars/sd15", "a@b/c.txt"),
        ("cars/other/config.json", "cars", "other/config.json"),
        (f"{ID}@3/config.json", f"{ID}@3", "config.json"),
        (f"{ID}/config.json", ID, "config.json"),
    ],
)
def test_the_longest_known_name_or_what_stands_before_the_at_is_the_share(path: str, version: str, inside: str) -> None:
    assert split_path(path, NAMES) == (version, inside)


@pytest.mark.parametrize("path", ["", "ships", "ships/sd15/config.json", "ships@v1/config.json", "@v1/x"])
def test_what_begins_with_no_known_share_is_none(path: str) -> None:
    assert split_path(path, NAMES) is None


def test_the_door_is_importable_without_fsspec() -> None:
    program = "import sys; sys.modules['fsspec'] = None; import p2pckpt.bridges.fsspec as door; print(door.PROTOCOL)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "p2pckpt"
