"""One module a way of laying out a dataset on disk."""
