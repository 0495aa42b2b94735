"""Our side of the tracker: logging in, asking, announcing, listening to its events."""
