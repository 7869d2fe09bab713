# Shared by the tests of the completions endpoint: a server of theirs, requests over plain sockets.
start() {  # start FLAGS...: a server of the folder $model on a free port, $pid and $port
  rm -f serve.log  # the last one's
  "$TOOLS/serve" --model "${model:-model}" --port 0 --threads 1 "$@" > serve.log 2>&1 & pid=$!
  for ((t = 0; t < 200; ++t)); do grep -qs '^serving ' serve.log && break; sleep 0.05; done
  port=$(grep -o '127.0.0.1:[0-9]*' serve.log | head -n 1 | cut -d: -f2)
  [[ -n "$port" ]] || fail "expected a server, found: $(cat serve.log)"
}
ask() {  # ask METHOD PATH [BODY [HEADER]]: status and body in $status and $body, all in $answer
  exec 3<> "/dev/tcp/127.0.0.1/$port"
  local text=${3:-}
  printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s' "$1" "$2" \
    "${4:+$4$'\r\n'}" "${#text}" "$text" >&3
  answer=$(cat <&3); exec 3>&-
  status=$(head -n 1 <<< "$answer" | cut -d' ' -f2); body=$(tail -n 1 <<< "$answer")
}
expect() {  # expect STATUS TEXT: of the last answer
  [[ "$status" == "$1" && "$body" == *"$2"* ]] || fail "expected $1 and '$2', found $status: $body"
}
said() { grep -o '"text":"[^"]*' <<< "$body" | cut -d'"' -f4; }
