# shellcheck shell=bash
# The parts of scripts/test: each runs to its end, its outcome goes into a report.

PART_LIMIT=45m # a part that hangs becomes a failure, not a night

start_report() {
    REPORT=$(mktemp -d)
    export REPORT
}

# The table, and the line that sums it up; exits non-zero where something failed.
end_report() {
    local code=0
    python "$HOSTER_ROOT/scripts/lib/report.py" "$REPORT" || code=$?
    rm -rf "$REPORT"
    exit "$code"
}

# One line of the report: name, exit code or "skipped", seconds, reason, JUnit file.
record() {
    printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "${4:-}" "${5:-}" >>"$REPORT/parts.tsv"
}

skip() {
    record "$1" skipped 0 "$2"
}

run_part() {
    local began=$SECONDS
    say "$1"
    code=0
    timeout --kill-after=60s "$PART_LIMIT" "${@:2}" </dev/null || code=$?
    seconds=$((SECONDS - began))
}

# A command that counts as one test.
part() {
    local code seconds
    run_part "$@"
    record "$1" "$code" "$seconds"
}

# pytest counts its tests itself.
part_pytest() {
    local code seconds junit
    junit="$REPORT/${1// /-}.xml"
    run_part "$1" pytest --junitxml="$junit" --durations=10 "${@:2}"
    record "$1" "$code" "$seconds" '' "$junit"
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

any_file() {
    [[ -n $(tracked "$@" | head -n 1) ]]
}

molecule_scenarios() {
    tracked 'molecule/*/molecule.yml' | cut -d/ -f2
}

lab_down() {
    if [[ -x scripts/lab && -d .lab ]]; then
        scripts/lab down >&2 </dev/null || say 'the lab did not go down: see scripts/lab status'
    fi
}
