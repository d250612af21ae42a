"""A run to JSON and HTML; two runs compared; requirements on a run."""
