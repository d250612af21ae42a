"""ROS 2 messages from and to arrays and scenes, with or without ROS."""
