"""Bags of images, camera models and ground truth: write, make, inspect."""
