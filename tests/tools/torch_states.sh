#!/usr/bin/env bash
# torch's optimizer.pt grows with its model: equal, tensor by tensor, to growth by hand; else it is refused.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"
python=/usr/bin/python3
"$python" -c 'import torch' 2> /dev/null || { echo "skipped: $python has no torch"; exit 77; }
states=$here/torch_states.py
cp -r "$here/../fixtures/families/qwen3" before
"$python" "$states" make before
echo '{"global_step": 2}' > before/trainer_state.json
echo s > before/scheduler.pt
echo w > before/pytorch_model.bin
for rows in 0,1,2,1,2,3 0,1,0.5*1+0.5*2,2,3; do
  rm -rf grown
  "$TOOLS/grow_checkpoint" --quiet before grown --order "$rows"
  "$python" "$states" compare before grown "$rows" || fail "expected growth as by hand of $rows"
  for name in trainer_state.json scheduler.pt; do cmp "before/$name" "grown/$name" || fail "expected $name kept"; done
  [[ ! -e grown/pytorch_model.bin ]] || fail "expected the weights before growth left out"
done

# Another model's states are refused before anything is written.
cp "$here/../fixtures/torch/adam.pt" before/optimizer.pt
refused "parameters in group 0, found 2" "$TOOLS/grow_checkpoint" --quiet before refused --order 0,1,2,1,2,3
[[ ! -e refused ]] || fail "expected nothing written"
