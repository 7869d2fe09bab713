#!/usr/bin/env bash
# Faults on 2 and 3 ranks: killed, stopped, full, read-only and slow disks, damaged checkpoints. After each the others
# end soon, the newest whole checkpoint opens, and the run ends with the losses of one that was left alone.
# Usage: faults.sh TOOLS [ROUNDS [SEED]]
source "$(dirname "$0")/common.sh"
command -v mpirun > /dev/null || { echo "no mpirun here"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
rounds=${2:-11}
RANDOM=${3:-7}
steps=60
slow=$(cd "$(dirname "$1")/tests" && pwd)/libslow_disk.so
train=("$TOOLS/train_smol" --preset tiny --layers 4 --block 2 --steps $steps --batch 6 --context 32 --growth lidas
       --eval-every 30 --eval-windows 2 --tasks arithmetic --threads 1 --save-every 6 --keep 4 --log-every 6
       --rank-timeout 4)
ranks() { local count=$1; shift; mpirun --oversubscribe --bind-to none -n "$count" "${train[@]}" "$@"; }
for count in 2 3; do ranks $count --out whole-$count --quiet; done

# Processes of the run at hand: children of this shell's mpirun, by rank.
rank_of() { tr '\0' '\n' 2> /dev/null < "/proc/$1/environ" | sed -n 's/^OMPI_COMM_WORLD_RANK=//p' || true; }
process_of() {
  local pid
  for pid in $(pgrep -P "$launcher"); do
    if [[ $(rank_of "$pid") == "$1" ]]; then echo "$pid"; return; fi
  done
}
# Waits until the log says that step $1 is done.
reached() {
  for ((t = 0; t < 2000; ++t)); do
    grep -q "\"step\":$1}" run/log.jsonl 2> /dev/null && return
    kill -0 "$launcher" 2> /dev/null || return 0
    sleep 0.01
  done
}
begin() {
  mpirun --oversubscribe --bind-to none -n $count "${train[@]}" --out run "$@" > said.txt 2>&1 & launcher=$!
}
# The launcher ends within 30 s of a fault.
ends() {
  for ((t = 0; t < 300; ++t)); do kill -0 "$launcher" 2> /dev/null || break; sleep 0.1; done
  if kill -0 "$launcher" 2> /dev/null; then
    kill -9 "$launcher" $(pgrep -P "$launcher") || true
    lost "the others did not end within 30 s"
    return 1
  fi
  wait "$launcher" 2> /dev/null || true
}
survived=0 lost=0 met=0
lost() { lost=$((lost + 1)); echo "round $round, $count ranks, $fault: LOST: $*"; }
# The run goes on by the same flags and ends as one that was left alone.
goes_on() {
  if ! ranks $count --out run --resume auto --quiet > again.txt 2>&1; then
    lost "it does not go on: $(grep -m 1 error: again.txt)"
  elif ! losses run/log.jsonl | cmp -s - <(losses whole-$count/log.jsonl); then
    lost "it ends with other losses"
  elif [[ -n $(find run/checkpoints -name '.tmp-*') ]]; then lost "leftovers stay"
  else survived=$((survived + 1))
  fi
}
room() {  # a small file system at run, where one can be had
  mkdir run && mount -t tmpfs -o "size=$1" tmpfs run 2> /dev/null || return 1
  trap 'umount -l "$work/run" 2> /dev/null || true; rm -rf "$work"' EXIT
}
faults=(kill-early kill-step kill-save kill-growth stall stall-save full read-only cut flip slow)
for ((round = 1; round <= rounds; ++round)); do
  count=$((2 + RANDOM % 2)) fault=${faults[$(((round - 1) % ${#faults[@]}))]} victim=$((RANDOM % count))
  at=$((7 + RANDOM % 40))
  umount -l run 2> /dev/null || true
  rm -rf run
  case $fault in
    kill-*)
      begin --background-save
      case $fault in
        kill-early) sleep "0.$((RANDOM % 5 + 1))" ;;
        kill-step) reached $at ;;
        kill-save) reached $((at / 6 * 6)) ;;  # steps of --save-every: the save is on its way
        kill-growth) reached 6 ;;
      esac
      victim=$(process_of $victim)
      if [[ -n "$victim" ]] && kill -9 "$victim" 2> /dev/null; then met=$((met + 1)); fi
      ends || continue ;;
    stall*)
      begin $([[ $fault != stall-save ]] || echo --save-every 1)  # nearly always in a save
      reached $at
      stalled=$(process_of $victim)
      if [[ -n "$stalled" ]] && kill -STOP "$stalled" 2> /dev/null; then met=$((met + 1)); fi
      ends || { kill -9 "$stalled" 2> /dev/null; continue; }
      if [[ -n "$stalled" ]] && ! grep -q "found none from rank $victim" said.txt; then
        lost "the stalled rank $victim is not named: $(grep -m 1 error: said.txt)"; continue
      fi
      if grep -q "tries again\|signal" said.txt; then
        lost "it went on without the stalled rank: $(grep -m 1 "tries again\|signal" said.txt)"; continue
      fi ;;
    full)
      room 2m || { survived=$((survived + 1)); echo "round $round: full disk skipped: no tmpfs here"; continue; }
      dd if=/dev/zero of=run/filler bs=1k count=$((600 + RANDOM % 900)) 2> /dev/null
      begin; ends || continue
      if grep -q "expected room\|No space" said.txt; then met=$((met + 1)); fi
      rm -f run/filler; mount -o remount,size=64m run ;;
    read-only)
      room 64m || { survived=$((survived + 1)); echo "round $round: read-only disk skipped: no tmpfs here"; continue; }
      begin; reached $at
      mount -o remount,ro run 2> /dev/null || true
      ends || continue
      if grep -q "Read-only\|error:" said.txt; then met=$((met + 1)); fi
      mount -o remount,rw run ;;
    slow)
      LD_PRELOAD=$slow begin --background-save
      reached $at
      if grep -qs slow_disk /proc/$(pgrep -P "$launcher" | head -n 1)/maps; then met=$((met + 1)); fi
      ends || continue ;;
    cut | flip)
      begin; reached $at
      if kill -9 $(pgrep -P "$launcher") 2> /dev/null; then met=$((met + 1)); fi
      ends || continue
      newest=$(ls -d run/checkpoints/step-* 2> /dev/null | tail -n 1)
      [[ $(ls -d run/checkpoints/step-* 2> /dev/null | wc -l) -gt 1 ]] || newest=""
      file=$newest/$([[ $((RANDOM % 2)) == 0 ]] && echo model || echo optimizer).safetensors
      if [[ -n "$newest" && $fault == cut ]]; then truncate -s -$((1 + RANDOM % 5000)) "$file"; fi
      if [[ -n "$newest" && $fault == flip ]]; then
        place=$((20000 + RANDOM)) byte=$(od -An -tu1 -j $place -N 1 "$file")
        printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$file" bs=1 seek=$place conv=notrunc 2> /dev/null
      fi ;;
  esac
  [[ -e run/checkpoints ]] || rm -rf run/log.jsonl
  goes_on
done
umount -l run 2> /dev/null || true
echo "faults: survived $survived / lost $lost ($met of $rounds met the run)"
[[ $lost == 0 ]]
