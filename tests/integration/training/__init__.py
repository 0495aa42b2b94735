"""Real trainers hand their saves to a real daemon."""
