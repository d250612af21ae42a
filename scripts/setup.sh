#!/usr/bin/env bash
# Make everything that the Makefile needs: .venv with pinned packages, ROS 2, and the built workspace.
#
# Variables, remembered in .venv until given anew:
#   PYTHON=python3.12    which Python makes .venv (3.10 to 3.13; default: python3)
#   TORCH=cpu|cuda       cpu (default): PyTorch's CPU build. cuda: the CUDA build, about 3 GB to download.
#   ROS=auto|jazzy|kilted|none
#                        auto (default): the ROS 2 that is sourced in this shell, else jazzy from wheels (kilted where
#                        jazzy has none). none: no ROS, for a training server.
# The first run takes a minute or two beside the downloads.
#
# Every step is stamped with a hash of what it was made from, so a second run does only what changed.
set -euo pipefail
unset MAKEFLAGS MAKELEVEL PYTHONHOME VIRTUAL_ENV
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$clip_rl_root"

torch_wheels=https://download.pytorch.org/whl/cpu
extras=cpu,training,peers,viewer,dev
log=$clip_rl_state/setup.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# --- what is wanted -------------------------------------------------------------------------------------------------

choose_python() {
  python=${PYTHON:-}
  if [ -z "$python" ]; then
    python=$(clip_rl_noted python)
    [ -n "$python" ] && [ -x "$python" ] || python=python3
  fi
  command -v "$python" >/dev/null || die "no '$python' on the PATH; install Python 3.10 to 3.13 or name one: make setup PYTHON=python3.12"
  local given=$python
  # The real interpreter, not an environment's or a version manager's link to it.
  read -r python_version python < <("$given" -c 'import os, sys
print("%d.%d" % sys.version_info[:2], os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))') ||
    die "$given does not run"
  case $python_version in
    3.10 | 3.11 | 3.12 | 3.13) ;;
    *) die "$given is Python $python_version; 3.10 to 3.13 are supported: make setup PYTHON=python3.12" ;;
  esac
}

choose_torch() {
  torch=${TORCH:-$(clip_rl_noted torch)}
  torch=${torch:-cpu}
  case $torch in
    cpu | cuda) ;;
    *) die "TORCH=$torch; it is cpu or cuda" ;;
  esac
}

# ros_mode becomes sourced:PREFIX, wheels:DISTRO or none; constraints becomes the file that goes with it.
choose_ros() {
  local sourced noted
  sourced=$(clip_rl_sourced_ros)
  noted=$(clip_rl_noted ros)
  may_fall_back=no
  case ${ROS:-} in
    "" | auto)
      [ -z "${ROS:-}" ] || noted=
      case $sourced/$noted in
        /sourced:*)
          if [ -r "${noted#sourced:}/setup.bash" ]; then
            say "sourcing ${noted#sourced:}/setup.bash, on which the workspace is built"
            set +u
            # shellcheck disable=SC1091
            . "${noted#sourced:}/setup.bash"
            set -u
            ros_mode=$noted
          else
            ros_mode=wheels:jazzy
          fi
          ;;
        /wheels:* | /none) ros_mode=$noted ;;
        /)
          ros_mode=wheels:jazzy
          may_fall_back=yes
          ;;
        *) ros_mode=sourced:$sourced ;;
      esac
      ;;
    jazzy | kilted)
      [ -z "$sourced" ] || die "ROS=$ROS asks for wheels, but $sourced is sourced in this shell; the two must not mix: use a shell without it"
      ros_mode=wheels:$ROS
      ;;
    none) ros_mode=none ;;
    *) die "ROS=$ROS; it is auto, jazzy, kilted or none" ;;
  esac
  constraints=requirements/constraints.txt
  # A sourced ROS is found through PYTHONPATH; everything else must come from .venv.
  case $ros_mode in sourced:*) ;; *) unset PYTHONPATH ;; esac
  case $ros_mode in
    wheels:*)
      case $(uname -s)-$(uname -m) in
        Linux-x86_64) ;;
        *) die "ROS 2 wheels exist for Linux x86-64 only, this is $(uname -s) $(uname -m); source a ROS 2 of your system first, or do without: make setup ROS=none" ;;
      esac
      ;;
    sourced:*)
      "$python" -c 'import rclpy' 2>/dev/null || die "rclpy of ${ros_mode#sourced:} does not import in $python (Python $python_version); use the Python that this ROS was built for: make setup PYTHON=/usr/bin/python3"
      constraints=requirements/constraints-apt.txt
      extras=${extras/viewer,/} # rerun-sdk needs NumPy 2
      ;;
  esac
}

