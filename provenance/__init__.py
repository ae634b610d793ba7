"""Who made this file, and can we believe it: C2PA Content Credentials, signed and read."""
