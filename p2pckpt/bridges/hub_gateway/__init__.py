"""A model hub's HTTP interface over this machine's daemon, for clients that are pointed at it with ``HF_ENDPOINT``.

A process of its own (``python -m p2pckpt.bridges.hub_gateway``) that the daemon runs beside itself. It reads; there is
nothing here that publishes, and no request leaves the machine: what is no share of ours is not found.
"""