check_system_packages() {
  local missing=() prefix=python3
  [ "$python" -ef /usr/bin/python3 ] || prefix=python$python_version
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("$prefix-venv")
  if [ "$ros_mode" != none ]; then
    command -v cmake >/dev/null || missing+=(cmake)
    command -v g++ >/dev/null || missing+=(g++)
    command -v make >/dev/null || missing+=(make)
    "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(sysconfig.get_paths()["include"] + "/Python.h"))' || missing+=("$prefix-dev")
  fi
  case $ros_mode in
    sourced:*) "$python" -c 'import colcon_core, colcon_ros, colcon_cmake' 2>/dev/null || missing+=(python3-colcon-common-extensions) ;;
  esac
  [ ${#missing[@]} -eq 0 ] || die "system packages are missing; on Debian and Ubuntu: sudo apt install ${missing[*]}"
}

# --- steps and their stamps -----------------------------------------------------------------------------------------

digest() { sha256sum | cut -d' ' -f1; }

hash_environment() { echo "$clip_rl_root $python $python_version $ros_mode" | digest; }

hash_packages() {
  { cat "$constraints" pyproject.toml "${BASH_SOURCE[0]}"; echo "$torch $extras"; hash_environment; } | digest
}

hash_ros() { { cat requirements/ros-*.txt scripts/fix_ros_wheels.py; echo "$ros_mode"; hash_environment; } | digest; }

# The build links to the sources, so only what is generated or listed at build time counts.
hash_workspace() {
  {
    find ros_ws/src/clip_rl_interfaces ros_ws/src/clip_rl_perception/{package.xml,setup.py,setup.cfg,resource} -type f -print0 | sort -z | xargs -0 sha256sum
    find ros_ws/src/clip_rl_perception/{config,examples,launch,models,rviz,security} -type f 2>/dev/null | sort
    hash_ros
  } | digest
}

hash_everything() { { hash_packages; hash_ros; hash_workspace; } | digest; }

is_done() { [ "$(clip_rl_noted "done-$1")" = "$2" ]; }

note() { # note NAME VALUE: written aside, then renamed, so that an interruption leaves the old value or the new one
  mkdir -p "$clip_rl_state"
  printf '%s\n' "$2" >"$clip_rl_state/$1.new"
  mv "$clip_rl_state/$1.new" "$clip_rl_state/$1"
}

# Run a command with its output in the log; show the last line of it now and then, and its end when it fails.
logged() {
  local status=0 beat
  printf '\n$ %s\n' "$*" >>"$log"
  # The beat must not outlive this script, nor hold its output or its lock open.
  (while sleep 10 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    printf 'setup:   ... %s\n' "$(grep -v '^WARNING' "$log" | tail -n 1 | cut -c1-100)"
  done) 9<&- &
  beat=$!
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  kill "$beat" 2>/dev/null || true
  wait "$beat" 2>/dev/null || true
  return "$status"
}

must() { # must MESSAGE COMMAND...
  local message=$1
  shift
  logged "$@" && return
  tail -n 15 "$log" >&2
  die "$message; the whole log: $log"
}

# Run by `logged`. While pip writes packages, and after it was stopped at that, the mark `writing` says so.
pip_install() {
  local status=0 before
  before=$(wc -l <"$log")
  touch "$clip_rl_state/writing"
  "$clip_rl_venv/bin/python" -m pip install --constraint "$constraints" --progress-bar off "$@" || status=$?
  if [ "$status" = 0 ] || ! tail -n "+$before" "$log" | grep -q '^Installing collected packages'; then
    rm -f "$clip_rl_state/writing"
  fi
  return "$status"
}

# --- the steps ------------------------------------------------------------------------------------------------------

make_environment() {
  local wanted=$1 options=()
  # Packages half written by a run that was killed would count as installed: begin anew (downloads are cached).
  if [ -e "$clip_rl_state/writing" ]; then
    say "an earlier set-up did not finish; starting .venv again"
  elif is_done environment "$wanted" && "$clip_rl_venv/bin/python" -c '' 2>/dev/null; then
    return
  elif [ -e "$clip_rl_venv" ] && [ ! -d "$clip_rl_state" ]; then
    die "$clip_rl_venv exists and was not made by this script; move it away first"
  fi
  say "making .venv with Python $python_version ($python)"
  # The state stays, so that what was chosen, and that this is unfinished, outlives an interruption of what follows.
  mkdir -p "$clip_rl_state"
  rm -f "$clip_rl_state"/done-* "$log"
  touch "$clip_rl_state/writing"
  note python "$python"
  note torch "$torch"
  if [ "$may_fall_back" = yes ]; then rm -f "$clip_rl_state/ros"; else note ros "$ros_mode"; fi
  find "$clip_rl_venv" -mindepth 1 -maxdepth 1 ! -path "$clip_rl_state" -exec rm -rf {} +
  rm -rf ros_ws/build ros_ws/install ros_ws/log
  case $ros_mode in sourced:*) options+=(--system-site-packages) ;; esac
  must "cannot make .venv with $python" "$python" -m venv "${options[@]}" "$clip_rl_venv"
  # So that colcon and file searches of a whole checkout leave it alone.
  touch "$clip_rl_venv/COLCON_IGNORE"
  rm -f "$clip_rl_state/writing"
  note done-environment "$wanted"
}

