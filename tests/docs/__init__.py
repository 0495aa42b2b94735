"""The tutorials, done."""
