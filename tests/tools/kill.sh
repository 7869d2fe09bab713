#!/usr/bin/env bash
# kill -9 at random moments: every restart finds a whole checkpoint. Usage: kill.sh TOOLS [TIMES]
source "$(dirname "$0")/common.sh"
times=${2:-6}
run=("$TOOLS/train_smol" "${tiny[@]}" --steps 100000 --eval-every 100000 --save-every 3 --out run)
"${run[@]}" & pid=$!
until [[ -e run/latest ]]; do sleep 0.02; done
last=0
for ((i = 1; i <= times; ++i)); do
  sleep "0.$((RANDOM % 900 + 100))"
  kill -9 $pid 2> /dev/null || fail "expected a running trainer at kill $i"
  wait $pid 2> /dev/null || true
  [[ -f run/latest/model.safetensors && -f run/latest/optimizer.safetensors && -f run/latest/trainer_state.json ]] ||
    fail "expected a whole checkpoint after kill $i"
  step=$(grep -o '"step": [0-9]*' run/latest/trainer_state.json | head -n 1 | grep -o '[0-9]*')
  [[ $step -ge $last ]] || fail "expected a checkpoint no older than step $last, found $step"
  last=$step
  "${run[@]}" --resume auto > restart.log 2>&1 & pid=$!
  for ((t = 0; t < 200; ++t)); do
    kill -0 $pid 2> /dev/null || { cat restart.log >&2; fail "expected the run to go on after kill $i"; }
    newer=$(grep -o '"step": [0-9]*' run/latest/trainer_state.json | head -n 1 | grep -o '[0-9]*' || true)
    [[ ${newer:-0} -gt $last ]] && break
    sleep 0.05
  done
  [[ ${newer:-0} -gt $last ]] || fail "expected a new checkpoint after the restart $i, found step ${newer:-none}"
done
kill -9 $pid; wait $pid 2> /dev/null || true
echo "kill -9: $times times, every restart found a whole checkpoint (last at step $last)"
