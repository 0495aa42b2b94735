from __future__ import annotations

from p2pckpt.jobs.pace import Pace


def told(pace: Pace, *seen: tuple[float, int], size: int = 1000, phase: str = "packing") -> list[int]:
    return [pace.left(now, done, size, phase) for now, done in seen]


def test_nothing_is_said_before_there_is_something_to_go_by() -> None:
    assert told(Pace(), (0, 0), (1, 50), (2.9, 90)) == [-1, -1, -1]
    assert told(Pace(), (0, 0), (10, 0)) == [-1, -1]


def test_what_is_left_follows_from_the_pace_so_far() -> None:
    assert told(Pace(), (0, 0), (4, 100), (8, 200), (40, 1000)) == [-1, 36, 32, -1]


def test_only_the_last_while_counts() -> None:
    pace = Pace()
    told(pace, *((second, second * 30) for second in range(11)))
    slow = told(pace, *((second, 300 + second - 10) for second in range(11, 41)))
    assert slow[0] < 30
    assert slow[-1] == 1000 - 330


def test_another_phase_and_another_start_are_another_pace() -> None:
    pace = Pace()
    assert told(pace, (0, 0), (5, 500)) == [-1, 5]
    assert told(pace, (6, 600), (8, 610), phase="checking") == [-1, -1]
    assert told(pace, (9, 620), (10, 0), (13, 3), phase="checking") == [57, -1, 997]
