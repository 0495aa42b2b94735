"""Contracts: one suite for every implementation of a protocol, the real one and the fake that tests use."""
