"""What every ROS 2 node of ours needs."""
