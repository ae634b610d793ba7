"""Clips in memory and on disk; knows nothing about forging or detecting."""
