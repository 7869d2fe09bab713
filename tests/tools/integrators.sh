#!/usr/bin/env bash
# What integrators found: a dry run's numbers for programs, models whose folders have one name, heat maps that say
# something where maxima are at the top of the scale, and the four short programs.
source "$(dirname "$0")/common.sh"

# --dry-run --json F writes F, alone on stdout for -, and nothing else.
plan=("$TOOLS/train_smol" --preset tiny --layers 4 --block 2 --steps 12 --batch 2 --context 32 --growth lidas
      --threads 2 --dry-run)
"${plan[@]}" --json plan.json > printed.txt
grep -q '^parameters' printed.txt || fail "expected a dry run to print its plan: $(cat printed.txt)"
for key in '"dry_run": true' '"layers": 4' '"steps": 12' '"tokens": 768' '"flops_ratio"' '"memory_bytes"' \
    '"growth": "0 1 0 1"'; do
  grep -qF "$key" plan.json || fail "expected $key in $(cat plan.json)"
done
"${plan[@]}" --json - > alone.json  # its memory counts the program's, which differs a little from run to run
cmp <(grep -v memory_bytes alone.json) <(grep -v memory_bytes plan.json) ||
  fail "expected --json - to print the numbers alone"
[[ -z "$("${plan[@]}" --quiet)" ]] || fail "expected --quiet to print nothing"
"$TOOLS/depth_study" --preset tiny --steps 12 --batch 2 --context 32 --variants none,lidas --threads 2 --dry-run \
    --quiet --json study.json
[[ $(grep -c '"dry_run": true' study.json) -eq 2 && $(grep -c '"variant"' study.json) -eq 2 ]] ||
  fail "expected two plans in $(cat study.json)"
[[ ! -e runs ]] || fail "expected a dry run to write nothing but its JSON"
"$TOOLS/train_smol" "${tiny[@]}" --out plain/seed-1 --json - > trained.json
[[ "$(head -c 1 trained.json)" == "{" ]] ||
  fail "expected --json - to print the numbers alone: $(head -n 1 trained.json)"

# Two models whose folders have one name, everywhere by the ends of their paths, or by labels.
cp -rL plain/seed-1 other; mkdir lidas; mv other lidas/seed-1
printf '{"tokens": [%s]}\n' '1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14' \
    '9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3, 4, 5, 6' > prompts.jsonl
report=("$TOOLS/depth_report" --model plain/seed-1/ --model ./lidas/seed-1 --prompts prompts.jsonl --block 2
        --sweeps swap:1 --threads 2)
"${report[@]}" --json two.json --html two.html > two.txt
for name in plain/seed-1 lidas/seed-1; do
  grep -q "^$name: " two.txt || fail "expected $name on the screen: $(cat two.txt)"
  grep -qF "\"name\": \"$name\"" two.json || fail "expected $name in the JSON"
  for figure in ': current, maximum' ': current, mean' ': future, maximum' ': future, mean' ' (logit lens)' ': swap'; do
    grep -qF "$name$figure" two.html || fail "expected a figure or legend '$name$figure' on the page"
  done
done
grep -q '^lidas/seed-1 - plain/seed-1: ' two.txt || fail "expected differences between names that differ"
grep -qF '"first": "plain/seed-1"' two.json || fail "expected the comparison to name its first model"
"${report[@]}" --label before --label after --no-local --sweeps none --json named.json --html named.html --quiet
grep -qF '"name": "after"' named.json && grep -qF 'before: future, mean' named.html || fail "expected labels as names"
refused '--label: expected one for each of 2 --model, found 1' "${report[@]}" --label one
refused '--label: expected names that differ, found one twice' "${report[@]}" --label one --label one

# The four short programs.
"$TOOLS/grow_your_own" | grep -q '^order    0 1 2 3 4 5 2 3 4 5 6 7$' || fail "expected 8 layers to become 12"
"$TOOLS/grow_stacked" > stacked.txt
grep -q '^elements   1216 -> 1704 ' stacked.txt && grep -q '^ln1w        232 236 240 236 240 244$' stacked.txt &&
  grep -q '^lnfb        1215, as before 1215$' stacked.txt || fail "expected a stacked model of 6 layers"
"$TOOLS/metrics_on_arrays" | grep -q '^depth score .* of 0 to 3$' || fail "expected a depth score"
"$TOOLS/train_a_model" trained > trained.txt
first=$(sed -n 's/^step   0: 4 layers, loss \([0-9.]*\).*/\1/p' trained.txt) \
    last=$(sed -n 's/^held-out loss \([0-9.]*\).*/\1/p' trained.txt)
awk "BEGIN {exit !($last < $first / 2)}" || fail "expected a loss that falls by half, from $first, found $last"
grep -q '"num_hidden_layers": 8' trained/config.json || fail "expected 8 layers in $(cat trained/config.json)"
"$TOOLS/depth_report" --model trained --prompts prompts.jsonl --no-local --sweeps none --threads 2 --quiet \
    --json trained.json
tr -d ' \n' < trained.json | grep -q '"lineage":.*"stages":3' || fail "expected the growth on record in the checkpoint"
"$TOOLS/train_smol" --preset tiny --layers 8 --growth none --steps 130 --batch 8 --context 64 --threads 2 \
    --resume trained --out goes_on > goes_on.txt
grep -q '^resuming from trained at step 120 with 8 layers$' goes_on.txt &&
  grep -q '"step": 130' goes_on/trainer_state.json ||
  fail "expected train_smol to go on from a program's run: $(cat goes_on.txt)"
refused 'trained: expected a new directory, found one of that name' "$TOOLS/train_a_model" trained
for ((i = 0; i < 200; ++i)); do echo "some words on line $i of a book"; done > book.txt
"$TOOLS/train_a_model" from_text book.txt > /dev/null
[[ -f from_text/tokenizer.json ]] || fail "expected a checkpoint from a text"
echo "integrators: plans as JSON, names that differ, means beside maxima, four programs"
