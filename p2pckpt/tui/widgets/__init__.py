"""Widgets that know rows, cells and keys, but no daemon."""

__all__: list[str] = []
