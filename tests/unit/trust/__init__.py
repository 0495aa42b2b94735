"""Identities, sealing, links, and what makes signed files trusted."""
