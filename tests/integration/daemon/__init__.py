"""Real daemons, trackers and swarms on 127.0.0.1."""
