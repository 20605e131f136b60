# shellcheck shell=bash
# Talking to the person at the terminal. Progress goes to stderr with the elapsed time.

exec 3>&2 # the terminal, also while a step's own output goes to its log

say() {
    printf '[%3d s] %s\n' "$SECONDS" "$*" >&3
}

# One sentence: what is wrong, why it matters, what to do.
die() {
    printf 'error: %s\n' "$*" >&3
    exit 1
}

dry_run() {
    [[ ${DRY_RUN:-no} == yes ]]
}

# Do a step, or tell that it would be done.
act() {
    local what=$1
    shift
    if dry_run; then
        say "would: $what"
        return
    fi
    local began=$SECONDS
    say "$what ..."
    "$@"
    say "$what: done in $((SECONDS - began)) s"
}

# Run functions side by side, each with a log of its own; show the logs of those that fail.
side_by_side() {
    local logs pid failed=0 name
    local -A running=()
    logs=$(mktemp -d)
    for name in "$@"; do
        "$name" >"$logs/$name" 2>&1 </dev/null &
        running[$!]=$name
    done
    heartbeat &
    local pulse=$!
    while ((${#running[@]})); do
        wait -n -p pid "${!running[@]}" || {
            [[ -n ${pid:-} ]] || continue # a signal came, and its trap has run
            failed=1
            say "${running[$pid]//_/ }: failed; the end of its log:"
            tail -n 40 "$logs/${running[$pid]}" >&3
        }
        unset "running[$pid]"
    done
    kill "$pulse" 2>/dev/null || true
    wait "$pulse" 2>/dev/null || true
    rm -rf "$logs"
    return "$failed"
}

heartbeat() {
    while sleep 30 >&- 2>&- 3>&-; do say "still at it ..."; done
}
