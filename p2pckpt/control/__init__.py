"""How front ends and the daemon talk: messages, and the client that sends them over the local socket."""
