"""Frames to plain files that other programs read, and the model as a Python object."""
