"""Frames from videos, folders and bags, with their ground truth."""
