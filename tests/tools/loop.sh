#!/usr/bin/env bash
# Looped models and retrofitted recurrence: trained, resumed bit for bit, run as trained by every tool,
# unrolled on disk.
source "$(dirname "$0")/common.sh"
run=("$TOOLS/train_smol" "${tiny[@]/lidas/none}")
"${run[@]}" --layers 3 --loop 1-1x3-1 --out looped --save-every 4 --keep 9
"${run[@]}" --layers 3 --loop 1-1x3-1 --out again --resume looped/checkpoints/step-00000004
cmp looped/model.safetensors again/model.safetensors || fail "expected a resumed looped run to be the unbroken one"
grep -q 'depthgrow.order' looped/model.safetensors || fail "expected the order in the checkpoint"

# The tools run the order that the model was trained with; unrolled on disk it is the same function.
"$TOOLS/grow_checkpoint" looped unrolled --order 0,1,1,1,2 --quiet
echo '{"context": "1+1", "options": ["2", "7"], "gold": 0}' > choices.jsonl
echo '{"text": "a tower that grows"}' | tee prompts.jsonl > words.jsonl
for model in looped unrolled; do
  "$TOOLS/depth_report" --model $model --prompts prompts.jsonl --sweeps none --no-local --quiet --json $model.json
  "$TOOLS/evaluate" --model $model --task choices=choices.jsonl --quiet --json $model.eval.json
  grep -A 12 '"logit_lens"' $model.json | grep -v null > $model.lens
done
grep -q '"layers": 5' looped.json || fail "expected five layers run"
cmp looped.lens unrolled.lens || fail "expected the looped model to compute what its unrolled copy computes"
"$TOOLS/evaluate" --model looped --order 0,1,2 --task choices=choices.jsonl --quiet

# A lens of a looped model has a translator for each layer that runs, as that of the unrolled copy; every tool reads it.
for model in looped unrolled; do
  "$TOOLS/fit_lens" --model $model --steps 2 --tokens-per-step 64 --held-out 2 --threads 2 --quiet --out $model.tuned
  "$TOOLS/evaluate" --model $model --exit-layer all --lens $model.tuned --task lambada=words.jsonl |
    grep 'exit at' > $model.exits
done
cmp looped.tuned/params.safetensors unrolled.tuned/params.safetensors ||
  fail "expected one lens for a looped model and its unrolled copy"
"$TOOLS/evaluate" --model looped --exit-layer all --task lambada=words.jsonl | grep 'exit at' |
  sed 's/logit/tuned/' > logit.exits
diff looped.exits unrolled.exits || fail "expected the same early exits of a looped model and its unrolled copy"
[[ $(diff looped.exits logit.exits | grep -c '^<') -eq 5 ]] ||
  fail "expected another perplexity through the lens at each of 5 exits, found: $(cat looped.exits logit.exits)"
"$TOOLS/depth_report" --model looped --lens looped.tuned --prompts prompts.jsonl --sweeps none --no-local --quiet
refused 'looped.tuned: [tuned_lens] expected a model of 5 layers, got 3' \
    "$TOOLS/evaluate" --model looped --order 0,1,2 --exit-layer 1 --lens looped.tuned --task choices=choices.jsonl

# Growth with a block that runs twice in the cooldown.
"$TOOLS/train_smol" "${tiny[@]}" --cooldown-loop 1:2 --out retrofitted
refused 'expected own-shared x times-own like 4-4x6-4' "${run[@]}" --out x --loop 4-4-4
refused '--layers: expected 3 for --loop 1-1x3-1, found 4' "${run[@]}" --out x --loop 1-1x3-1
refused '--loop: expected --growth none, found lidas' "$TOOLS/train_smol" "${tiny[@]}" --out x --loop 1-1x3-1 --layers 3
refused '--cooldown-loop: expected start:length' "$TOOLS/train_smol" "${tiny[@]}" --out x --cooldown-loop 3:4
echo "loop: trained, resumed, run and unrolled"
