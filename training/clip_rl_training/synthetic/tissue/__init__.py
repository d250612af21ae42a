"""Tissue, loose things on it, and its light."""
