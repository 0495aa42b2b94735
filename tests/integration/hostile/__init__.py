"""Swarms and sockets full of peers that lie, stall or shout; one honest daemon goes on."""
