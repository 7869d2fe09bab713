#!/usr/bin/env bash
# Every optimiser through a growth plan: stopped and resumed where the model grows, bit for bit; growth on disk in
# between; a plan that is another, or another optimiser, is refused.
source "$(dirname "$0")/common.sh"
cat > plan.txt <<'P'
# two layers grow to four, five, four, eight and nine
2  doubling init=noise:0.1 seed=4
4  0 1 0.5*1+0.5*2 2 3 state=zero   # a sum of layers
6  collapse start=1 length=1 state=all
8  interleave init=average
9  0 1 2 3 4 5 6 7 7 init=random seed=7 state=zero
P
planned=("$TOOLS/train_smol" --preset tiny --initial-layers 2 --growth-plan plan.txt --steps 11 --batch 2
         --context 32 --eval-every 11 --eval-windows 2 --tasks arithmetic --threads 2 --quiet --keep 100
         --save-every 1)
"$TOOLS/train_smol" --preset tiny --initial-layers 2 --growth-plan plan.txt --steps 11 --dry-run > dry.txt
grep -qF 'step 4 0 1 0.5*1+0.5*2 2 3 state=zero' dry.txt ||
  fail "expected the plan in the dry run, found: $(cat dry.txt)"
for optimizer in adamw sgd_nesterov muon; do
  "${planned[@]}" --optimizer $optimizer --out $optimizer
  losses $optimizer/log.jsonl > whole.txt
  [[ $(wc -l < whole.txt) -eq 11 ]] || fail "expected 11 steps with $optimizer, found $(wc -l < whole.txt)"
  steps=(4 9)
  [[ $optimizer == muon ]] && steps=(2 3 4 6 8 9)
  for step in "${steps[@]}"; do
    rm -rf part && cp -r $optimizer part
    for folder in part/checkpoints/step-*; do
      [[ $((10#${folder##*-})) -gt $step ]] && rm -rf "$folder"
    done
    "${planned[@]}" --optimizer $optimizer --out part --resume auto
    losses part/log.jsonl | cmp - whole.txt || fail "losses of $optimizer differ after a resume at step $step"
    for file in model optimizer; do
      cmp $optimizer/$file.safetensors part/$file.safetensors ||
        fail "$file of $optimizer differs after a resume at step $step"
    done
  done
  # The same growths on disk.
  rm -rf rest other
  "$TOOLS/grow_checkpoint" --quiet $optimizer/checkpoints/step-00000009 other --order 0,1,2,3,4,5,6,7,7 --init random \
      --init-seed 7 --optimizer-state zero
  "${planned[@]}" --optimizer $optimizer --out rest --resume other
  for file in model optimizer; do
    cmp $optimizer/$file.safetensors rest/$file.safetensors || fail "$file of $optimizer differs after growth on disk"
  done
done
cmp -s adamw/model.safetensors muon/model.safetensors && fail "expected other weights from another optimiser"
grep -q '"mixture":"0 1 0.5\*1+0.5\*2 2 3"' muon/log.jsonl || fail "expected the mixture in the log"

refused 'found optimizer "muon" where it asks for none' "${planned[@]}" --out muon --resume auto
refused 'found optimizer missing where it asks for "muon"' "${planned[@]}" --optimizer muon --out adamw --resume auto
sed -i 's/seed=7/seed=8/' plan.txt
refused 'expected the settings of this run, found growth_plan' "${planned[@]}" --out adamw --resume auto
refused '--growth, --growth-plan: expected one of the two, found both' "${planned[@]}" --growth lidas --out x
refused '--layers: expected 9, the depth that plan.txt ends at, found 10' "${planned[@]}" --layers 10 --out x
echo '3 lidas block=9' > plan.txt
refused 'plan.txt: line 1: ' "${planned[@]}" --out x
[[ ! -e x ]] || fail "expected nothing written"
echo "optimisers: adamw, sgd_nesterov and muon go through a growth plan bit for bit"
