#!/usr/bin/env bash
# A vocabulary from text, a model trained with it, and text through the tools that take text.
source "$(dirname "$0")/common.sh"
for i in $(seq 1 120); do echo \
    "In the year $((1900 + i)) the tower had $i floors, and the masons of the old town were glad of it."; done \
    > text.txt
"$TOOLS/train_tokenizer" --data text.txt --vocab 290 --out one.json --threads 1 --quiet
"$TOOLS/train_tokenizer" --data text.txt --vocab 290 --out two --threads 2 --quiet
cmp one.json two/tokenizer.json || fail "expected the same vocabulary from any number of threads"
run=("$TOOLS/train_smol" "${tiny[@]}" --data text.txt)
"${run[@]}" --out file --tokenizer one.json
"${run[@]}" --out trained --tokenizer train:290
cmp file/tokenizer.json one.json || fail "expected the tokenizer beside the model"
cmp file/model.safetensors trained/model.safetensors || fail "expected the same model from the same vocabulary"
grep -q '"vocab_size": 290' file/config.json || fail "expected the vocabulary's size in config.json"
"${run[@]}" --out file --tokenizer one.json --resume auto
refused 'found tokenizer' "${run[@]}" --out file --tokenizer bytes --vocab 290 --resume auto

# Text prompts, choices and completions go through the model's own tokenizer.
echo '{"text": "In the year 1907 the tower had 12 floors."}' > prompts.jsonl
"$TOOLS/depth_report" --model file --prompts prompts.jsonl --sweeps none --no-local --quiet --json report.json
echo '{"context": "the tower had", "options": [" 12 floors", " blue"], "gold": 0}' > choices.jsonl
echo '{"prompt": "the year", "answer": "1907"}' > generate.jsonl
"$TOOLS/evaluate" --model file --task choices=choices.jsonl,generate=generate.jsonl --max-tokens 4 --quiet
"$TOOLS/evaluate" --model file --tokenizer bytes --task choices=choices.jsonl --quiet
"$TOOLS/fit_lens" --model file --data text.txt --steps 2 --tokens-per-step 64 --context 32 --out lens --quiet

refused 'missing.json: expected a file' "${run[@]}" --out x --tokenizer missing.json
refused 'expected train: and a number of tokens' "${run[@]}" --out x --tokenizer train:many
refused 'expected a vocabulary of at least 257' "${run[@]}" --out x --tokenizer train:100
refused '--vocab: expected at least 290' "${run[@]}" --out x --tokenizer one.json --vocab 280
"$TOOLS/train_tokenizer" --data text.txt --vocab 300 --out big.json --quiet
refused 'big.json: expected at most 290 tokens' \
    "$TOOLS/evaluate" --model file --tokenizer big.json --task choices=choices.jsonl
refused 'text.txt: expected valid JSON' "$TOOLS/evaluate" --model file --tokenizer text.txt --task choices=choices.jsonl
# A special token that is a letter of the byte alphabet would take the place of a byte.
refused 'expected special tokens that are not letters of the byte alphabet' \
    "$TOOLS/train_tokenizer" --data text.txt --out pilcrow.json --vocab 300 --special '¶'
"$TOOLS/train_tokenizer" --data text.txt --vocab 300 --special '<|début|>' a --out special.json --quiet
"${run[@]}" --out special --tokenizer special.json
echo "tokenizer: trained, used and refused as it should be"
