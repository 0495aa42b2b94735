"""The terminal UI: a front end of the daemon, the only room that knows Textual.

``app.run(config)`` is the way in. Nothing is imported here, so that importing the package costs nothing.
"""

__all__: list[str] = []
