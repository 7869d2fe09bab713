#!/usr/bin/env bash
# The completions endpoint over plain sockets: scores, completions, clear refusals, bounds, and a drain on SIGTERM.
here="$(cd "$(dirname "$0")" && pwd)"
source "$here/common.sh"
pid=
trap 'kill $pid $(jobs -p) 2> /dev/null || true; rm -rf "$work"' EXIT  # no server outlives a failure
"$TOOLS/train_smol" "${tiny[@]}" --out model
source "$here/serving.sh"
start
ask GET /health; expect 200 '"status":"ok"'
ask GET /v1/models; expect 200 '"id":"model"'
ask GET /tokenizer_info; expect 200 '"eos_token"'
ask POST /tokenize '{"prompt": "abc", "add_special_tokens": false}'; expect 200 '"tokens":[97,98,99]'
ask POST /detokenize '{"tokens": [97, 98, 99]}'; expect 200 '"prompt":"abc"'
score='{"prompt": [[97, 98, 99], [65, 66]], "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0, "seed": 1234, "model": "m"}'
ask POST /v1/completions "$score"; expect 200 '"token_logprobs":[null,-'; first=$body
[[ $(grep -o '"index"' <<< "$body" | wc -l) -eq 2 ]] || fail "expected two choices: $body"
[[ $(grep -o '"token_logprobs":[^]]*' <<< "$body" | head -n 1 | tr -cd , | wc -c) -eq 3 ]] || fail "expected four entries for three tokens: $body"
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0}'; expect 200 '"completion_tokens":5'
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0.8, "seed": 3}'; expect 200 '"finish_reason":"length"'; drawn=$(said)
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5, "temperature": 0.8, "seed": 3}'; [[ "$(said)" == "$drawn" ]] || fail "expected the same draw from the same seed"
stops=$(printf '"%s",' {a..z} {0..9} ' ' + - = '*' '\n' '>'); stops=${stops%,}
ask POST /v1/completions "{\"prompt\": \"abc\", \"max_tokens\": 5, \"temperature\": 0, \"stop\": [$stops]}"; expect 200 '"finish_reason":"stop"'

# Refusals are 4xx with one sentence.
ask POST /v1/completions '{"prompt": "abc"'; expect 400 'request: expected valid JSON'
ask POST /v1/completions '{"max_tokens": 1}'; expect 400 'expected a prompt, found none'
ask POST /v1/completions '{"prompt": [1, 256]}'; expect 400 'expected prompt to hold token ids from 0 to 255, found 256'
ask POST /v1/completions "{\"prompt\": \"$(head -c 40 /dev/zero | tr '\0' a)\"}"; expect 400 'expected prompt 0 of at most 32 tokens'
ask POST /v1/completions '{"prompt": "a", "logprobs": 5}'; expect 400 'expected logprobs of at most 1'
ask POST /v1/completions '{"prompt": "a", "stream": true}'; expect 400 'expected stream false'
ask POST /v1/completions '{"prompt": "a", "temperature": -1}'; expect 400 'expected temperature of at least 0'
ask POST /v1/completions '{"prompt": ""}'; expect 400 'expected prompt 0 of at least 1 token'
ask GET /v2; expect 404 'expected a known path, found /v2'
kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
grep -q 'every request that was taken in has been answered' serve.log || fail "expected a clean stop"

# Bounds; another order and an early exit change the scores, a layer order that is the stored one does not.
start --max-request 200 --max-prompts 1
ask POST /v1/completions "{\"prompt\": \"a\", \"x\": \"$(head -c 300 /dev/zero | tr '\0' a)\"}"; expect 413 'expected a body of at most 200 bytes'
ask POST /v1/completions '{"prompt": ["a", "b"]}'; expect 400 'expected at most 1 prompts, found 2'
kill -TERM $pid; wait $pid
for flags in "--order 0,1,2,3" "--order 0,2,1,3" "--order 0,1,2,1,2,3" "--exit-layer 2"; do
  start $flags
  ask POST /v1/completions "$score"; expect 200 token_logprobs
  if [[ "$flags" == "--order 0,1,2,3" ]]; then [[ "${body%%\"created\"*}" == "${first%%\"created\"*}" ]] || fail "expected the same answer from the stored order"
  else [[ "${body%%\"created\"*}" != "${first%%\"created\"*}" ]] || fail "expected another answer from $flags"; fi
  kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
done

# While one long request runs and another waits, a third is refused; a drain answers the two that were taken in.
start --queue 1 --max-prompts 1000
many="{\"prompt\": [$(printf '"a",%.0s' {1..999})\"a\"], \"max_tokens\": 30, \"temperature\": 0}"
until_health() {  # until_health TEXT: waits until /health says so
  for ((t = 0; t < 200; ++t)); do ask GET /health; [[ "$body" == *"$1"* ]] && return; sleep 0.02; done
  fail "expected $1 in $body"
}
(ask POST /v1/completions "$many"; echo "$status" > long.txt) & long=$!
until_health '"running":1'
(ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5}'; echo "$status" > waits.txt) & waits=$!
until_health '"waiting":1'
ask POST /v1/completions '{"prompt": "abc", "max_tokens": 5}'; expect 503 'expected at most 1 waiting requests, found as many'
kill -TERM $pid; wait $pid || fail "expected exit code 0 after SIGTERM"
wait $long $waits
[[ "$(cat long.txt) $(cat waits.txt)" == "200 200" ]] || fail "expected the requests taken in to be answered, found $(cat long.txt) $(cat waits.txt)"

# Refused at the start; one that is not would serve for ever.
refused '--precision bf16: expected --backend cuda, found --backend blas' timeout 30 "$TOOLS/serve" --model model --precision bf16
refused 'expected layers below 4, found 7' timeout 30 "$TOOLS/serve" --model model --order 0,7
refused 'expected at most 4 (the layers run), found 9' timeout 30 "$TOOLS/serve" --model model --exit-layer 9
echo "serve: scores, completions, refusals, bounds, drains"
