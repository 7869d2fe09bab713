#!/usr/bin/env bash
# Two and four processes train as one does, in every way of training; checkpoints know nothing of ranks.
source "$(dirname "$0")/common.sh"
command -v mpirun > /dev/null || { echo "no mpirun here"; exit 77; }
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
ranks() { local count=$1; shift; mpirun --oversubscribe --bind-to none -n "$count" "$TOOLS/train_smol" "$@" --quiet; }
loss_of() { losses "$1/log.jsonl" | grep -o '"loss":[^,]*' | cut -d: -f2; }
# Losses of two logs, step by step: sums in another order differ by some roundings of 2^-24, which training spreads.
near() {
  paste -d' ' <(loss_of "$1") <(loss_of "$2") | awk '
    { d = $1 - $2; if (d < 0) d = -d; if (NF != 2 || d > 2e-5 * $1) { print "step " NR ": " $0; bad = 1 } }
    END { if (NR != 12 || bad) exit 1 }' || fail "losses of $1 and $2 differ"
}
run=(--preset tiny --layers 4 --block 2 --steps 12 --batch 8 --context 32 --growth lidas --eval-every 6
     --eval-windows 3 --tasks arithmetic --threads 1)
"$TOOLS/train_smol" "${run[@]}" --out one --quiet
for count in 2 4; do ranks $count "${run[@]}" --out on-$count; near one on-$count; done
ranks 2 "${run[@]}" --out again
losses again/log.jsonl | cmp - <(losses on-2/log.jsonl) || fail "two ranks gave other bits in a second run"
for way in "--optimizer muon" "--optimizer sgd_nesterov" "--recompute" "--micro-batch 2" "--background-save"; do
  rm -rf alone several
  # shellcheck disable=SC2086
  "$TOOLS/train_smol" "${run[@]}" $way --out alone --quiet
  # shellcheck disable=SC2086
  "$TOOLS/train_smol" "${run[@]}" $way --ranks 2 --out several --quiet
  near alone several
done
# Saved on two, gone on with on one, two and four: the same run. On two, the same bits.
ranks 2 "${run[@]}" --out whole --save-every 5 --keep 9 --background-save
for count in 1 2 4; do
  rm -rf part && cp -r whole part && rm -r part/checkpoints/step-00000012 part/checkpoints/step-00000010
  ranks $count "${run[@]}" --out part --resume auto
  near whole part
  [[ $count != 2 ]] || losses part/log.jsonl | cmp - <(losses whole/log.jsonl) ||
    fail "two ranks went on with other bits"
done
# Refusals come before any damage, in one sentence of the first rank.
refused=$(ranks 3 "${run[@]}" --out refused 2>&1 | grep -m 1 error: || true)
[[ "$refused" == "error: --batch: expected a multiple of the 3 ranks, found 8" ]] || fail "found \"$refused\""
[[ ! -e refused ]] || fail "a refused run left a folder"
for who in "SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2" "RANK=0 WORLD_SIZE=2 LOCAL_RANK=0"; do
  said=$(env $who "$TOOLS/train_smol" "${run[@]}" --out refused 2>&1) &&
    fail "expected ranks on CPUs refused without MPI's start"
  [[ "$said" == "error: expected "*"srun"* && $(wc -l <<< "$said") -eq 1 ]] || fail "found \"$said\""
done
[[ ! -e refused ]] || fail "a refused run left a folder"
echo "ranks: 2 and 4 as 1, bit for bit again, every optimiser, resumed on 1, 2 and 4"
