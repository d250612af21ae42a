"""A checkpoint adapted to its user's camera, from video without labels."""
