"""Judge a clip: real or synthetic, how sure, and on what evidence."""
