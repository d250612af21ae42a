"""Training of CLIP-RL: datasets, synthetic scenes, losses, reinforcement refinement, curriculum, evaluation runs."""
