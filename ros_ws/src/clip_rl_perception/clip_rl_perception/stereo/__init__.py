"""Two eyes to metres: rectified geometry, pairs of instruments, disparities, points with covariance. Knows no ROS."""
