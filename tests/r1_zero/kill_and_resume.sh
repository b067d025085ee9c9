#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kills a run of r1_zero at three random moments, resumes it each time, and compares the final weights with
# those of a run that nobody disturbed, and with those of one thread.
# usage: kill_and_resume.sh PROGRAM
set -euo pipefail
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
small=(--seed 5 --base-steps 24 --rl-steps 8 --held-out 4 --checkpoint-every 4 --group-size 8)

weights() { grep -o '"weights_crc32c": [0-9]*' "$folder/$1/summary.json"; }

SECONDS=0
"$program" "${small[@]}" --out "$folder/whole" >/dev/null
whole_seconds=$((SECONDS + 1))
"$program" "${small[@]}" --threads 1 --out "$folder/one_thread" >/dev/null

kills=0
resume=()
while ((kills < 3)); do
    "$program" "${small[@]}" "${resume[@]}" --out "$folder/killed" >/dev/null &
    process=$!
    sleep "$(awk -v s="$whole_seconds" -v r=$RANDOM 'BEGIN { print 0.2 + s * r / 32768 / 2 }')"
    kill -KILL $process 2>/dev/null || true
    wait $process 2>/dev/null || true
    kills=$((kills + 1))
    resume=(--resume)
done
"$program" "${small[@]}" --resume --out "$folder/killed" >/dev/null

echo "undisturbed   $(weights whole)"
echo "one thread    $(weights one_thread)"
echo "killed thrice $(weights killed)"
[[ $(weights whole) == "$(weights one_thread)" && $(weights whole) == "$(weights killed)" ]]
steps() { cut -d, -f1 "$folder/$1/metrics.jsonl"; }
[[ $(steps whole) == "$(steps killed)" ]]
