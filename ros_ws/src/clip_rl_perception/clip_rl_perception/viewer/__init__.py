"""A live page for people who look: image, mask, tags, times and validity in a browser, drawn by Rerun.

ROS-free: the viewer node and `clip-rl replay --view` share it. rerun-sdk (extra `viewer`) is imported only when used.
"""
