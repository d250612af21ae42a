"""Accuracy, replay and reports. No ROS."""
