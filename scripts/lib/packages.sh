# shellcheck shell=bash
# System packages: only those that are missing, only on systems whose package names we know.

OS_RELEASE=${OS_RELEASE:-/etc/os-release}
PACKAGE_LIST="$HOSTER_ROOT/scripts/lib/packages.txt"

check_system() {
    local ID='' VERSION_ID='' PRETTY_NAME='an unknown system'
    # shellcheck source=/dev/null
    [[ -r $OS_RELEASE ]] && source "$OS_RELEASE"
    case "$ID" in
        debian) ((${VERSION_ID:-999} >= 12)) && return ;; # testing carries no number
        ubuntu) ((${VERSION_ID%%.*} >= 24)) && return ;;
    esac
    die "this is $PRETTY_NAME, and the packages are only known for Debian 12, Ubuntu 24.04 and" \
        "newer: use one of those, for example in a virtual machine."
}

# The packages of a purpose, and of those it stands on.
packages_for() {
    local purposes
    case "$1" in
        run) purposes='run' ;;
        lab) purposes='run lab' ;;
        test) purposes='run lab test' ;;
    esac
    awk -v purposes="$purposes" \
        'BEGIN { split(purposes, p, " "); for (i in p) want[p[i]] } $1 in want { print $2 }' \
        "$PACKAGE_LIST"
}

is_root() {
    ((EUID == 0))
}

missing_packages() {
    local wanted installed
    wanted=$(packages_for "$1" | sort -u)
    # shellcheck disable=SC2086 # a list of words
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null |
        awk '$1 == "installed" { print $2 }' | sort -u || true)
    comm -23 <(echo "$wanted") <(echo "$installed") | xargs
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    dpkg --configure -a || true # what an installation that was cut left behind
    apt_get update
    apt_get install --fix-broken # ... and what that lacks
    # shellcheck disable=SC2086 # a list of words
    apt_get install --no-install-recommends $1
}

apt_get() {
    apt-get --quiet=2 --yes -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

ensure_packages() {
    local missing
    missing=$(missing_packages "$1")
    [[ -z $missing ]] && return
    is_root || dry_run || die "system packages are missing; as root, run:" \
        "apt-get update && apt-get install --no-install-recommends $missing"
    act "Installing packages: $missing" install_packages "$missing"
}
