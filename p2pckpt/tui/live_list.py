"""A filtered and sorted list of rows that keep changing: only changed rows are looked at again. No Textual in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import is_not
from typing import Any, Generic, TypeVar

R = TypeVar("R")


class LiveList(Generic[R]):
    """``rows``: those of ``everything`` that pass, in the order of a value or else of creation.

    A row that changed is another object, one that did not is the same: rows are frozen.
    """

    def __init__(self) -> None:
        self.everything: Sequence[R] = ()
        """Every row, in the order of creation."""
        self.rows: Sequence[R] = ()
        self._passes: Callable[[R], bool] | None = None
        self._value: Callable[[R], float | str] | None = None
        self._descending = False
        self._passing: list[bool] = []
        """Of each of ``everything``, while there is a filter."""
        self._values: list[Any] = []
        """To sort each of ``everything`` by, while it is sorted."""
        self._order: list[int] | None = None
        """Places in ``everything`` of ``rows``; None while those are all of it, as it is."""

    def filter(self, passes: Callable[[R], bool] | None) -> None:
        """Let those pass that ``passes`` says, or all."""
        self._passes = passes
        self._passing = [] if passes is None else list(map(passes, self.everything))
        self._arrange()

    def sort(self, value: Callable[[R], float | str] | None, *, descending: bool = False) -> None:
        """Sort by ``value``, or by creation. Rows of the same value stay in the order of creation."""
        if value is not self._value:
            self._value = value
            self._values = [] if value is None else list(map(value, self.everything))
        elif descending == self._descending:
            return
        self._descending = descending
        self._arrange()

    def update(self, everything: Sequence[R]) -> bool:
        """Take what there is now; whether any row differs."""
        before, self.everything = self.everything, everything
        if len(before) != len(everything):
            self._match(before)
            self._arrange()
            return True
        changed = list(compress(range(len(everything)), map(is_not, before, everything)))
        if not changed:
            return False
        if self._order is None:
            self.rows = everything
        elif self._look_again(changed):
            self._arrange()
        else:
            self._pick()
        return True

    def _match(self, before: Sequence[R]) -> None:
        """Rows came or went: keep what is known of those that stayed."""
        passes, value = self._passes, self._value
        if passes is None and value is None:
            return
        places = {id(row): place for place, row in enumerate(before)}
        pairs = [(places.get(id(row)), row) for row in self.everything]
        if passes is not None:
            old = self._passing
            self._passing = [passes(row) if at is None else old[at] for at, row in pairs]
        if value is not None:
            values = self._values
            self._values = [value(row) if at is None else values[at] for at, row in pairs]

    def _look_again(self, changed: list[int]) -> bool:
        """Judge changed rows anew; whether that may change the order of ``rows``."""
        moved = False
        for place in changed:
            row = self.everything[place]
            passing = True
            if self._passes is not None:
                passing = self._passes(row)
                moved = moved or passing != self._passing[place]
                self._passing[place] = passing
            if self._value is not None:
                value = self._value(row)
                moved = moved or (passing and value != self._values[place])
                self._values[place] = value
        return moved

    def _arrange(self) -> None:
        if self._passes is None and self._value is None:
            self._order, self.rows = None, self.everything
            return
        places = range(len(self.everything))
        order = list(places if self._passes is None else compress(places, self._passing))
        if self._value is not None:
            order.sort(key=self._values.__getitem__, reverse=self._descending)
        self._order = order
        self._pick()

    def _pick(self) -> None:
        assert self._order is not None
        self.rows = list(map(self.everything.__getitem__, self._order))
