# shellcheck shell=bash
# Room to write: asked for before a run, bounded in it, given back after it.

# Fails where a file system has less than is asked for in all; each argument is MiB:FOLDER.
require_room() {
    local each folder mount free short=no
    local -A wanted=() there=()
    for each in "$@"; do
        folder=${each#*:}
        until [[ -d $folder ]]; do folder=$(dirname "$folder"); done
        read -r free mount < <(df --output=avail,target --block-size=M "$folder" | tail -n 1)
        there[$mount]=${free%M}
        wanted[$mount]=$((${wanted[$mount]:-0} + ${each%%:*}))
    done
    for mount in "${!wanted[@]}"; do
        ((there[$mount] < wanted[$mount])) || continue
        say "error: $mount has ${there[$mount]} MiB free, and a run asks for ${wanted[$mount]} there."
        short=yes
    done
    [[ $short == no ]] || die "a run would stop in its middle: make room (it writes to: ${*#*:})."
}

# A TMPDIR of this run's own, in memory where that can be: there nobody waits for a disk.
make_scratch() {
    TMPDIR=$(mktemp --directory --tmpdir hoster-test-XXXXXX)
    export TMPDIR
    chmod 755 "$TMPDIR" # PostgreSQL runs as a user of its own
    mount -t tmpfs -o size=25%,mode=1777 hoster-test "$TMPDIR" 2>/dev/null ||
        say "temporary files are on a disk: $TMPDIR"
}

remove_scratch() {
    umount --lazy "$TMPDIR" 2>/dev/null || true
    rm -rf "$TMPDIR"
}