install_torch() {
  local version vision
  version=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' "$constraints")
  vision=$(sed -n 's/^torchvision==\([0-9.]*\).*/\1/p' "$constraints")
  if [ "$torch" = cuda ] || [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    # Only on Linux x86-64 does the package index serve a CUDA build under the plain version.
    echo "torch==$version" >"$clip_rl_state/torch.txt"
    must "cannot install torch $version" pip_install "torch==$version" "torchvision==$vision"
    return
  fi
  echo "torch==$version+cpu" >"$clip_rl_state/torch.txt"
  logged pip_install "torch==$version+cpu" ||
    logged pip_install --retries 1 --find-links "$torch_wheels/torch/" "torch==$version+cpu" ||
    die "no CPU build of torch $version for Python $python_version from pip's package sources or $torch_wheels/torch/ (pip: $(grep '^ERROR' "$log" | tail -n 1)).
setup: Use another Python (make setup PYTHON=...), name a folder with the wheel in PIP_FIND_LINKS, or take the CUDA build of about 3 GB: make setup TORCH=cuda. Log: $log"
  # The plain torchvision works beside CPU torch too (model/torchvision_compat.py), so it is the last resort.
  logged pip_install --no-deps "torchvision==$vision+cpu" ||
    logged pip_install --no-deps --retries 0 --find-links "$torch_wheels/torchvision/" "torchvision==$vision+cpu" ||
    must "cannot install torchvision $vision" pip_install --no-deps "torchvision==$vision"
}

install_packages() {
  local wanted=$1
  is_done packages "$wanted" && return
  say "installing Python packages (PyTorch: $torch); about 2 GB on disk, log: ${log#"$clip_rl_root"/}"
  if [ "$torch" = cpu ] && command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
    say "this machine has an NVIDIA GPU; to use it: make setup TORCH=cuda"
  fi
  must "cannot install pip and setuptools" pip_install pip setuptools
  install_torch
  must "cannot install the Python packages" \
    pip_install --constraint "$clip_rl_state/torch.txt" --no-build-isolation --editable ".[$extras]"
  if [ "$torch" = cpu ]; then
    must "a CUDA build of torch was installed although TORCH=cpu" \
      "$clip_rl_venv/bin/python" -c 'import torch; assert torch.version.cuda is None, torch.__version__'
  fi
  note torch "$torch"
  note done-packages "$wanted"
}

install_ros_wheels() {
  case $ros_mode in wheels:*) ;; *) return 0 ;; esac
  is_done ros "$(hash_ros)" && return
  local options=(--constraint "$clip_rl_state/torch.txt")
  say "installing ROS 2 ${ros_mode#wheels:} from wheels"
  if [ "$may_fall_back" = no ] || ! logged pip_install "${options[@]}" --requirement requirements/ros-jazzy.txt; then
    if [ "$may_fall_back" = yes ]; then
      # pip resolves everything before it installs anything, so nothing of jazzy is in .venv.
      say "no complete set of jazzy wheels for Python $python_version; trying kilted"
      ros_mode=wheels:kilted
      note done-environment "$(hash_environment)"
      note done-packages "$(hash_packages)"
    fi
    must "cannot install ROS 2 ${ros_mode#wheels:} from wheels" \
      pip_install "${options[@]}" --requirement "requirements/ros-${ros_mode#wheels:}.txt"
  fi
  must "cannot repair the CMake files of the ROS wheels" "$clip_rl_venv/bin/python" scripts/fix_ros_wheels.py
  note done-ros "$(hash_ros)"
}

