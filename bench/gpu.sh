#!/bin/sh
# On a machine with a GPU; each of the two is meant for ten minutes there. JSON, plots and logs go to the folder $OUT.
#     bench/gpu.sh tests [quick]      captured steps equal eager ones, stacks lone runs, a GPU a CPU; the card's sweep
#     bench/gpu.sh figures [quick]    every way to run a sweep, in float32, bfloat16 and TF32; the whole 6 × 3 sweep
# quick: a trial on digits, which a CPU can do.
set -u
out=${OUT:-bench/results}
python=${PYTHON:-python}
quick=${2:+--quick}
status=0
mkdir -p "$out"

tests() {
    [ -z "$quick" ] || export ACTSWEEP_GPU_TESTS=cpu
    "$python" -m pytest -q --numprocesses 4 tests/training/stack/test_stack_gpu.py \
        tests/diagnostics/test_randomness.py >"$out/tests.log" 2>&1 || status=1
    tail -n 3 "$out/tests.log"
    case=card
    [ -z "$quick" ] || case=tiny
    "$python" -m bench.commands $case --without scikit-learn --trainer auto --rounds 1 --json "$out/commands.json" || status=1
}

sweep() { # its name, and more arguments
    name=$1
    shift
    "$python" -m bench.sweep $quick --members 1 6 18 60 180 "$@" --json "$out/sweep-$name.json" || status=1
    "$python" -m bench.sweep_plot "$out/sweep-$name.png" "$out/sweep-$name.json" || status=1
}

figures() {
    sweep fp32 ${quick:---sweep}
    [ -n "$quick" ] || sweep bf16 --precision bf16-mixed --rounds 2
    export TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1
    [ -n "$quick" ] || sweep tf32 --rounds 2
}

case ${1:-} in
tests | figures) "$1" ;;
*) echo "bench/gpu.sh tests, or bench/gpu.sh figures" >&2 && exit 2 ;;
esac
exit $status
