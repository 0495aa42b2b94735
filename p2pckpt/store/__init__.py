"""Everything p2pckpt keeps on disk. Synchronous: jobs choose the threads."""
