# shellcheck shell=bash
# Source me (bash): .venv, the ROS 2 that the workspace was built on, the workspace, and the Fast DDS profile.
#   source scripts/env.sh
# An apt ROS that is already sourced stays as it is; values that the shell already has are kept.

# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

clip_rl_enter() {
  local mode sourced
  mode=$(clip_rl_noted ros)
  if [ -z "$mode" ] || [ -z "$(clip_rl_noted done-everything)" ]; then
    echo "env: $clip_rl_root is not set up yet, or not completely; run: make setup" >&2
    return 1
  fi
  sourced=$(clip_rl_sourced_ros)
  case $mode in
    sourced:*)
      if [ -z "$sourced" ] && [ -r "${mode#sourced:}/setup.bash" ]; then
        # shellcheck disable=SC1091
        . "${mode#sourced:}/setup.bash"
      elif [ "$sourced" != "${mode#sourced:}" ]; then
        echo "env: the workspace was built on ${mode#sourced:}, this shell has '${sourced:-no ROS}'; source that one, or run: make setup" >&2
        return 1
      fi
      ;;
    *)
      if [ -n "$sourced" ]; then
        echo "env: the workspace was not built on the ROS that is sourced here ($sourced); run: make setup (rebuilds on it), or use a shell without it" >&2
        return 1
      fi
      ;;
  esac
  # shellcheck disable=SC1091
  . "$clip_rl_venv/bin/activate"
  case $mode in
    none) return 0 ;;
    wheels:*)
      # The environment is itself an ament prefix, without setup files of its own.
      case :${AMENT_PREFIX_PATH:-}: in
        *":$clip_rl_venv:"*) ;;
        *) export AMENT_PREFIX_PATH=$clip_rl_venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH} ;;
      esac
      export ROS_DISTRO=${mode#wheels:} ROS_VERSION=2 ROS_PYTHON_VERSION=3 RMW_IMPLEMENTATION=rmw_fastrtps_cpp
      ;;
  esac
  # shellcheck disable=SC1091
  . "$clip_rl_install/local_setup.bash"
  local profile=$clip_rl_root/ros_ws/src/clip_rl_perception/config/fastdds_shm.xml
  case ${ROS_DISTRO:-} in
    humble | iron | jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$profile} ;; # Fast DDS 2
    *) export FASTDDS_DEFAULT_PROFILES_FILE=${FASTDDS_DEFAULT_PROFILES_FILE:-$profile} ;;                       # Fast DDS 3
  esac
}

# ROS's own setup files read unset variables, which `set -u` forbids.
case $- in
  *u*)
    set +u
    clip_rl_enter
    clip_rl_status=$?
    set -u
    ;;
  *)
    clip_rl_enter
    clip_rl_status=$?
    ;;
esac
(exit $clip_rl_status)
