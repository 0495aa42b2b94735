from __future__ import annotations

from pathlib import Path

import pytest

from p2pckpt import atomic
from p2pckpt.jobs import model_signature
from p2pckpt.jobs.scanning import scan
from p2pckpt.trust import oms
from tests.unit.checkpoint.test_manifest import empty_body
from tests.unit.trust.people import OWNER

FIRST, SECOND = (oms.signed(empty_body(version=n, publisher=OWNER.public_bytes), OWNER) for n in (1, 2))


def test_only_a_signature_of_ours_is_renewed(tmp_path: Path) -> None:
    path = tmp_path / oms.FILE
    assert model_signature.renew(tmp_path, SECOND)
    assert not path.exists()
    path.write_bytes(b"somebody else's")
    assert model_signature.renew(tmp_path, SECOND)
    assert path.read_bytes() == b"somebody else's"
    path.write_bytes(oms.bundle(FIRST))
    assert model_signature.renew(tmp_path, SECOND)
    assert path.read_bytes() == oms.bundle(SECOND)


def test_a_signature_that_cannot_be_renewed_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes, *, mode: int = 0o600) -> None:
        raise PermissionError

    (tmp_path / oms.FILE).write_bytes(oms.bundle(FIRST))
    monkeypatch.setattr(atomic, "write", refuse)
    assert not model_signature.renew(tmp_path, SECOND)
    assert (tmp_path / oms.FILE).read_bytes() == oms.bundle(FIRST)


def test_what_a_kill_leaves_of_a_renewal_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(self: Path, target: Path) -> Path:
        raise SystemExit

    (tmp_path / "model.bin").write_bytes(b"weights")
    (tmp_path / oms.FILE).write_bytes(oms.bundle(FIRST))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", dying)
        patched.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        with pytest.raises(SystemExit):
            model_signature.renew(tmp_path, SECOND)
    assert len(list(tmp_path.iterdir())) == 3
    assert [file.path for file in scan(tmp_path).files] == ["model.bin"]


def test_a_publishers_own_signature_of_the_directory_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / oms.FILE
    for content, here, received in (
        (b"somebody else's", False, True),
        (oms.bundle(SECOND), True, True),
        (oms.bundle(FIRST), False, False),
    ):
        path.write_bytes(content)
        assert model_signature.is_damaged(tmp_path, FIRST, published_here=True) == here
        assert model_signature.is_damaged(tmp_path, FIRST, published_here=False) == received
    path.unlink()
    assert not model_signature.is_damaged(tmp_path, FIRST, published_here=False)
