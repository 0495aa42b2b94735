"""Processes that are killed, disks that forget: nothing is lost, nothing wrong is kept."""
