"""The process that does the work: one per home, reached over a Unix socket."""
