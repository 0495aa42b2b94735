"""What is kept on disk, and what of it survives."""
