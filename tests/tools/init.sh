#!/usr/bin/env bash
# A run that starts from weights alone: those of a model grown on disk, as they are or growing further; what is refused.
source "$(dirname "$0")/common.sh"
"$TOOLS/train_smol" "${tiny[@]}" --out whole
"$TOOLS/grow_checkpoint" whole zero --operator lidas --block 2 --zero-new --quiet
held_out() { grep -o '"validation_loss":[0-9.]*' "$1/log.jsonl" | cut -d: -f2; }
run=("$TOOLS/train_smol" --steps 60 --batch 2 --context 32 --eval-every 30 --eval-windows 2 --tasks arithmetic
     --threads 2 --quiet)

# New layers of no effect: the first held-out loss is the last one of the model before growth; from there
# training goes on.
"${run[@]}" --init zero --out on
[[ "$(held_out on | head -n 1)" == "$(held_out whole | tail -n 1)" ]] ||
  fail "expected the loss of the weights, $(held_out whole | tail -n 1), found $(held_out on | head -n 1)"
awk -v first="$(held_out on | head -n 1)" -v last="$(held_out on | tail -n 1)" 'BEGIN { exit !(last < first - 0.05) }' \
    || fail "expected a falling loss, found $(held_out on | xargs)"
grep -q '"num_hidden_layers": 6' on/config.json || fail "expected 6 layers"
cmp zero/tokenizer.json on/tokenizer.json || fail "expected the model's tokenizer"

# Stopped, it goes on bit for bit by the same flags.
"${run[@]}" --init zero --out part --save-every 20 --keep 9
rm -rf part/checkpoints/step-00000060
"${run[@]}" --init zero --out part --save-every 20 --keep 9 --resume auto
cmp <(losses on/log.jsonl) <(losses part/log.jsonl) || fail "losses differ after a resume"
cmp on/model.safetensors part/model.safetensors || fail "final weights differ after a resume"

# Growth goes on from the depth that is there; the record has all three growths, and is a lineage of the depth reached.
"${run[@]}" --init zero --out deeper --growth lidas --block 2 --layers 8
echo '{"text": "a tower that grows"}' > prompts.jsonl
"$TOOLS/depth_report" --model deeper --prompts prompts.jsonl --sweeps none --no-local --threads 2 > report.txt
[[ $(grep -c '  grown' report.txt) -eq 3 ]] || fail "expected three growths in the report: $(cat report.txt)"
"$TOOLS/depth_report" --model deeper --prompts prompts.jsonl --sweeps none --no-local --threads 2 --quiet \
    --json report.json
thrice='"lineage":{"descends_from":[0,1,0,1,0,1,0,1],"growth":[{"order":[0,1,0,1],"step":3},'
thrice+='{"order":[0,1,2,1,2,3],"step":12,"zero_new":true},{"order":[0,1,2,3,2,3,4,5],"step":17}],'
thrice+='"initial_layers":2,"shared_until":[[4,0,1,0,1,0,1,0],[0,4,0,2,0,2,0,1],[1,0,4,0,3,0,2,0],'
thrice+='[0,2,0,4,0,3,0,1],[1,0,3,0,4,0,2,0],[0,2,0,3,0,4,0,1],'
thrice+='[1,0,2,0,2,0,4,0],[0,1,0,1,0,1,0,4]],"stages":4}'
[[ "$(lineage report.json)" == "$thrice" ]] || fail "expected $thrice, found $(lineage report.json)"

# Moments that are there start the run when asked for; what the configuration and the tokenizer hold beyond
# the shape stays.
cp -r zero real && rm real/optimizer.safetensors real/trainer_state.json
sed -i 's/"rope_theta": [0-9.]*/"rope_theta": 5000.0,\n  "note": "kept"/' real/config.json
echo '{"chat_template": "kept"}' > real/tokenizer_config.json
"${run[@]}" --init zero --init-optimizer --out moments
cmp -s <(losses on/log.jsonl) <(losses moments/log.jsonl) &&
  fail "expected other losses from the moments that are there"
"${run[@]}" --init real --out foreign
grep -q '"rope_theta": 5000.0' foreign/config.json && grep -q '"note": "kept"' foreign/config.json ||
  fail "expected the fields of config.json to stay, found $(cat foreign/config.json)"
grep -q kept foreign/tokenizer_config.json || fail "expected the tokenizer's configuration to stay"
"$TOOLS/train_smol" --init zero --growth lidas --block 2 --layers 8 --dry-run --threads 2 > dry.txt
grep -q '^init .*zero: weights of 6 layers, 2 growths recorded' dry.txt && grep -q 'zero: 8 layers, width 32' dry.txt ||
  fail "expected the origin in the dry run, found: $(cat dry.txt)"

# A looped model starts as it was trained.
"$TOOLS/train_smol" "${tiny[@]/lidas/none}" --layers 3 --loop 1-1x3-1 --out looped
refused '--loop: expected one that runs the layers 0 1 1 1 2, as --init looped was trained, found none' \
    "${run[@]}" --out x --init looped
"${run[@]}" --init looped --loop 1-1x3-1 --out loops_on
[[ "$(held_out loops_on | head -n 1)" == "$(held_out looped | tail -n 1)" ]] ||
  fail "expected the loss of the looped weights"

# What does not go together is refused before anything is written.
bad=("${run[@]}" --out x)
refused 'missing: expected a model directory' "${bad[@]}" --init missing
refused '--init, --resume: expected one of the two' "${bad[@]}" --init zero --resume whole
refused '--preset: expected none beside --init' "${bad[@]}" --init zero --preset tiny
refused '--width: expected none beside --init' "${bad[@]}" --init zero --width 64
refused '--vocab: expected none beside --init' "${bad[@]}" --init zero --vocab 512
refused '--norm: expected none beside --init' "${bad[@]}" --init zero --norm mix
refused '--layers: expected the 6 layers of --init zero (more need --growth), found 8' \
    "${bad[@]}" --init zero --layers 8
refused '--layers: expected a final depth above the 6 layers of --init zero, found none' \
    "${bad[@]}" --init zero --growth lidas
refused '--initial-layers: expected the 6 layers of --init zero, found 4' \
    "${bad[@]}" --init zero --growth lidas --layers 8 --initial-layers 4
refused '--context: expected 2 to 32 (the context of --init zero), found 64' "${bad[@]}" --init zero --context 64
refused '--init-optimizer: expected optimizer.safetensors in real, found none' "${bad[@]}" --init real --init-optimizer
refused '--init-optimizer: expected --init, found none' "${bad[@]}" --init-optimizer
cp -rL zero short && truncate -s 3000 short/model.safetensors
refused 'short/model.safetensors: ' "${bad[@]}" --init short
cp -rL zero deep && sed -i 's/"num_hidden_layers": 6/"num_hidden_layers": 7/' deep/config.json
refused 'deep: expected a tensor model.layers.6.input_layernorm.weight' "${bad[@]}" --init deep
cp -rL zero odd &&
  printf '\x00\x00\xc0\x7f' |
    dd of=odd/model.safetensors bs=1 seek=$(($(stat -c %s odd/model.safetensors) - 4)) conv=notrunc status=none
refused 'odd/model.safetensors: expected finite numbers in tensor' "${bad[@]}" --init odd
cp -rL zero words && echo '{"version": "1.0"}' > words/tokenizer.json
refused 'words/tokenizer.json' "${bad[@]}" --init words
[[ ! -e x ]] || fail "expected nothing written by refused runs"
echo "init: the same loss, then a falling one, a lineage of all growths"
