#!/usr/bin/env bash
# Every tool's --help teaches: a usage line with its name, and at its end commands to try, whose flags it (or
# the tool named) knows.
source "$(dirname "$0")/common.sh"
tools=(train_smol depth_study depth_report fit_lens evaluate grow_checkpoint train_tokenizer growth_plan)
[[ ! -x "$TOOLS/serve" ]] || tools+=(serve)
for tool in "${tools[@]}"; do "$TOOLS/$tool" --help > "$tool.txt"; done
for tool in "${tools[@]}"; do
  grep -q "^Usage: $tool " "$tool.txt" || fail "expected a usage line in $tool --help"
  sed '1,/^Examples:$/d' "$tool.txt" > examples.txt
  [[ $(grep -c "^  $tool " examples.txt) -ge 2 ]] ||
    fail "expected two examples at the end of $tool --help, found: $(cat examples.txt)"
  while read -r name rest; do
    [[ -f "$name.txt" ]] || continue
    for flag in $(grep -oE -- ' --[a-z-]+' <<< " ${rest%%#*}"); do
      grep -qE -- "^  $flag( |$)" "$name.txt" || fail "expected $flag of an example of $tool to be a flag of $name"
    done
  done < examples.txt
done
for task in copy_words psm arithmetic choices=FILE lambada=FILE generate=FILE; do
  grep -q -- "$task" evaluate.txt || fail "expected the task $task in evaluate --help"
done

# What must be given is said there, and asked for by name.
for pair in depth_report:--model depth_report:--prompts fit_lens:--model fit_lens:--out evaluate:--model \
    evaluate:--task grow_checkpoint:IN train_tokenizer:--data train_tokenizer:--out; do
  grep -A 2 -- "^  ${pair#*:} " "${pair%:*}.txt" | grep -q 'required' ||
    fail "expected ${pair#*:} to be marked required in ${pair%:*} --help"
done
refused '--model: expected a model directory, or several' "$TOOLS/depth_report"
refused '--model: expected a model directory, found none' "$TOOLS/evaluate" --task arithmetic
refused '--task: expected tasks, comma-separated' "$TOOLS/evaluate" --model x
refused 'IN: expected a model directory to grow, found none' "$TOOLS/grow_checkpoint" --operator lidas
refused 'OUT: expected a directory to write, found none' "$TOOLS/grow_checkpoint" x --operator lidas
refused '--data: expected files' "$TOOLS/train_tokenizer" --out x.json
refused '--growth: expected --variants, the operators that a study compares, found --growth lidas' \
    "$TOOLS/depth_study" --growth lidas --dry-run
for tool in train_smol depth_study evaluate growth_plan; do
  refused '--json: expected a file in a folder that exists' "$TOOLS/$tool" --json nowhere/x.json
done
echo "help: ${#tools[@]} tools"
