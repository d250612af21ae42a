#!/usr/bin/env bash
# From a bare Ubuntu or Debian to a robot's perception, step by step; Dockerfile, devcontainer, CI and robots use the same.
#
#   sudo scripts/install.sh system     what `make setup` needs of apt
#   sudo scripts/install.sh ros        ROS 2 jazzy and what the packages here need of it, from apt; Ubuntu 24.04 alone
#   scripts/install.sh project         .venv and the workspace (`make setup`), on that ROS where it is there
#   scripts/install.sh engine          the shipped network compiled for this machine
#   sudo scripts/install.sh service    a systemd unit of the node, for the user in CLIP_RL_USER
#   sudo scripts/install.sh state      folders that a container's users may write to, in CLIP_RL_STATE
#   sudo scripts/install.sh clean      package lists and caches of apt, which an image need not carry
#   scripts/install.sh packages        prints what `ros` installs
#
# Several steps may be named, and each may be repeated: what is there is left alone.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$clip_rl_root"

distro=jazzy
# The package that knows ROS's apt source and its key; its digest is that of the release for Ubuntu 24.04.
apt_source=https://github.com/ros-infrastructure/ros-apt-source/releases/download/1.2.0/ros2-apt-source_1.2.0.noble_all.deb
apt_source_sha256=0804d9b13db770eb87019be414cd78378835228ad5fa801fc88758596dd8f7e5
steps="system ros project engine service state clean packages"

say() { printf 'install: %s\n' "$*"; }
die() {
  printf 'install: %s\n' "$*" >&2
  exit 1
}

must_be_root() { [ "$(id -u)" = 0 ] || die "step '$1' changes the system; run it as root: sudo scripts/install.sh $1"; }

apt_install() { # what is missing of the packages named
  local package missing=()
  for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  must_be_root "$step"
  say "apt: ${missing[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${missing[@]}"
}

# --- the steps ------------------------------------------------------------------------------------------------------

# Tools may come from elsewhere than apt; only those that are missing are installed.
system_step() {
  local tool missing=()
  command -v apt-get >/dev/null || die "no apt-get here; install git, make, cmake, g++, Python with venv and its headers another way"
  for tool in git make cmake g++; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
  python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(sysconfig.get_paths()["include"] + "/Python.h"))' 2>/dev/null ||
    missing+=(python3-dev)
  [ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
}

