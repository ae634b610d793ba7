"""One detector branch a file."""
