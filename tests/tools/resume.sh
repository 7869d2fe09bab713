#!/usr/bin/env bash
# A stopped run goes on bit for bit: stops just before, at and after a growth, by --save-every, by SIGTERM and
# by kill -9.
source "$(dirname "$0")/common.sh"
"$TOOLS/train_smol" "${tiny[@]}" --out whole --save-every 1 --keep 100
losses whole/log.jsonl > whole.txt
[[ $(wc -l < whole.txt) -eq 12 ]] || fail "expected 12 steps in the log, found $(wc -l < whole.txt)"
grown=$(grep -o '"growth":{[^}]*}' whole/log.jsonl | grep -o '"step":[0-9]*' | grep -o '[0-9]*')
[[ -n "$grown" ]] || fail "expected a growth in the log"
for step in $((grown - 1)) "$grown" $((grown + 1)); do
  rm -rf part && cp -r whole part
  for folder in part/checkpoints/step-*; do
    [[ $((10#${folder##*-})) -gt $step ]] && rm -rf "$folder"
  done
  "$TOOLS/train_smol" "${tiny[@]}" --out part --resume auto --save-every 1 --keep 100
  losses part/log.jsonl > part.txt
  cmp whole.txt part.txt || fail "losses differ after a resume at step $step (growth after step $grown)"
  cmp whole/model.safetensors part/model.safetensors || fail "final weights differ after a resume at step $step"
done

# Resumed twice, each time by a save in the background: it goes on where the newest of its checkpoints ends.
cp -r whole twice
for step in 4 9; do
  for folder in twice/checkpoints/step-*; do [[ $((10#${folder##*-})) -gt $step ]] && rm -rf "$folder"; done
  "$TOOLS/train_smol" "${tiny[@]:0:${#tiny[@]}-1}" --out twice --resume auto --save-every 1 --keep 100 \
    --background-save > said.txt  # all flags but --quiet
  grep -q "resuming from .* at step $step with" said.txt || fail "expected to go on at step $step: $(cat said.txt)"
  losses twice/log.jsonl | cmp - whole.txt || fail "losses differ after resuming a second time (at step $step)"
  cmp whole/model.safetensors twice/model.safetensors || fail "weights differ after resuming a second time"
done

# A run that was killed after its last checkpoint, before it told its result, tells the same one.
loss_in() { tr -d ' \n' < "$1" | grep -o '"loss":[^,}]*' | head -n 1; }
cp -r whole ended && rm ended/run.json
"$TOOLS/train_smol" "${tiny[@]}" --out ended --resume auto
[[ "$(loss_in ended/run.json)" == "$(loss_in whole/run.json)" ]] ||
  fail "expected the result $(loss_in whole/run.json), found $(loss_in ended/run.json)"

# SIGTERM and SIGINT save and exit 0.
for signal in TERM INT; do
  rm -rf stopped
  "$TOOLS/train_smol" "${tiny[@]}" --out stopped --steps 4000 & pid=$!
  until [[ -s stopped/log.jsonl ]]; do sleep 0.05; done
  sleep 0.3
  kill -$signal $pid
  wait $pid || fail "expected exit code 0 after SIG$signal, found $?"
  [[ -f stopped/model.safetensors && -f stopped/trainer_state.json ]] || fail "expected a checkpoint after SIG$signal"
done

# The same seed gives the same losses; another one does not.
"$TOOLS/train_smol" "${tiny[@]}" --out again
losses again/log.jsonl | cmp - whole.txt || fail "the same seed gave other losses"
"$TOOLS/train_smol" "${tiny[@]}" --out other --seed 2
if losses other/log.jsonl | cmp -s - whole.txt; then fail "another seed gave the same losses"; fi
# Activations computed again in the backward pass change no loss.
"$TOOLS/train_smol" "${tiny[@]}" --out spare --recompute
losses spare/log.jsonl | cmp - whole.txt || fail "--recompute gave other losses"
echo "resume: bit for bit at steps $((grown - 1)), $grown, $((grown + 1)); signals save"
