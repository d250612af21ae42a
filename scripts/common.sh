# shellcheck shell=bash
# Where things are, and which ROS 2 this shell has; sourced by scripts/setup.sh and scripts/env.sh (bash).

clip_rl_root=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P) # a CDPATH of the shell would lead elsewhere
clip_rl_venv=$clip_rl_root/.venv
clip_rl_state=$clip_rl_venv/.clip_rl
clip_rl_install=$clip_rl_root/ros_ws/install

# Prints the prefix of a ROS 2 that is sourced in this shell and is not the one that scripts/setup.sh put into .venv;
# prints nothing when there is none. AMENT_PREFIX_PATH decides, because ROS_DISTRO outlives a sourced prefix.
clip_rl_sourced_ros() {
  local prefix prefixes
  IFS=: read -r -a prefixes <<<"${AMENT_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    case $prefix in
      "" | "$clip_rl_venv" | "$clip_rl_install") continue ;;
    esac
    if [ -e "$prefix/share/ament_index/resource_index/packages/rclpy" ]; then
      echo "$prefix"
      return
    fi
  done
}

# Prints what scripts/setup.sh noted under a name (python, torch, ros), or nothing.
clip_rl_noted() {
  if [ -r "$clip_rl_state/$1" ]; then cat "$clip_rl_state/$1"; fi
}
