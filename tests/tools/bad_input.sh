#!/usr/bin/env bash
# Bad input: one sentence, exit 1, nothing overwritten.
source "$(dirname "$0")/common.sh"
train=("$TOOLS/train_smol" "${tiny[@]}" --out out)
printf 'short' > short.txt
: > empty.txt
head -c 4096 /dev/zero > zero.txt
printf '{"text": "fine"}\n{"text": 3}\n' > bad.jsonl
printf '\xff\xff' > odd.bin; mkdir folder
refused 'missing.txt: expected' "${train[@]}" --data missing.txt
refused 'empty.txt: expected' "${train[@]}" --data empty.txt
refused 'zero.txt: expected text, found a zero byte' "${train[@]}" --data zero.txt
refused 'short.txt: expected at least' "${train[@]}" --data short.txt
refused 'bad.jsonl line 2' "${train[@]}" --data bad.jsonl
refused 'expected tokens below the vocabulary' "${train[@]}" --data odd.bin
refused 'unknown flag --grwoth; did you mean --growth?' "${train[@]}" --grwoth lidas
refused '--steps: expected a whole number of at least 0, found "-3"' "$TOOLS/train_smol" --steps -3 --dry-run
refused '--threads: expected a whole number' "$TOOLS/train_smol" --threads -4 --dry-run
refused '--steps: expected at most' "$TOOLS/train_smol" --steps 99999999999 --dry-run
refused 'did you mean tiny?' "$TOOLS/train_smol" --preset tinny
refused 'did you mean lidas?' "$TOOLS/train_smol" --growth lydas
refused 'multiple of the block 3' "${train[@]}" --growth midas --block 3
refused 'expected heads to divide width 32' "${train[@]}" --heads 5
refused '--micro-batch: expected a divisor' "${train[@]}" --micro-batch 3 --batch 4
refused 'expected SOURCE:WEIGHT with a weight above 0' "${train[@]}" --mix built-in:-1
refused 'expected one of copy_random' "${train[@]}" --tasks copying
[[ ! -e out ]] || fail "expected nothing written by refused runs, found $(ls out)"

# Another run in the folder.
"${train[@]}"
sum=$(cat out/log.jsonl out/model.safetensors | cksum)
refused 'expected a new folder, found another run' "${train[@]}"
refused 'expected the settings of this run, found' "${train[@]}" --resume auto --lr 1e-4
refused 'more; give the --preset or --config that it began with' "$TOOLS/train_smol" --out out --resume auto --quiet
[[ "$(cat out/log.jsonl out/model.safetensors | cksum)" == "$sum" ]] || fail "expected the other run untouched"
mkdir linked && ln -s "$work/elsewhere.jsonl" linked/log.jsonl
refused 'linked/log.jsonl: expected a file, found a link that leads nowhere' \
    "$TOOLS/train_smol" "${tiny[@]}" --out linked
[[ ! -e elsewhere.jsonl ]] || fail "expected nothing written through a link"

# A damaged checkpoint: nothing is begun, and with a good one the same command goes on.
cp -rL out damaged
truncate -s 1000 damaged/model.safetensors
refused 'model.safetensors: expected' "$TOOLS/train_smol" "${tiny[@]}" --out again --resume damaged
cp out/model.safetensors damaged/model.safetensors; echo '{"step": 3' > damaged/trainer_state.json
refused 'trainer_state.json' "$TOOLS/train_smol" "${tiny[@]}" --out again --resume damaged
refused 'nowhere' "$TOOLS/train_smol" "${tiny[@]}" --out again --resume nowhere
refused 'expected the settings of this run, found lr' \
    "$TOOLS/train_smol" "${tiny[@]}" --out again --resume out --lr 1e-4
[[ ! -e again ]] || fail "expected nothing begun by a refused --resume, found $(ls -A again)"
"$TOOLS/train_smol" "${tiny[@]}" --out again --resume out

