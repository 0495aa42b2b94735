"""BitTorrent: torrents made from objects, and the engine that moves their pieces. Only this room knows libtorrent."""
