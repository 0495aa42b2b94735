"""Tests of the tracker's decisions, without sockets."""