# One bit of a checkpoint's weights is another: told by the file, not gone on with, not grown; auto takes an older one.
"$TOOLS/train_smol" "${tiny[@]}" --out bits --save-every 4 --keep 9
flip() {
  local byte
  byte=$(od -An -tu1 -j 30000 -N 1 "$1")
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek=30000 conv=notrunc 2> /dev/null
}
flip bits/checkpoints/step-00000012/model.safetensors
refused 'model.safetensors: expected the XXH3 hash' \
    "$TOOLS/train_smol" "${tiny[@]}" --out again2 --resume bits/checkpoints/step-00000012
refused 'model.safetensors: expected the XXH3 hash' \
    "$TOOLS/grow_checkpoint" bits/checkpoints/step-00000012 grown --operator midas --block 2
said=$("$TOOLS/train_smol" "${tiny[@]}" --out bits --resume auto 2>&1)
[[ "$said" == "warning: "*"step-00000012"*"left out" ]] || fail "expected a warning of a checkpoint, found $said"
for folder in bits/checkpoints/step-*; do flip "$folder/optimizer.safetensors"; done
said=$("$TOOLS/train_smol" "${tiny[@]}" --out bits --resume auto 2>&1) && fail "expected damaged checkpoints refused"
[[ "$said" == *"error: bits: expected a whole checkpoint to go on from"* ]] || fail "found $said"

# A loss that is not finite stops the run, names step and tensor, and keeps the state aside.
refused 'the loss is not finite at step' "$TOOLS/train_smol" "${tiny[@]}" --out hot --lr 1e30 --clip 0 --growth none
[[ -f hot/diverged/model.safetensors ]] || fail "expected the state aside in hot/diverged"

# A full disk while saving: the run goes on, says so once and fails at its end; the last good checkpoint stays.
# Needs root for a small file system; skipped otherwise.
mkdir disk
if mount -t tmpfs -o size=1500k tmpfs disk 2> /dev/null; then
  trap 'umount "$work/disk"; rm -rf "$work"' EXIT
  code=0; said=$("$TOOLS/train_smol" "${tiny[@]}" --steps 40 --save-every 1 --keep 50 --out disk/run 2>&1) || code=$?
  [[ $code -eq 1 && "$said" == "warning: no checkpoint at step "*"error: the run's last checkpoint could not be "*
     && $(wc -l <<< "$said") -eq 2 ]] || fail "expected a warning, an error and exit code 1, found $code: $said"
  grep -q '"step":40' disk/run/log.jsonl || fail "expected the run to go on after a save that failed"
  newest=$(ls -d disk/run/checkpoints/step-* | tail -n 1)
  "$TOOLS/train_smol" "${tiny[@]}" --steps 40 --out elsewhere --resume "$newest" ||
    fail "expected the last good checkpoint to open after a full disk"
  ls -a disk/run/checkpoints | grep -q '^\.tmp' && fail "expected no half-written checkpoint to stay"
  echo "full disk: '$said'"
else
  echo "full disk: skipped (no tmpfs could be mounted here)"
fi
# No room for the log, though for checkpoints: a warning once, and the run goes on to its end, which tells.
code=0
small=(--preset tiny --layers 2 --block 1 --width 8 --ffn 8 --heads 1 --kv-heads 1 --batch 2 --context 16 --threads 1
       --eval-windows 2 --quiet)
said=$( (trap '' XFSZ; ulimit -f 80
         exec "$TOOLS/train_smol" "${small[@]}" --steps 1200 --save-every 0 --out little) 2>&1) || code=$?
[[ $code -eq 1 && $(wc -l <<< "$said") -eq 2 && -e little/latest/model.safetensors &&
   "$said" == "warning: little/log.jsonl: expected room for a line, found: File too large; the run goes on and"*"
error: little/log.jsonl: expected room for "*" bytes, found: File too large" ]] ||
  fail "expected a warning of the log, a checkpoint and an error at the end, found $code: $said"
[[ $(tail -c 1 little/log.jsonl | od -An -c) == *'\n'* && $(wc -c < little/log.jsonl) -le 81920 ]] ||
  fail "expected whole lines in the log"
"$TOOLS/train_smol" "${small[@]}" --steps 1200 --save-every 0 --out little --resume auto ||
  fail "expected the run to end where there is room again"
echo "bad input: all refused with a sentence"
