"""The stereo node: the topics of two eyes to instruments in space."""
