"""The network: open_clip towers, prompts, decoder, segmenter, checkpoints. torch; no ROS, no OpenCV."""
