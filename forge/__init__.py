"""The generator: one portrait and speech become a labelled, signed talking head."""
