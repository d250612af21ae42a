#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can show, in one go: tests marked gpu, engines built and compared
# with FP32, speed. Writes its results into OUT (default: out/gpu) and goes on after a part that fails.
#
#   make setup TORCH=cuda ROS=none
#   . .venv/bin/activate && pip install -c requirements/constraints.txt -e '.[tensorrt]'     # TensorRT-RTX's flavour
#   scripts/gpu_check.sh [OUT]
#
# The standard flavour of TensorRT instead: pip install torch-tensorrt==2.13.* and the tensorrt-cu13 that it names.
set -uo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.." || exit
out=${1:-out/gpu}
mkdir -p "$out"
export PYTHONPATH=$PWD/ros_ws/src/clip_rl_perception:$PWD/training${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
failed=()

part() {
  local name=$1
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  "$@" 2>&1 | tee "$out/$name.log"
  local status=${PIPESTATUS[0]}
  [ "$status" -eq 0 ] || failed+=("$name (exit status $status)")
}

part machine nvidia-smi
part libraries python - <<'PYTHON'
import torch
from clip_rl_perception.engine import tensorrt_library as library
print("torch", torch.__version__, "CUDA", torch.version.cuda, "GPU", torch.cuda.is_available() and library.device())
for ask in (library.versions, library.compiler_versions):
    try:
        print(ask.__name__, ask())
    except Exception as error:
        print(ask.__name__, error)
PYTHON
part tests python -m pytest -q -m gpu tests/contract tests/perception tests/training
for precision in bf16 fp16 fp32; do
  part "build-$precision" clip-rl build-engine --checkpoint demo --backend tensorrt --precision "$precision" \
    --out "$out/demo-$precision"
done
part agreement clip-rl bench --parts agreement --out "$out/bench" \
  --backends cuda:fp32 cuda:bf16 cuda:fp16 tensorrt:fp32 tensorrt:bf16 tensorrt:fp16
for preset in vit_b16 rn50 mobileclip2_s0 tiny; do
  part "networks-$preset" clip-rl bench --parts networks --out "$out/bench-$preset" --backends cuda tensorrt \
    --size 512x640 --rounds 500 --encoders "$preset"
done
part bench clip-rl bench --parts roofline engines --backends cuda tensorrt torch --out "$out/bench"

printf '\n'
if [ ${#failed[@]} -gt 0 ]; then
  printf 'gpu_check: failed: %s\n' "${failed[@]}"
  exit 1
fi
echo "gpu_check: all parts ran; results in $out"
