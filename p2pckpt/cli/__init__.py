"""The command line: one file per group of commands, read lazily through ``registry``. Only ``report`` prints."""
