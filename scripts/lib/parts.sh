# shellcheck shell=bash
# The parts of scripts/test: each runs to its end with a log of its own, its outcome goes into a report.

PART_LIMIT=45m # a part that hangs becomes a failure, not a night
WANTED=() PYTEST_OPTIONS=()
declare -A CHOSEN=() # lane by part

# In the folder of the run before: logs, JUnit files and the slowest tests stay there to be read.
start_report() {
    REPORT=$1
    mkdir -p "$REPORT"
    exec 9>"$REPORT.lock"
    flock --nonblock 9 || die "another run writes to $REPORT: wait for its end, or stop it."
    rm -rf "${REPORT:?}"/*
    : >"$REPORT/parts.tsv"
}

# The table, and the line that sums it up; exits non-zero where something failed.
end_report() {
    local code=${1:-$?}
    python "$HOSTER_ROOT/scripts/lib/report.py" "$REPORT" || code=1
    exit "$code"
}

# One line of the report: name, exit code or "skipped", seconds, reason, JUnit file, log, seconds of
# processor time, percent of the machine's processor time that nobody used meanwhile.
record() {
    local IFS=$'\t'
    echo "$*" >>"$REPORT/parts.tsv"
}

skip() {
    record "$1" skipped 0 "$2"
}

# A command that counts as one test; or pytest, which counts its tests itself.
part() {
    local name=$1 code=0 log="$REPORT/$1.log" junit='' began=$SECONDS
    local worked idle all worked_before idle_before all_before
    shift
    if [[ $1 == pytest ]]; then
        junit="$REPORT/$name.xml"
        set -- "$@" --junitxml="$junit" --durations=30 "${PYTEST_OPTIONS[@]}"
    fi
    say "$name ..."
    read_meters
    worked_before=$worked idle_before=$idle all_before=$all
    run "$@" || code=$?
    read_meters
    say "$name: exit code $code after $((SECONDS - began)) s"
    record "$name" "$code" $((SECONDS - began)) '' "$junit" "$log" \
        $(((worked - worked_before) / $(getconf CLK_TCK))) \
        $((100 * (idle - idle_before) / (all - all_before + 1)))
}

# Ended by an interrupt of its first process, as a person's: pytest takes down what its fixtures
# made. In a session of its own, so that nothing of it outlives it.
run() {
    local code=0
    : >"$log"
    setsid timeout --foreground --signal=INT --kill-after=60s "$PART_LIMIT" \
        env --default-signal=INT "$@" </dev/null >"$log" 2>&1 9>&- &
    RUNNING=$!
    [[ -z ${FOLLOWED:-} ]] ||
        tail --lines=+1 --follow --sleep-interval=0.2 --pid="$RUNNING" "$log" >&3 9>&- &
    wait "$RUNNING" || code=$?
    kill -KILL -- "-$RUNNING" 2>/dev/null || true
    wait
    return "$code"
}

# In ticks: what the children of this shell worked; what all processors idled, and what they had.
read_meters() {
    local -a own machine
    read -ra own <"/proc/$BASHPID/stat"
    read -ra machine </proc/stat
    worked=$((own[15] + own[16]))
    idle=$((machine[4] + machine[5]))
    all=$(IFS=+ && echo $((${machine[*]:1:8})))
}

# Those that were asked for by their own name or their lane's, else all but the proofs at scale.
choose_part() {
    local word
    [[ $1 != long || ${#WANTED[@]} -gt 0 ]] || return 0
    for word in "${WANTED[@]-$2}"; do
        [[ $word != "$1" && $word != "$2" ]] || CHOSEN[$2]=$1
    done
}

# All parts of these lanes count as skipped.
leave_out() {
    local part
    for part in "${!CHOSEN[@]}"; do
        [[ " ${*:2} " == *" ${CHOSEN[$part]} "* ]] || continue
        skip "$part" "$1"
        unset "CHOSEN[$part]"
    done
}

# What a change since a commit reaches: files with tests, and molecule; or everything.
choose_changed() {
    local reached
    reached=$(python scripts/lib/changed.py "$1")
    [[ $reached != everything ]] || return 0
    grep -qx molecule <<<"$reached" || leave_out 'the change does not reach it' molecule
    mapfile -t -O "${#PYTEST_OPTIONS[@]}" PYTEST_OPTIONS < <(grep -vx molecule <<<"$reached")
}

show_part() {
    printf '%-10s %-20s %s\n' "$1" "$2" "${*:3}"
}

# Side by side, those that have a chosen part; what runs alone is seen at once.
run_lanes() {
    local lane lanes=()
    for lane in "$@"; do
        [[ " ${CHOSEN[*]} " != *" $lane "* || -n ${STOPPED:-} ]] || lanes+=("$lane")
    done
    ((${#lanes[@]})) || return 0
    FOLLOWED=$( ((${#lanes[@]} > 1)) || echo yes)
    side_by_side "${lanes[@]}"
}

# The chosen parts of a lane, one after another.
run_lane() {
    LANE=$1
    trap stop_part TERM
    each_part run_part
}

run_part() {
    [[ ${CHOSEN[$2]:-} != "$LANE" || -n ${STOPPED:-} ]] || part "${@:2}"
}

# In a lane: the part that runs is ended in order, and no other begins.
stop_part() {
    STOPPED=yes
    kill -INT "$RUNNING" && wait "$RUNNING" || true
}

stop_lanes() {
    STOPPED=yes
    say "stopping on SIG$1 ..."
    # shellcheck disable=SC2046 # a list of numbers
    kill $(jobs -p) 2>/dev/null || true
}

# What is in Git or would be added to it.
tracked() {
    git ls-files --cached --others --exclude-standard "$@"
}

# Shell programs of ours, by their name or first line.
shell_scripts() {
    tracked scripts bench | while read -r file; do
        [[ $file == *.sh ]] || [[ "$(head -n 1 "$file")" == '#!'*sh ]] && echo "$file"
    done
}

molecule_scenarios() {
    tracked 'molecule/*/molecule.yml' | cut -d/ -f2
}

lab_down() {
    if [[ -x scripts/lab && -d .lab ]]; then
        scripts/lab down >&2 </dev/null || say 'the lab did not go down: see scripts/lab status'
    fi
}

# Molecule takes a scenario's node down itself, unless it was stopped.
scenarios_down() {
    local scenario
    [[ -n ${STOPPED:-} ]] || return 0
    for scenario in $(molecule_scenarios); do
        python -m hoster_lab.scenario destroy "$scenario"
    done
}
