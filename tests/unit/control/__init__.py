"""What front ends and daemon have in common: settings, errors, messages, the client."""
