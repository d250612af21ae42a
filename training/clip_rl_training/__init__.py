"""Training of CLIP-RL: datasets, synthetic scenes, losses, curriculum, evaluation runs."""
