"""Rendered heads with exact ground truth, free of anybody's likeness."""
