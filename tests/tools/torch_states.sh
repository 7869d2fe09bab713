#!/usr/bin/env bash
# torch's optimizer.pt grows with its model: equal, tensor by tensor, to growth by hand under every policy; else it is
# refused.
here=$(cd "$(dirname "$0")" && pwd)
source "$here/common.sh"
python=/usr/bin/python3
"$python" -c 'import torch' 2> /dev/null || { echo "skipped: $python has no torch"; exit 77; }
states=$here/torch_states.py

# grown FAMILY KIND ROWS POLICY: the fixture's optimizer.pt grows as by hand, and what belongs to it is kept.
grown() {
  rm -rf before after
  cp -r "$here/../fixtures/families/$1" before
  "$python" "$states" make before "$2"
  echo '{"global_step": 2}' > before/trainer_state.json
  echo s > before/scheduler.pt
  echo w > before/pytorch_model.bin
  "$TOOLS/grow_checkpoint" --quiet before after --order "$3" --optimizer-state "$4"
  "$python" "$states" compare before after "$2" "$3" "$4" || fail "expected growth as by hand of $*"
  for name in trainer_state.json scheduler.pt; do cmp "before/$name" "after/$name" || fail "expected $name kept"; done
  [[ ! -e after/pytorch_model.bin ]] || fail "expected the weights before growth left out"
}
grown qwen3 two 0,1,2,1,2,3 copy
grown qwen3 two 0,1,0.5*1+0.5*2,2,3 copy
grown qwen3 one 0,1,2,1,2,3 zero
grown qwen3 named 0,1,2,1,2,3 all
grown gpt_neox two 0,1,2,1,2,3 zero
grown gpt_neox one 0,1,2,1,2,3 copy
grown gpt_neox named 0,1,0.5*1+0.5*2,2,3 zero

# Names decide, so wrong ones are refused.
"$python" - before/optimizer.pt << 'END'
import sys
import torch
state = torch.load(sys.argv[1])
state["param_groups"][0]["param_names"][0] = "somebody.else"
torch.save(state, sys.argv[1])
END
refused "param_names of the model's parameters, found somebody.else" \
  "$TOOLS/grow_checkpoint" --quiet before refused --order 0,1,2,1,2,3

# Another model's states are refused before anything is written.
cp "$here/../fixtures/torch/adam.pt" before/optimizer.pt
refused "parameters in group 0, found 2" "$TOOLS/grow_checkpoint" --quiet before refused --order 0,1,2,1,2,3
[[ ! -e refused ]] || fail "expected nothing written"
