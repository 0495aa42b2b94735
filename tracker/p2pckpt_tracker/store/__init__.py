"""What survives a restart: the SQLite database, and signed files and blobs beside it."""
