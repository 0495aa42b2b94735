"""Converting without torch: what the process may do, what the command says, and how names are made.

The loading itself needs torch, which is not installed here: tests/contract/convert_with_torch.py is run by hand.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from p2pckpt.errors import BadUsage, NotFound, P2pckptError, VerificationFailed
from p2pckpt.jobs import convert as converting
from p2pckpt.jobs import convert_worker as worker
from tests.support.homes import write_files
from tests.unit.checkpoint.builders import safetensors_bytes
from tests.unit.cli.conftest import Cli, cli, home  # noqa: F401

ROOT = Path(converting.__file__).parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "model", {"model.ckpt": b"weights"}) / "model.ckpt"


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A worker that lowers its limits as the real one does, and then runs ``body`` instead of torch."""
    real = converting.WORKER.read_text("utf-8")
    head, _, _ = real.partition("def convert(")
    script = tmp_path / "worker.py"
    main = "source, target, result, *limits = sys.argv[1:]\nlimit(*map(int, limits))\n"
    script.write_text(f"{head}\n{main}{body}\n", "utf-8")
    monkeypatch.setattr(converting, "WORKER", script)


def say(**result: Any) -> str:
    return f"Path(result).write_text(json.dumps({result!r}))"


def test_torch_is_an_extra_that_neither_installing_nor_the_demo_brings() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert [each for each in wanted if re.match(r"(?i)(torch|safetensors|zipnn|blosc2)\b", each)] == []
    extra = project["project"]["optional-dependencies"]["convert"]
    assert [each.partition(">=")[0] for each in extra] == ["safetensors", "torch"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(r"^demo: \$\(VENV\)/\.installed \$\(WEIGHTS\)/\.installed ", makefile, re.MULTILINE)


def test_without_the_extra_the_error_says_what_to_install(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,  # noqa: F811
) -> None:
    real = converting.WORKER.read_text("utf-8")
    script = tmp_path / "worker.py"
    script.write_text(real.replace("import torch\n", "import torch_that_is_not_there as torch\n"), "utf-8")
    monkeypatch.setattr(converting, "WORKER", script)
    outcome = cli("convert", str(source))
    assert (outcome.code, outcome.out) == (5, "")
    assert "convert needs torch_that_is_not_there, which is not installed" in outcome.err
    assert "next: pip install 'p2pckpt[convert]'" in outcome.err
    assert sorted(path.name for path in source.parent.iterdir()) == ["model.ckpt"]


def test_the_process_has_limits_and_nothing_of_ours(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "hunter2")
    seen = tmp_path / "seen.json"
    stand_in(
        tmp_path,
        monkeypatch,
        "import os\n"
        "names = 'AS CPU FSIZE NOFILE CORE'.split()\n"
        "limits = {name: resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in names}\n"
        "interfaces = [line.split(':')[0].strip() for line in open('/proc/self/net/dev').readlines()[2:]]\n"
        f"Path({str(seen)!r}).write_text(json.dumps([limits, dict(os.environ), interfaces, sys.flags.isolated]))\n"
        + say(error="it was looked at"),
    )
    with pytest.raises(P2pckptError, match="it was looked at"):
        converting.convert_file(source, tmp_path / "out.safetensors")
    limits, environment, interfaces, isolated = json.loads(seen.read_text())
    assert set(limits) == {"AS", "CPU", "FSIZE", "NOFILE", "CORE"}
    for which, (soft, hard) in limits.items():
        assert soft == hard, f"{which} could be raised again"
        assert 0 <= soft < 1 << 40
    assert "SECRET_OF_THE_USER" not in environment
    assert set(environment) <= {"HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "LC_CTYPE"}
    assert isolated == 1
    if converting.without_network():
        assert interfaces == ["lo"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("bytearray(20 << 30)", "ended with 1"),
        ("open(target, 'wb').truncate(1 << 40)", "ended with 1"),
        ("resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass", "ended with -"),
        ("Path(result).write_text('[' * 100000)", "could not be converted"),
        ("Path(result).write_bytes(b'\\xff' * 100)", "could not be converted"),
        (say(error="no"), "can't be converted: no"),
    ],
)
def test_a_process_that_takes_too_much_or_says_nonsense_leaves_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    stand_in(tmp_path, monkeypatch, body)
    target = tmp_path / "out" / "model.safetensors"
    with pytest.raises(P2pckptError) as caught:
        converting.convert_file(source, target)
    assert said in caught.value.fact
    assert caught.value.kept == "nothing was written"
    assert list(target.parent.iterdir()) == []


def test_only_a_safetensors_file_with_the_tensors_it_promised_is_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = tmp_path / "good"
    good.write_bytes(safetensors_bytes())
    target = tmp_path / "out.safetensors"
    copy = f"import shutil; shutil.copy({str(good)!r}, target)\n"
    for body in ("Path(target).write_bytes(b'\\x80\\x02N.')\n" + say(tensors=1), copy + say(tensors=4)):
        stand_in(tmp_path, monkeypatch, body)
        with pytest.raises(VerificationFailed):
            converting.convert_file(source, target)
        assert not target.exists()
    stand_in(
        tmp_path, monkeypatch, copy + say(tensors=3, dropped=["epoch"], dropped_count=1, shared=["b"], shared_count=1)
    )
    made = converting.convert_file(source, target)
    assert (made.tensors, made.dropped, made.shared) == (3, ("epoch",), ("b",))
    assert target.read_bytes() == good.read_bytes()
    with pytest.raises(BadUsage, match="exists already"):
        converting.convert_file(source, target)


def test_a_directory_is_converted_file_by_file_and_the_rest_copied(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,  # noqa: F811
) -> None:
    good = tmp_path / "good"
    good.write_bytes(safetensors_bytes())
    index = {"metadata": {}, "weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}
    files = {"pytorch_model-1.bin": b"1", "sub/pytorch_model-2.bin": b"2", "training_args.bin": b"bad", "card.md": b"#"}
    directory = write_files(tmp_path / "model", files)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    convert = f"import shutil; shutil.copy({str(good)!r}, target)\n" + say(tensors=3)
    refuse = "if 'args' in source:\n    " + say(error="it needs Thing") + "\n    sys.exit()\n"
    stand_in(tmp_path, monkeypatch, refuse + convert)
    out = tmp_path / "out"
    outcome = cli("convert", str(directory), "--to", str(out))
    assert outcome.code == 3
    assert "training_args.bin can't be converted: it needs Thing" in outcome.err
    assert "2 files converted; these were not copied" in outcome.err
    assert outcome.out.splitlines() == [str(out / "model-1.safetensors"), str(out / "sub" / "model-2.safetensors")]
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == ["card.md", "model-1.safetensors", "model.safetensors.index.json", "sub/model-2.safetensors"]
    renamed = json.loads((out / "model.safetensors.index.json").read_text())
    assert renamed["weight_map"] == {"a": "model-1.safetensors", "b": "model-2.safetensors"}


def test_what_is_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        converting.checkpoints_in(tmp_path)
    with pytest.raises(NotFound):
        converting.checkpoints_in(tmp_path / "nothing")


class Tensor:
    """As much of a tensor as names need."""


class Torch:
    Tensor = Tensor
    Size = tuple


def named(value: object) -> tuple[list[str], list[str]]:
    found, dropped = worker._tensors(Torch, value)
    return list(found), dropped


def test_names_of_nested_dicts_are_joined_and_the_rest_is_named() -> None:
    a, b = Tensor(), Tensor()
    assert named({"x": a, "epoch": 3}) == (["x"], ["epoch"])
    assert named({"net": {"w": a, "layers": [b, {"c": b}]}, "lr": 0.1}) == (
        ["net.w", "net.layers.0", "net.layers.1.c"],
        ["lr"],
    )
    lightning = {"state_dict": {"w": a}, "optimizer_states": [{"m": b}], "epoch": 1}
    assert named(lightning) == (["w"], ["optimizer_states", "epoch"])
    assert named(a) == (["tensor"], [])


@pytest.mark.parametrize(
    "value",
    [3, [], {}, {"a": 1}, {(1, 2): Tensor()}, {"a": {"b": Tensor()}, "a.b": Tensor()}, {1: Tensor(), "1": Tensor()}],
)
def test_what_has_no_names_or_two_for_one_is_refused(value: object) -> None:
    with pytest.raises(worker._Refused):
        named(value)


def test_torchs_advice_to_load_it_unsafely_is_not_passed_on() -> None:
    text = "Weights only load failed. Re-run with `weights_only=False`.\nUnsupported global: GLOBAL os.system was not"
    assert worker._reason(RuntimeError(text)) == "torch loads no weights that need os.system"
    assert "weights_only" not in worker._reason(RuntimeError("weights_only=False would help"))


def test_the_worker_needs_nothing_of_p2pckpt() -> None:
    script = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); print([m for m in sys.modules if m.startswith('p2pckpt')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script, str(converting.WORKER)], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
