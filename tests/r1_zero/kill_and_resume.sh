#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills runs of r1_zero at random moments, every other one twice, resumes them, and compares all that
# they end in with a run that nobody disturbed and with one of one thread: weights, metrics, figures
# and samples, to the last bit. A checkpoint follows every update, so that many kills hit one being
# written, and most of those that are resumed lie between the updates on one rollout.
# usage: kill_and_resume.sh PROGRAM [RUNS]      (3 runs, unless said otherwise)
set -euo pipefail
program=$1
runs=${2:-3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
small=(--seed 5 --base-steps 12 --rl-steps 3 --mini-batches 4 --held-out 4 --checkpoint-every 1
       --group-size 8)

run() { "$program" "${small[@]}" --out "$folder/$1" "${@:2}" >/dev/null; }
# All that a run leaves behind but the time it took.
result() {
    grep -v train_seconds "$folder/$1/summary.json"
    cat "$folder/$1/samples.txt" "$folder/$1/base.jsonl"
    sed 's/,"tokens_per_second[^}]*//' "$folder/$1/metrics.jsonl"
}
expect_equal() {
    diff <(result whole) <(result "$1") && return
    echo "$1: expected the result of the undisturbed run"
    exit 1
}
random_moment() { awk -v s="$seconds" -v r="$RANDOM" 'BEGIN { print s * r / 32768 }'; }

start=$(date +%s.%N)
run whole
seconds=$(awk -v a="$start" -v b="$(date +%s.%N)" 'BEGIN { print b - a }')
run one_thread --threads 1
expect_equal one_thread

kills=0
halves=0
# Fails where the run ended before its moment came.
run_and_kill() {
    "$program" "${small[@]}" --out "$folder/killed" "$@" >/dev/null &
    local process=$! status=0
    sleep "$(random_moment)"
    kill -KILL $process 2>/dev/null || true
    wait $process 2>/dev/null || status=$?
    ((status > 0)) || return 1
    ((status == 137)) || exit $status
    kills=$((kills + 1))
    if compgen -G "$folder/killed/checkpoints/.step-*.tmp" >/dev/null; then
        halves=$((halves + 1))
    fi
}
for ((done = 0; done < runs;)); do
    rm -rf "$folder/killed"
    run_and_kill || continue
    if ((done % 2 == 1)); then run_and_kill --resume || true; fi
    run killed --resume
    expect_equal killed
    done=$((done + 1))
done
echo "$runs of $runs runs ended in the same bits after $kills kills, $halves of them within a write"
