#!/usr/bin/env bash
# Who multiplies: every library in the build trains alike, a run that goes on keeps its library, bf16 learns as fp32
# does.
source "$(dirname "$0")/common.sh"
libraries=$("$TOOLS/train_smol" --help | grep -e '--product ' | grep -o '(auto[^)]*)' | tr -d '()' | tr '|' ' ')
libraries=${libraries#auto }
[[ "$libraries" == [a-z]* ]] || fail "expected names of libraries behind --product in $("$TOOLS/train_smol" --help)"
refused 'found --backend cuda' "$TOOLS/train_smol" "${tiny[@]}" --out none --product "${libraries%% *}" --backend cuda
for library in $libraries; do
  "$TOOLS/train_smol" "${tiny[@]}" --out "$library" --product "$library" --save-every 1 --keep 100
  grep -q "\"product\": *\"$library\"" "$library/trainer_state.json" ||
    fail "expected the library in $(cat "$library/trainer_state.json")"
  losses "$library/log.jsonl" > "$library.txt"
  grep -o '"loss":[0-9.]*' "$library.txt" | cut -d: -f2 > "$library.losses"
  paste "$library.losses" "${libraries%% *}.losses" | awk '{ if ($1 - $2 > 1e-3 || $2 - $1 > 1e-3) exit 1 }' ||
    fail "expected the losses of ${libraries%% *} from $library, found $(cat "$library.losses")"
  rm -rf part && cp -r "$library" part && rm -rf part/checkpoints/step-*[6-9] part/checkpoints/step-*1[0-2]
  "$TOOLS/train_smol" "${tiny[@]}" --out part --resume auto --save-every 1 --keep 100
  losses part/log.jsonl | cmp - "$library.txt" || fail "expected a run that goes on to keep its library, $library"
done

if grep -q avx512_bf16 /proc/cpuinfo && [[ "$libraries" == *onednn* ]]; then
  last=() longer=("${tiny[@]}" --steps 150)
  for precision in fp32 bf16; do
    "$TOOLS/train_smol" "${longer[@]}" --out $precision --precision $precision
    last+=("$(grep -o '"validation_loss":[0-9.]*' $precision/log.jsonl | tail -n 1 | cut -d: -f2)")
  done
  cmp -s fp32/model.safetensors bf16/model.safetensors && fail "expected --precision bf16 to multiply other numbers"
  awk -v a="${last[0]}" -v b="${last[1]}" 'BEGIN { exit !(b < 1.02 * a && b > 0.98 * a) }' ||
    fail "expected bf16 to learn as fp32 does, found held-out losses ${last[*]}"
else
  refused '--precision bf16: expected' "$TOOLS/train_smol" "${tiny[@]}" --out none --precision bf16
fi
refused '--precision fp8: expected --backend cuda, found --backend blas' "$TOOLS/train_smol" "${tiny[@]}" --out none \
  --precision fp8
echo "products: $libraries"
