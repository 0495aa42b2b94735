"""The HTTP API: one module a subject, joined by ``dispatch`` with the table of who may call what."""
