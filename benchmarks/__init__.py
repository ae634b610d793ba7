"""Measurements of this project, each one command, each result a JSON file under `results/`."""
