"""Model signatures that OpenSSF model signing verifies: a Sigstore bundle (v0.3) of a DSSE envelope with an in-toto
statement over a version's files, signed with the publisher's P-256 key. Ed25519 is not accepted there.

The manifest carries key and signature; the statement follows from the manifest, byte for byte, so that every receiver
writes the same ``model.sig`` (docs/adr/0013). The rules of serialisation are those of the ``model_signing`` library.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from p2pckpt.checkpoint.manifest import Body, ModelSignature
from p2pckpt.checkpoint.paths import REPLACED
from p2pckpt.errors import VerificationFailed
from p2pckpt.trust.identity import Identity, check_model_key, pem

FILE: Final = "model.sig"
_IGNORED: Final = (".git", ".gitattributes", ".github", ".gitignore", REPLACED, FILE)
"""At the top of a model. The verifier leaves out the first four unless told otherwise, so that what is signed must not
have them; the last two are what p2pckpt itself puts into checkouts."""
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_ALGORITHM: Final = ec.ECDSA(hashes.SHA256())


def is_taken(body: Body) -> bool:
    """Whether the version has a ``model.sig`` of its own, somebody else's signature: then it gets none of ours."""
    paths = (*(file.path for file in body.files), *body.directories)
    return any(path.partition("/")[0].casefold() == FILE for path in paths)


def signed(body: Body, identity: Identity) -> Body:
    """``body`` with the model signature of its publisher, who is ``identity``; as it was if ``is_taken``."""
    if is_taken(body):
        return body
    public = identity.public
    signature = identity.modelling.sign(_authenticated(_statement(body)), _ALGORITHM)
    return msgspec.structs.replace(
        body, model_signature=ModelSignature(public.model_key, public.model_signature, signature)
    )


def check(body: Body) -> None:
    """Whether the model signature is the publisher's and over these files; versions without one pass.

    Raises ``UntrustedKey`` when the publisher did not sign the key, ``VerificationFailed`` when it did not sign this.
    """
    made = body.model_signature
    if made is None:
        return
    if is_taken(body):
        raise VerificationFailed("the version has a model.sig of its own and a model signature beside it")
    key = check_model_key(body.publisher, made.key, made.key_signature)
    try:
        key.verify(made.signature, _authenticated(_statement(body)), _ALGORITHM)
    except InvalidSignature as exc:
        raise VerificationFailed(
            f"the model signature of version {body.version} is not over its files",
            next_step="ask the publisher to publish it again",
        ) from exc


def public_key(body: Body) -> str:
    """The key that verifies the model signature, as PEM; empty when there is none. ``check`` first."""
    return "" if body.model_signature is None else pem(body.model_signature.key)


def bundle(body: Body) -> bytes:
    """The contents of ``model.sig``; empty when the version has no model signature. ``check`` first."""
    made = body.model_signature
    if made is None:
        return b""
    return (
        _bundle_head(hashlib.sha256(pem(made.key).encode()).hexdigest())
        + msgspec.json.encode(
            {
                "payload": base64.b64encode(_statement(body)).decode(),
                "payloadType": _PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(made.signature).decode(), "keyid": ""}],
            }
        )
        + b"}"
    )


def is_ours(path: Path) -> bool:
    """Whether ``path`` is a ``model.sig`` that p2pckpt wrote, of whatever version."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as source:
            return _OURS.match(source.read(1024)) is not None
    except OSError:
        return False


def _statement(body: Body) -> bytes:
    """The in-toto statement. The order of files is that of their paths' parts; digests are SHA-256."""
    rows = sorted((file.path.split("/"), file.path, file.sha256) for file in body.files)
    rows = [row for row in rows if row[0][0] not in _IGNORED]
    whole = hashlib.sha256(b"".join(digest for _, _, digest in rows)).hexdigest()
    return msgspec.json.encode(
        {
            "_type": _STATEMENT,
            "subject": [{"name": _subject(body.share_id.hex(), body.version), "digest": {"sha256": whole}}],
            "predicateType": _PREDICATE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": _IGNORED,
                },
                "resources": [
                    {"name": path, "algorithm": "sha256", "digest": digest.hex()} for _, path, digest in rows
                ],
            },
        }
    )


def _subject(share_id: str, version: int | str) -> str:
    return f"p2pckpt:{share_id}@v{version}"


def _authenticated(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is really signed."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _bundle_head(hint: str) -> bytes:
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    head = msgspec.json.encode({"mediaType": _MEDIA_TYPE, "verificationMaterial": material})
    return head[:-1] + b',"dsseEnvelope":'


def _ours() -> re.Pattern[bytes]:
    """How a bundle of ours begins: whatever key, then a statement that names a share."""
    head = re.escape(_bundle_head("HINT")).replace(b"HINT", b"[0-9a-f]{64}")
    start = msgspec.json.encode({"_type": _STATEMENT, "subject": [{"name": _subject("", "")}]}).partition(b"@")[0]
    whole = len(start) // 3 * 3  # beyond that, base64 depends on what follows
    return re.compile(head + re.escape(b'{"payload":"' + base64.b64encode(start[:whole])))


_OURS: Final = _ours()
