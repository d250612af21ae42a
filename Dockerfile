# CLIP-RL on Ubuntu 24.04 with ROS 2 jazzy from apt. Each step is one of scripts/install.sh.
#   docker build -t clip-rl .
#   docker run --rm --network host --ipc host --user "$(id -u)" -v clip-rl:/var/lib/clip-rl clip-rl
FROM ubuntu:24.04 AS ros
ENV LANG=C.UTF-8 LC_ALL=C.UTF-8
WORKDIR /opt/clip-rl
COPY scripts/install.sh scripts/common.sh scripts/
COPY ros_ws/src/clip_rl_interfaces/package.xml ros_ws/src/clip_rl_interfaces/
COPY ros_ws/src/clip_rl_perception/package.xml ros_ws/src/clip_rl_perception/
RUN scripts/install.sh system ros clean

FROM ros AS robot
ENV PIP_NO_CACHE_DIR=1
COPY . .
RUN scripts/install.sh project state
# What is compiled on the robot's own processor outlives the container there (docs/setup.md).
ENV CLIP_RL_ENGINES=/var/lib/clip-rl/engines \
    NUMBA_CACHE_DIR=/var/lib/clip-rl/numba \
    ROS_LOG_DIR=/var/lib/clip-rl/log
VOLUME /var/lib/clip-rl
USER 1000
ENTRYPOINT ["scripts/enter.sh"]
CMD ["ros2", "launch", "clip_rl_perception", "perception.launch.py"]
