"""The network: open_clip encoder, text prompts, decoder, RL refiner, segmenter, checkpoints. torch only; no ROS, no OpenCV."""
