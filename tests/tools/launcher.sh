#!/usr/bin/env bash
# A rank on a GPU that is killed: told in one sentence, and the others end soon after. Usage: launcher.sh TOOLS
launcher=$(cd "$(dirname "$1")/tests" && pwd)/launcher
source "$(dirname "$0")/common.sh"
ends_with() { # STATUS WHAT: within 20 s
  local status=0 begun=$SECONDS
  "$launcher" "$2" > said.txt 2>&1 || status=$?
  [[ $status -eq $1 ]] || fail "expected $2 to end with $1, found $status: $(cat said.txt)"
  [[ $((SECONDS - begun)) -lt 20 ]] || fail "expected the other rank to end within 20 s"
}
ends_with 137 killed
late="error: rank 0 had not ended 10 s after another had failed, and is ended now"
[[ $(cat said.txt) == "error: rank 1 was ended by signal 9 (Killed); the others have 10 s to notice
$late" ]] || fail "expected a sentence for each rank, found: $(cat said.txt)"
ends_with 3 failed
[[ $(cat said.txt) == "$late" ]] ||
  fail "expected a sentence of the other rank alone, found: $(cat said.txt)"
# A signal that the launcher was given itself is no failure to tell.
"$launcher" left > said.txt 2>&1 & running=$!
for ((t = 0; t < 100; ++t)); do [[ $(pgrep -c -P $running) -eq 2 ]] && break; sleep 0.1; done
sleep 0.5
kill -TERM $running
status=0
wait $running || status=$?
[[ $status -eq 143 && ! -s said.txt ]] || fail "expected 143 and no sentence, found $status: $(cat said.txt)"
