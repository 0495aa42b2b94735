"""The trackers this machine deals with, by the text that settings and the catalogue write."""

from __future__ import annotations

from typing import Final

from p2pckpt.access.client import TrackerClient
from p2pckpt.errors import P2pckptError
from p2pckpt.trust.identity import Identity
from p2pckpt.trust.links import TrackerAddress

BESIDE: Final = "beside"
"""Stands for the tracker that runs beside the daemon, wherever it listens today."""


class Trackers:
    """One client per tracker, made when first asked for."""

    def __init__(self, identity: Identity, name: str) -> None:
        self._identity = identity
        self._name = name
        self._clients: dict[str, TrackerClient] = {}
        self._beside: tuple[TrackerAddress, TrackerAddress] | None = None
        self._retired: list[TrackerClient] = []

    def set_beside(self, local: TrackerAddress, public: TrackerAddress) -> None:
        """Where the tracker beside the daemon is reached from here, and what links say of it."""
        if self._beside is not None and self._beside[0] != local and BESIDE in self._clients:
            self._retired.append(self._clients.pop(BESIDE))
        self._beside = (local, public)

    def client(self, text: str) -> TrackerClient:
        """Raises ``P2pckptError`` when ``text`` is ``BESIDE`` and no such tracker runs."""
        if text not in self._clients:
            self._clients[text] = TrackerClient(self._address(text, local=True), self._identity, self._name)
        return self._clients[text]

    def public_address(self, text: str) -> TrackerAddress:
        """What a link says of this tracker."""
        return self._address(text, local=False)

    def text_of(self, address: TrackerAddress) -> str:
        """What the catalogue writes for a tracker that a link names; our own is one by its certificate."""
        ours = self._beside is not None and address.certificate == self._beside[1].certificate
        return BESIDE if ours and address.certificate else address.text

    def known(self) -> list[str]:
        return list(self._clients)

    async def close(self) -> None:
        for client in (*self._clients.values(), *self._retired):
            await client.close()
        self._clients.clear()

    def _address(self, text: str, *, local: bool) -> TrackerAddress:
        if text != BESIDE:
            return TrackerAddress.parse(text)
        if self._beside is None:
            raise P2pckptError("the tracker beside the daemon does not run", next_step="p2pckpt daemon logs")
        return self._beside[0] if local else self._beside[1]
