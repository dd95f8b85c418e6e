# How checks are made and told in the guest. Sourced.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8

passed=0
failed=0
good() {
  passed=$((passed + 1))
  echo "vm: ok    $*"
}
bad() {
  failed=$((failed + 1))
  echo "vm: FAIL  $*"
}

# check NAME COMMAND...: it succeeds, within ten minutes.
check() {
  local name=$1 log begun=$SECONDS code
  shift
  log=$(mktemp)
  timeout --kill-after=5 600 "$@" >"$log" 2>&1 </dev/null
  code=$?
  if [ $code = 0 ]; then
    good "$name ($((SECONDS - begun)) s)"
  else
    bad "$name: exit $code after $((SECONDS - begun)) s"
    tail -n "${VM_TAIL:-40}" "$log" | sed 's/^/        /'
  fi
  rm "$log"
}

# same NAME EXPECTED FOUND
same() {
  if [ "$2" = "$3" ]; then good "$1${3:+: $(head -n 1 <<<"$3" | cut -c -100)}"; else bad "$1: expected \"$2\", found \"$3\""; fi
}

# like NAME PATTERN FOUND
like() {
  if grep -qE -- "$2" <<<"$3"; then good "$1: $(grep -m 1 -E -- "$2" <<<"$3" | cut -c -100)"; else bad "$1: no \"$2\" in: $3"; fi
}

report() {
  echo "vm: $passed passed, $failed failed"
  [ "$failed" = 0 ]
}
