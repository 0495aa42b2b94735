"""Swarms across network namespaces with a NAT router in between: tests on 127.0.0.1 hide all of it."""
