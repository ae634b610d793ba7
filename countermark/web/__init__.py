"""The local page: drop a file, see credentials, detectors and file facts in one answer. START HERE: `server.py`."""
