#!/usr/bin/env bash
# What long runs need: a time limit, a scheduler's warning, logs in parts, events for TensorBoard, outliers told and
# left out, all of it the same after a resume.
source "$(dirname "$0")/common.sh"
long=("${tiny[@]}" --steps 120 --eval-every 40)

# A time limit saves and ends with status 0; so does the signal that schedulers send first, at any moment.
"$TOOLS/train_smol" "${tiny[@]}" --out limited --steps 1000000 --time-limit 2s --json limited.json
grep -q '"interrupted": *true' limited.json || fail "expected a run that its time limit interrupted"
[[ -f limited/model.safetensors ]] || fail "expected a checkpoint before the time limit"
"$TOOLS/train_smol" "${tiny[@]}" --out warned --steps 1000000 & pid=$!
until [[ -s warned/log.jsonl ]]; do sleep 0.05; done
kill -USR1 $pid; kill -USR1 $pid || true
wait $pid || fail "expected exit code 0 after SIGUSR1, found $?"
[[ -f warned/model.safetensors ]] || fail "expected a checkpoint after SIGUSR1"
for wrong in 0 -5 -5:00 5:-1 soon 1:2:3:4 90x; do
  refused "--time-limit: expected a time above 0, such as 90 (seconds), 45m, 12:00:00 or 1-00:00:00, found \"$wrong\"" \
    "$TOOLS/train_smol" "${tiny[@]}" --out wrong --time-limit="$wrong"
done
refused "--spike: expected a z-score of at least 0, found -1" "$TOOLS/train_smol" "${tiny[@]}" --out wrong --spike=-1
refused "--skip-outliers: expected" "$TOOLS/train_smol" "${tiny[@]}" --out wrong --skip-outliers=-1
refused "--log-size: expected" "$TOOLS/train_smol" "${tiny[@]}" --out wrong --log-size=-1

# Logs in parts: together they are the log of one file, also after a kill and a resume far back.
"$TOOLS/train_smol" "${long[@]}" --out whole
"$TOOLS/train_smol" "${long[@]}" --out parts --log-size 0.004 --save-every 20 --keep 100
parts() { (ls "$1"/log.*.jsonl | sort -t . -k 2 -n; echo "$1/log.jsonl") | xargs cat > all.jsonl; losses all.jsonl; }
[[ $(ls parts/log.*.jsonl | wc -l) -ge 3 ]] || fail "expected several parts of the log, found $(ls parts)"
parts parts | cmp - <(losses whole/log.jsonl) || fail "a log in parts differs from a whole one"
for folder in parts/checkpoints/step-*; do [[ $((10#${folder##*-})) -gt 40 ]] && rm -rf "$folder"; done
"$TOOLS/train_smol" "${long[@]}" --out parts --log-size 0.004 --save-every 20 --keep 100 --resume auto
parts parts | cmp - <(losses whole/log.jsonl) || fail "a resumed log in parts differs from a whole one"
numbers() { tr -d ' \n' < "$1" | sed -E 's/"(seconds|save_seconds|last_save_seconds|tokens_per_second)":[^,}]*//g'; }
cmp <(numbers whole/run.json) <(numbers parts/run.json) || fail "a resumed run's result differs"
[[ $(ls parts/events.out.tfevents.* | wc -l) -eq 2 ]] || fail "expected an event file for each start, found $(ls parts)"
for tag in train/loss train/validation_loss answers/arithmetic growth/loss_after; do
  grep -qaF "$tag" whole/events.out.tfevents.* || fail "expected $tag among the events"
done

# Outliers, here of one standard deviation: told with their sequences, left out where asked to, the same on a resume.
odd=("${long[@]}" --spike 1 --skip-outliers 1 --save-every 20 --keep 100)
"$TOOLS/train_smol" "${odd[@]}" --out odd --json odd.json
spikes=$(grep -c '"outlier":' odd/log.jsonl) || fail "expected outliers in the log"
grep '"outlier":' odd/log.jsonl | grep -q '"source":"built-in".*"skipped":true' ||
  fail "expected a step left out and its sequences: $(grep '"outlier":' odd/log.jsonl | head -n 1)"
grep -q 'left out' odd/report.html || fail "expected the outliers on the page"
losses odd/log.jsonl > odd.txt
cp -r odd again
for folder in again/checkpoints/step-*; do [[ $((10#${folder##*-})) -gt 60 ]] && rm -rf "$folder"; done
"$TOOLS/train_smol" "${odd[@]}" --out again --resume auto
losses again/log.jsonl | cmp - odd.txt || fail "a resumed run leaves out other steps"
cmp odd/model.safetensors again/model.safetensors || fail "a resumed run that leaves out steps ends elsewhere"
cmp <(numbers odd/run.json) <(numbers again/run.json) || fail "a resumed run counts other outliers"
refused "found skip_outliers 1.0 where it asks for none" "$TOOLS/train_smol" "${long[@]}" --out again --resume auto
parts=$(ls parts/log.*.jsonl | wc -l)
echo "long runs: time limit and signal save; $parts parts of a log; $spikes outliers, again alike"
