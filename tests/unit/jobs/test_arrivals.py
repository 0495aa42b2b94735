from __future__ import annotations

from pathlib import Path

from p2pckpt.checkpoint.manifest import Manifest
from p2pckpt.checkpoint.plan import missing_chunks, pieces_wanted
from p2pckpt.jobs.arrivals import Arrivals, Places
from tests.support.homes import write_files
from tests.support.training import later, safetensors, weights
from tests.unit.jobs.workshop import Workshop, manifest_of_packed


def two_steps(workshop: Workshop, tmp_path: Path) -> Manifest:
    """The second of two, packed as differences to the first; the first one's objects are not its own."""
    first = weights()
    whole = manifest_of_packed(workshop.pack(write_files(tmp_path / "a", {"m.safetensors": safetensors(first)})))
    directory = write_files(tmp_path / "b", {"m.safetensors": safetensors(later(first, 1))})
    return manifest_of_packed(workshop.pack(directory, version=2, base=whole), version=2)


def test_a_difference_is_ready_once_the_pieces_under_its_base_are_here_too(workshop: Workshop, tmp_path: Path) -> None:
    manifest = two_steps(workshop, tmp_path)
    missing = missing_chunks(manifest, [0], set())
    wanted = pieces_wanted(manifest, missing)
    deltas = {chunk for chunk in missing if manifest.bases[chunk]}
    (own,) = {int(manifest.chunk_objects[chunk]) for chunk in deltas}
    arrivals = Arrivals(manifest, missing, dict(wanted))
    for piece in wanted[own]:
        arrivals.arrived(own, piece)
    assert deltas
    assert not deltas & set(arrivals.take())
    for number, pieces in wanted.items():
        for piece in pieces if number != own else ():
            arrivals.arrived(number, piece)
    assert deltas <= set(arrivals.take())
    assert arrivals.outstanding == 0


def test_a_difference_whose_base_is_here_waits_for_its_own_pieces_only(workshop: Workshop, tmp_path: Path) -> None:
    manifest = two_steps(workshop, tmp_path)
    bases = {int(base) - 1 for base in manifest.bases if base}
    missing = missing_chunks(manifest, [0], bases)
    wanted = dict(pieces_wanted(manifest, missing))
    arrivals = Arrivals(manifest, missing, wanted)
    for number, pieces in wanted.items():
        for piece in pieces:
            arrivals.arrived(number, piece)
    assert set(arrivals.take()) == missing
    assert not missing & bases


def test_places_of_bases_are_open_for_nobody(workshop: Workshop, tmp_path: Path) -> None:
    manifest = two_steps(workshop, tmp_path)
    places = Places(manifest, [0], ())
    bases = {int(base) - 1 for base in manifest.bases if base}
    assert places.needed() == set(manifest.sequence.tolist())
    assert all(places.of(base) == [] for base in bases - places.needed())
