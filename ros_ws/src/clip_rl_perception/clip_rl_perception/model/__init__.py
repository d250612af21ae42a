"""The network: open_clip towers, prompts, decoder, RL refiner, segmenter, checkpoints. torch; no ROS, no OpenCV."""
