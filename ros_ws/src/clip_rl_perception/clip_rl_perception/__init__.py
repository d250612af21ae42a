"""CLIP-RL surgical perception: endoscope video to segmentation masks and instrument tags.

Floors, each importing only the ones below it: ``nodes``, ``cli`` | ``evaluation`` | ``pipeline`` | ``engine`` |
``model``, ``scene`` | ``labels``. Only ``nodes`` imports rclpy. See docs/architecture.md.
"""

__version__ = "0.1.0"
