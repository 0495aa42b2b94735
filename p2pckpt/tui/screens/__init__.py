"""Screens and dialogs, one file each."""

__all__: list[str] = []
