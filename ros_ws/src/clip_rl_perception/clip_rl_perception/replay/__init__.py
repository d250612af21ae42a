"""Makes a run: offline through the pipeline, live through the real node."""
