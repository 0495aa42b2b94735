"""Parts of the daemon that need no daemon."""
