"""Labelled images for training: drawn, or of datasets; augmented."""
