#!/usr/bin/env bash
# Every family through the tools: trained from its config.json with growth, resumed, grown on disk byte for byte as in
# the trainer, new layers of zero effect with the proof, diagnosed, given a lens, scored early and under an order.
fixtures="$(cd "$(dirname "$0")/../fixtures/families" && pwd)"
source "$(dirname "$0")/common.sh"
echo '{"tokens": [3, 7, 1, 40, 22, 9, 17, 33, 50, 2, 8, 61, 5, 12, 30, 44, 20, 11, 6, 59]}' > prompts.jsonl
flags=(--layers 4 --block 2 --steps 8 --batch 2 --context 32 --growth lidas --eval-every 8 --eval-windows 1
       --tasks arithmetic --threads 1 --quiet)
for folder in "$fixtures"/*; do
  name=$(basename "$folder")
  rm -rf whole part grown rest zero lens
  "$TOOLS/train_smol" --config "$folder/config.json" "${flags[@]}" --out whole --save-every 1 --keep 100
  losses whole/log.jsonl > whole.txt
  [[ $(wc -l < whole.txt) -eq 8 ]] || fail "$name: expected 8 steps in the log, found $(wc -l < whole.txt)"
  step=$(grep -o '"growth":{[^}]*}' whole/log.jsonl | grep -o '"step":[0-9]*' | grep -o '[0-9]*')
  before=whole/checkpoints/$(printf 'step-%08d' "$step")

  cp -r whole part
  for saved in part/checkpoints/step-*; do [[ $((10#${saved##*-})) -gt $((step - 1)) ]] && rm -rf "$saved"; done
  "$TOOLS/train_smol" --config "$folder/config.json" "${flags[@]}" --out part --resume auto --save-every 1 --keep 100
  losses part/log.jsonl | cmp - whole.txt || fail "$name: losses differ after a resume before the growth"

  "$TOOLS/grow_checkpoint" --quiet "$before" grown --operator lidas --block 2
  "$TOOLS/train_smol" --config "$folder/config.json" "${flags[@]}" --out rest --resume grown
  losses rest/log.jsonl > rest.txt
  tail -n "$(wc -l < rest.txt)" whole.txt | cmp - rest.txt || fail "$name: losses differ after growth on disk"
  cmp whole/model.safetensors rest/model.safetensors || fail "$name: final weights differ after growth on disk"
  cmp whole/optimizer.safetensors rest/optimizer.safetensors || fail "$name: final moments differ after growth on disk"

  "$TOOLS/grow_checkpoint" "$folder" zero --operator lidas --block 2 --init zero_residual > zero.txt
  grep -q 'are unchanged, bit for bit' zero.txt || fail "$name: expected the proof, found: $(cat zero.txt)"
  "$TOOLS/fit_lens" --model whole --out lens --steps 2 --tokens-per-step 32 --context 16 --quiet
  "$TOOLS/depth_report" --model "$folder" --prompts prompts.jsonl --quiet --json report.json
  grep -q '"depth_score"' report.json || fail "$name: expected a depth score in the report"
  "$TOOLS/depth_report" --model zero --prompts prompts.jsonl --sweeps none --no-local --quiet --json report.json
  "$TOOLS/evaluate" --model whole --task arithmetic --items 4 --shots 1 --exit-layer 2 --lens lens --quiet --json - \
      > scores.json 2> scores.txt || fail "$name: $(cat scores.txt)"
done
echo "families: $(ls "$fixtures" | wc -l) trained, resumed, grown on disk, diagnosed and scored"