# ROS packages by the manifests here, so that there is one list: a rosdep key of ROS is the name of its apt package.
packages_step() {
  printf 'ros-%s-%s\n' "$distro" ros-base "$distro" rmw-fastrtps-cpp
  sed -nE 's:^ *<(exec_|build_|buildtool_)?depend>([a-z0-9_]+)</.*:\2:p' ros_ws/src/*/package.xml | sort -u |
    grep -vE '^(clip_rl_|python3-)' | tr _ - | sed "s/^/ros-$distro-/"
  echo python3-colcon-common-extensions
}

ros_step() {
  local id='' version=''
  # shellcheck disable=SC1090
  read -r id version < <(. "${CLIP_RL_OS_RELEASE:-/etc/os-release}" && echo "${ID:-} ${VERSION_ID:-}") || true
  [ "$id $version" = "ubuntu 24.04" ] ||
    die "ROS 2 $distro comes from apt on Ubuntu 24.04 alone, this is ${id:-unknown} ${version:-}; leave the step out, and step project takes ROS from wheels"
  # One that is there, however it was added, stays: two with different keys would stop apt.
  if ! grep -qs packages.ros.org/ros2 /etc/apt/sources.list /etc/apt/sources.list.d/*; then
    must_be_root ros
    local folder
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    apt_install ca-certificates curl
    curl --fail --silent --show-error --location --retry 3 --output "$folder/ros2-apt-source.deb" "$apt_source" ||
      die "cannot download $apt_source; https://docs.ros.org/en/$distro/Installation/Ubuntu-Install-Debs.html says how else to add ROS's apt source"
    echo "$apt_source_sha256  $folder/ros2-apt-source.deb" | sha256sum --strict --check --status ||
      die "$apt_source is not the file that was expected (SHA-256); nothing was installed"
    dpkg -i "$folder/ros2-apt-source.deb"
  fi
  local packages
  mapfile -t packages < <(packages_step)
  apt_install "${packages[@]}"
}

project_step() {
  if [ -z "$(clip_rl_sourced_ros)" ] && [ -r /opt/ros/$distro/setup.bash ]; then
    set +u
    # shellcheck disable=SC1090
    . /opt/ros/$distro/setup.bash
    set -u
  fi
  make setup
}

engine_step() { scripts/enter.sh clip-rl build-engine --checkpoint demo --backend openvino; }

# A command in the checkout's environment as the service's user, with the home that systemd gives it.
enter_as() {
  local user=$1
  shift
  local command=("$clip_rl_root/scripts/enter.sh" "$@")
  if [ "$user" != "$(id -un)" ]; then
    command=(runuser -u "$user" -- env -u XDG_CACHE_HOME HOME="$(getent passwd "$user" | cut -d: -f6)" "${command[@]}")
  fi
  "${command[@]}"
}

# Whether logind removes what the user has in shared memory, Fast DDS's too, when the user logs out; not of system users.
loses_shared_memory() {
  [ "$(id -u "$1")" -ge 1000 ] && [ ! -e "${CLIP_RL_LINGER:-/var/lib/systemd/linger}/$1" ] &&
    ! grep -rqs '^RemoveIPC=\(no\|false\|off\|0\)' /etc/systemd/logind.conf /etc/systemd/logind.conf.d
}

service_step() {
  local user=${CLIP_RL_USER:-} units=${CLIP_RL_UNITS:-/etc/systemd/system} defaults=${CLIP_RL_DEFAULTS:-/etc/default}
  # Shared memory between two users does not work in Fast DDS: images would get lost.
  [ -n "$user" ] || die "name the user that the camera's driver runs as: sudo CLIP_RL_USER=robot scripts/install.sh service"
  id -u "$user" >/dev/null 2>&1 || die "no user '$user' on this machine"
  case $clip_rl_root in *[!A-Za-z0-9/._-]*) die "systemd cannot run what lies in '$clip_rl_root'; use a path of letters, digits, / . _ -" ;; esac
  [ -w "$units" ] && [ -w "$defaults" ] || must_be_root service
  local told
  if [ "$(id -u)" = 0 ] && [ "$user" != root ]; then
    told=$(enter_as "$user" true 2>&1) ||
      die "$user cannot use $clip_rl_root (${told##*$'\n'}): put the checkout where $user may read it, such as /opt, and run step project there"
  fi
  sed -e "s:@ROOT@:$clip_rl_root:g" -e "s:@USER@:$user:g" deploy/clip-rl-perception.service >"$units/clip-rl-perception.service"
  [ -e "$defaults/clip-rl-perception" ] || cp deploy/clip-rl-perception.default "$defaults/clip-rl-perception"
  say "$units/clip-rl-perception.service runs as $user; its topics are in $defaults/clip-rl-perception"
  told=$(enter_as "$user" clip-rl info --json 2>/dev/null) || true
  case $told in *'"compiled": "no"'*)
    say "no engine is built for $user, and without one the node is several times slower: as $user run scripts/install.sh engine" ;;
  esac
  if loses_shared_memory "$user"; then
    say "$user is no system user: when $user logs out, systemd removes its shared memory, and the node gets no images any more;" \
      "to keep it: sudo loginctl enable-linger $user (or RemoveIPC=no in /etc/systemd/logind.conf, or a system user)"
  fi
  if [ -d /run/systemd/system ] && [ "$units" = /etc/systemd/system ]; then
    systemctl daemon-reload
    say "to start it, now and at every boot: sudo systemctl enable --now clip-rl-perception"
  fi
}

state_step() {
  local state=${CLIP_RL_STATE:-/var/lib/clip-rl}
  # For every user, as those of /tmp: a container runs as whoever the camera's driver runs as.
  install -d -m 1777 "$state" "$state/engines" "$state/numba" "$state/log"
}

clean_step() {
  must_be_root clean
  apt-get clean
  rm -rf /var/lib/apt/lists/*
}

main() {
  [ $# -gt 0 ] || die "name a step, or several: $steps"
  local step
  for step in "$@"; do
    case " $steps " in *" $step "*) ;; *) die "no step '$step'; there are: $steps" ;; esac
  done
  for step in "$@"; do "${step}_step"; done
}

# Sourced, this file only defines its steps.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
