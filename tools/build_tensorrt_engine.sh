#!/bin/sh
# Builds a bare TensorRT engine from an ONNX file, on any machine, with or without a GPU.
#
#   tools/build_tensorrt_engine.sh model.onnx out.engine [fp32|fp16|bf16] [further trtexec options]
#
# By default for GeForce RTX 30, 40 and 50 in one file; --gpu=sm89 and the like choose others, --minShapes= and its kin
# give ranges to open shapes. A bundle with task, manifest and proof is made by `pajamas build` instead.
set -eu

usage() {
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 2 ] || usage
model=$1
engine=$2
precision=${3:-fp16}
if [ $# -ge 3 ]; then shift 3; else shift 2; fi

case $precision in
  fp32) option= ;;
  fp16 | bf16) option=--$precision ;;
  *) usage ;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
program=${PAJAMAS:-$root/build/release/bin/pajamas}
if [ ! -x "$program" ]; then
  echo "build_tensorrt_engine: $program is missing: run ./dev build first, or set PAJAMAS to the program" >&2
  exit 5
fi
exec "$program" trtexec "--onnx=$model" "--saveEngine=$engine" ${option:+"$option"} --skipInference "$@"