build_workspace() {
  [ "$ros_mode" = none ] && return
  local wanted
  wanted=$(hash_workspace)
  [ -e ros_ws/install/local_setup.bash ] && is_done workspace "$wanted" && return
  say "building ros_ws with colcon"
  # A build that was killed, or one on other sources, may have left files that the next one trips over.
  if [ -e "$clip_rl_state/building" ]; then rm -rf ros_ws/build ros_ws/install; fi
  mkdir -p ros_ws
  touch "$clip_rl_state/building"
  if ! logged colcon_build; then
    say "the build on top of the last one failed; building from nothing"
    rm -rf ros_ws/build ros_ws/install
    must "colcon build failed" colcon_build
  fi
  rm -f "$clip_rl_state/building"
  note done-workspace "$wanted"
}

# colcon runs in .venv's Python also where it comes from apt, so that the nodes' scripts start in .venv.
colcon_build() (
  PATH=$clip_rl_venv/bin:$PATH
  case $ros_mode in
    wheels:*) export AMENT_PREFIX_PATH=$clip_rl_venv CMAKE_PREFIX_PATH=$clip_rl_venv ;;
  esac
  cd ./ros_ws
  "$clip_rl_venv/bin/python" -c 'import sys; from colcon_core.command import main; sys.exit(main())' \
    --log-base log build --symlink-install --merge-install --base-paths src --build-base build --install-base install \
    --cmake-args -DBUILD_TESTING=OFF "-DPython3_EXECUTABLE=$clip_rl_venv/bin/python"
)

main() {
  # One set-up at a time in one checkout.
  exec 9<"${BASH_SOURCE[0]}"
  flock 9
  choose_python
  choose_torch
  choose_ros
  if is_done everything "$(hash_everything)" && "$clip_rl_venv/bin/python" -c '' && { [ "$ros_mode" = none ] || [ -e ros_ws/install/local_setup.bash ]; }; then
    return
  fi
  check_system_packages
  local start=$SECONDS
  make_environment "$(hash_environment)"
  install_packages "$(hash_packages)"
  install_ros_wheels
  build_workspace
  note ros "$ros_mode"
  note done-everything "$(hash_everything)"
  say "done in $((SECONDS - start)) s (Python $python_version, PyTorch $torch, ROS $ros_mode)"
}

# Sourced, this file only defines its steps.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main; fi
