"""Public shares as ordinary torrents: stock clients, and finding peers without a tracker."""
