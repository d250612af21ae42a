"""From arrays to what a robot needs: label map, confidence, instruments, tracks, validity. NumPy and OpenCV only."""
