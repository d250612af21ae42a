"""Names of instruments."""
