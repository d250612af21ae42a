"""One frame in, one scene out: what nodes, replay, bench and tests all run. No ROS."""
