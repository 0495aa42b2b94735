"""What the product does: publish, fetch, verify, and the bookkeeping of shares and swarms between them.

Jobs get everything they need in ``services.Services`` and tell how far they are through ``progress.Progress``. They
know nothing of sockets, terminals or the daemon.
"""
