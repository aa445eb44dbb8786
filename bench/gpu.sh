#!/bin/sh
# On a machine with a GPU: the tests that need one, every way to run a sweep in three precisions, the whole 6 × 3 sweep.
# JSON, plots and logs go to the folder $OUT. `bench/gpu.sh --quick` is a dry run on digits, which also runs without a GPU.
set -u
out=${OUT:-bench/results}
python=${PYTHON:-python}
mkdir -p "$out"
"$python" -m pytest -q tests/training/stack/test_stack_gpu.py >"$out/tests.log" 2>&1
echo "GPU tests: exit code $?"    # 5: there are none here
status=0
precisions="32-true bf16-mixed"
whole=--sweep
if [ "${1:-}" = --quick ]; then precisions=32-true whole=; fi
for precision in $precisions; do
    "$python" -m bench.sweep "$@" $whole --precision "$precision" --json "$out/sweep-$precision.json" || status=1
    "$python" -m bench.sweep_plot "$out/sweep-$precision.png" "$out/sweep-$precision.json" || status=1
    whole=
done
if [ "${1:-}" != --quick ]; then
    TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 \
        "$python" -m bench.sweep "$@" --json "$out/sweep-tf32.json" || status=1
    "$python" -m bench.sweep_plot "$out/sweep-tf32.png" "$out/sweep-tf32.json" || status=1
fi
exit $status
