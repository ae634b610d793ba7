"""One reader per known layout of a dataset on disk -> Catalog."""
