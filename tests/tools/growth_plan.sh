#!/usr/bin/env bash
# growth_plan: the published costs, the numbers of train_smol's dry run, two operators, a plan from a file, bad input.
source "$(dirname "$0")/common.sh"
plan=("$TOOLS/growth_plan")

# Table 7 of Kapl et al. 2025: 4,813,222.102 PFLOP plain, 3,736,608.182 grown from 4 to 24 layers.
paper=(--preset smollm-1.7b --context 2048 --growth lidas --rounding floor)
"${plan[@]}" "${paper[@]}" --json paper.json > paper.txt
number() { sed -n "s/^  \"$1\": \([0-9.e+]*\),*\$/\1/p" paper.json; }
for pair in flops:3736608.182 plain_flops:4813222.102; do
  [[ $(awk "BEGIN {printf \"%.3f\", $(number ${pair%:*}) / 1e15}") == "${pair#*:}" ]] ||
    fail "expected ${pair#*:} PFLOP as ${pair%:*}: $(cat paper.json)"
done
for step in 8095 24285 48570 80950 121426; do
  grep -qE "^ +[2-6] .* $step " paper.txt || fail "expected a stage from step $step: $(cat paper.txt)"
done
grep -q '0.7763 of a plain run' paper.txt || fail "expected the ratio to a plain run: $(cat paper.txt)"

# The same stages, growths and sums as train_smol's dry run, JSON alone on stdout for -.
run=(--preset tiny --layers 6 --block 2 --steps 120 --batch 3 --context 32 --alpha 2 --plateau 0.7)
for growth in none midas lidas; do
  "$TOOLS/train_smol" "${run[@]}" --growth $growth --threads 2 --dry-run --quiet --json dry.json
  "${plan[@]}" "${run[@]}" --vocab 256 --growth $growth --json - | grep -v '"share"' > plan.json
  python3 - dry.json plan.json <<'P' || fail "expected the numbers of train_smol --dry-run: $(cat plan.json)"
import json, re, sys
dry, plan = (json.loads(re.sub(r",(\s*[}\]])", r"\1", open(name).read())) for name in sys.argv[1:])
assert all(dry[key] == plan[key] for key in ("layers", "steps", "tokens", "stages", "growth")), plan
assert all(abs(dry[key] / plan[key] - 1) < 1e-12 for key in ("flops", "flops_ratio")), plan
P
done

# A plan from a file, a config.json, and a mixture in it.
printf '%s\n' '10 lidas block=2' '30 0 0.5*0+0.5*1 1 2 3 init=copy' > plan.txt
"${plan[@]}" --preset tiny --layers 5 --initial-layers 2 --growth-plan plan.txt --steps 50 > file.txt
grep -qE '^ +3 +5 +30 +20 .*0.5\*0\+0.5\*1' file.txt || fail "expected a third stage of 5 layers: $(cat file.txt)"

[[ -z "$("${plan[@]}" --growth lidas --quiet)" && ! -e runs ]] || fail "expected --quiet to print and write nothing"
refused '--growth' "${plan[@]}" --growth midass
refused '--plateau: expected a share above 0 and at most 1, found 2' "${plan[@]}" --growth lidas --plateau 2
refused '--layers: expected a multiple of the block 4 for midas, found 6' \
    "${plan[@]}" --growth midas --layers 6 --block 4
refused '--preset: expected one of' "${plan[@]}" --preset huge

# On many GPUs, on paper: within a twentieth of what two H100 did, given what one of them did in that call; less memory
# the more there are, grown runs sooner done.
scale() { "$TOOLS/train_smol" --precision bf16 --backend cuda --quiet --plan --json - "$@" > scale.json; }
field() { grep -o "\"$1\": *[0-9.e+-]*" scale.json | sed 's/.*: *//'; }
for measured in smollm-360m:16:181000:351900 smollm-1.7b:8:51500:99000 mini:128:1685000:3273000; do
  IFS=: read -r preset rows one rate <<< "$measured"
  scale --preset "$preset" --batch $((2 * rows)) --micro-batch "$rows" --gpu-rate "$one" --gpus 2
  field tokens_per_second | tail -n 1 | awk -v rate="$rate" '{ exit !($1 > 0.95 * rate && $1 < 1.05 * rate) }' ||
    fail "expected about $rate tokens a second of two GPUs, found $(field tokens_per_second)"
  scale --preset "$preset" --batch $((2 * rows)) --gpus 2  # the preset's own rate
  field gpu_rate | awk -v one="$one" '{ exit !($1 > 0.9 * one && $1 < 1.1 * one) }' ||
    fail "expected about $one tokens a second of one GPU with $preset, found $(field gpu_rate)"
done
scale --preset smollm-1.7b --batch 1024 --gpus 1024
[[ $(field gpus | wc -l) -eq 11 ]] || fail "expected rows for 1 to 1024 GPUs: $(cat scale.json)"
diff <(field memory) <(field memory | sort -rnu) > diff.txt || fail "expected less memory the more GPUs there are"
plain=$(field days | head -n 1)
scale --preset smollm-1.7b --growth midas --gpus 1
field days | awk -v plain="$plain" '{ exit !($1 > 0.75 * plain && $1 < 0.81 * plain) }' ||
  fail "expected about 0.78 of the $plain days of a plain run, found $(field days)"
refused '--gpus: expected a divisor of the batch of 512 sequences, found 7' scale --preset smollm-360m --gpus 7
refused '--plan: expected --gpu-rate, the tokens a second of one GPU, for small' scale --preset small
scale --preset small --gpu-rate 5e5 --link 20 --gpus 8
echo "growth_plan: costs of the paper, of dry runs and of many GPUs"
