"""Cards made of headers: what is found is told, what is not found is not, and no file's text becomes markup."""

from __future__ import annotations

import json
import struct

import pytest

from p2pckpt.checkpoint.card import read_card
from p2pckpt.checkpoint.card_skeleton import SourceFile, amount, facts, skeleton
from p2pckpt.checkpoint.formats import BytesSource, inspect
from tests.unit.checkpoint.builders import gguf_bytes, safetensors_bytes, torch_bytes, with_header


def source(path: str, data: bytes) -> SourceFile:
    return SourceFile(path, len(data), inspect(BytesSource(data)))


def gguf_with(**metadata: str | int) -> bytes:
    """A GGUF file without tensors that says this of itself; ``__`` stands for a dot."""
    body = b""
    for key, value in metadata.items():
        name = key.replace("__", ".").encode()
        text = str(value).encode()
        body += struct.pack("<Q", len(name)) + name
        body += struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<IQ", 8, len(text)) + text
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + body


def test_parameters_types_and_groups_come_from_the_headers() -> None:
    found = facts("model", [source("model.safetensors", safetensors_bytes())], {})
    assert found.parameters == 96 * 64 + 64 + 64 * 64
    assert found.dtypes == {"F32": found.parameters}
    assert found.groups == [("embed", 1, 1, 6144), ("layer.*", 1, 2, 4160)]
    assert found.tags == ("safetensors",)


def test_the_same_weights_in_two_formats_count_once_and_those_of_two_parts_count_twice() -> None:
    once = facts("m", [source("a.safetensors", safetensors_bytes())], {}).parameters
    twice = [source("a.safetensors", safetensors_bytes()), source("pytorch_model.bin", torch_bytes())]
    assert facts("m", twice, {}).parameters == once
    parts = [source("unet/a.safetensors", safetensors_bytes()), source("vae/a.safetensors", safetensors_bytes())]
    assert facts("m", parts, {}).parameters == 2 * once
    state = [source("a.safetensors", safetensors_bytes()), source("optimizer.pt", torch_bytes())]
    assert facts("m", state, {}).parameters == once


def test_gguf_tells_its_name_architecture_quantisation_and_licence() -> None:
    header = gguf_with(
        general__name="Tiny", general__architecture="llama", general__file_type=3, general__license="apache-2.0",
        llama__context_length=8192, general__base_model__0__repo_url="https://huggingface.co/org/base",
    )  # fmt: skip
    found = facts("m", [source("m.gguf", header), source("w.gguf", gguf_bytes())], {})
    assert (found.title, found.architecture, found.quantisation) == ("Tiny", "llama", "Q4_1")
    assert (found.licence, found.base_model, found.tags) == ("apache-2.0", ("org/base",), ("gguf",))
    assert ("Context", "8,192") in found.further
    assert set(found.dtypes) == {"Q8_0", "F32", "F16"}


@pytest.mark.parametrize(
    ("configs", "library", "architecture", "base"),
    [
        ({"config.json": {"architectures": ["BertModel"], "model_type": "bert", "transformers_version": "5"}},
         "transformers", "BertModel (bert)", ()),
        ({"config.json": {"model_type": "t5", "_name_or_path": "org/base"}}, "", "t5", ("org/base",)),
        ({"config.json": {"_name_or_path": "/home/me/run7"}}, "", "", ()),
        ({"model_index.json": {"_class_name": "FluxPipeline", "_diffusers_version": "1"}},
         "diffusers", "FluxPipeline", ()),
        ({"adapter_config.json": {"peft_type": "LORA", "base_model_name_or_path": "org/b", "r": 8}},
         "peft", "", ("org/b",)),
        ({"modules.json": {}, "config.json": {"transformers_version": "4"}}, "sentence-transformers", "", ()),
        ({"config.json": {"architectures": "?", "model_type": 7, "quantization_config": []}}, "transformers", "", ()),
    ],
)  # fmt: skip
def test_configurations_tell_library_architecture_and_base(
    configs: dict[str, dict[str, object]], library: str, architecture: str, base: tuple[str, ...]
) -> None:
    found = facts("m", [], configs)
    assert (found.library, found.architecture, found.base_model) == (library, architecture, base)


def test_the_card_reads_back_as_what_was_found_and_given() -> None:
    configs = {"config.json": json.dumps({"architectures": ["X"], "transformers_version": "5"}).encode()}
    readme = skeleton("my model", [source("model.safetensors", safetensors_bytes())], configs, licence="mit")
    card = read_card(readme)
    assert (card.title, card.licence, card.library_name) == ("my model", "MIT", "transformers")
    assert (card.tags, card.problems) == (("safetensors",), ())
    assert "| Parameters | 10.3 k (10,304) |" in card.text
    size = len(safetensors_bytes()) / 1000
    assert f"| `model.safetensors` | {size:.1f} kB | safetensors | 3 | 10.3 k |" in card.text
    given = read_card(skeleton("m", [], configs, base_model=["a/b"], tags=["x", "y"]))
    assert (given.base_model, given.tags) == (("a/b",), ("x", "y"))
    assert given.problems == ("The card names no licence.",)


def test_no_text_of_a_file_becomes_markup_or_acts_on_a_terminal() -> None:
    hostile = "](javascript:x) <script> | `x` \x1b[31m \u202e *b*\n# h"
    configs = {"config.json": json.dumps({"architectures": [hostile], "model_type": hostile}).encode()}
    header = with_header({"__metadata__": {"modelspec.title": hostile, "modelspec.license": hostile}, hostile: {
        "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234")  # fmt: skip
    text = skeleton(hostile, [source("a`|b.safetensors", header)], configs).decode()
    assert "\x1b" not in text
    assert "\u202e" not in text
    body = read_card(text.encode()).text
    lines = [line for line in body.splitlines() if "javascript" in line and not line.startswith("| `")]
    assert lines
    assert all("\\](javascript" in line and "<script>" not in line and "\\`x\\`" in line for line in lines)
    assert not [line for line in body.splitlines() if line.startswith("# h")]


@pytest.mark.parametrize("data", [b"[" * 100_000, b"not json", b"[1]", b'"x"', b"\xff", b"{" + b" " * (1 << 20) + b"}"])
def test_a_broken_configuration_counts_for_nothing(data: bytes) -> None:
    assert b"Architecture" not in skeleton("m", [], {"config.json": data})


def test_long_headers_are_kept_short() -> None:
    many = {f"k{i}": "v" for i in range(1000)} | {"long": "x" * 1000}
    assert len(source("a", with_header({"__metadata__": many})).layout.metadata) == 256
    assert source("a", with_header({"__metadata__": {"long": "x" * 1000, "a": 1}})).layout.metadata == {}
    assert source("a", gguf_with(long="x" * 1000, short="y")).layout.metadata == {"short": "y"}


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (22_713_216, "22.7 M"), (7_000_000_000, "7 B"), (1_500, "1.5 k")]
)
def test_amounts_are_said_as_people_say_them(count: int, text: str) -> None:
    assert amount(count) == text
