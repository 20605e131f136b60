# shellcheck shell=bash
# Go, and what is built with it: programs whose modules are pinned in tools/.

TOOLS_BIN="$HOSTER_CACHE/tools" # links to those in use

# A Go that knows go.mod's `toolchain` rules fetches a newer one of itself where it must.
find_go() {
    local go
    while read -r go; do
        [[ "$("$go" env GOVERSION 2>/dev/null)" =~ ^go1\.([0-9]+) ]] &&
            ((BASH_REMATCH[1] >= 21)) && echo "$go" && return
    done < <(type -aP go || true; compgen -G '/usr/local/go/bin/go'; compgen -G '/usr/lib/go-*/bin/go')
    return 1
}

# Debian's and Ubuntu's own Go, where it is new enough.
apt_go() {
    local candidate
    candidate=$(apt-cache policy golang-go | awk '$1 == "Candidate:" { print $2 }')
    [[ ${candidate#*:} =~ ^1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

ensure_go() {
    find_go >/dev/null && return
    if apt_go && is_root; then
        act "Installing packages: golang-go" install_packages golang-go
        return
    fi
    return 1
}

# Names a build by what goes into it, so that a change of any of it makes another.
digest_of_modules() {
    local digest
    digest=$(cd "$HOSTER_ROOT/tools" && for tool in "$@"; do cat "$tool"/go.{mod,sum}; done | sha256sum)
    echo "${digest:0:16}"
}

# Without C, as their own releases: the result runs on any system, and a compiler that is being
# installed at this moment does no harm.
go_build() {
    local go=$1 tool=$2 target=$3 package=$4
    shift 4
    CGO_ENABLED=0 GOTOOLCHAIN=${GOTOOLCHAIN:-auto} \
        "$go" -C "$HOSTER_ROOT/tools/$tool" build -trimpath -buildvcs=false "$@" -o "$target" "$package"
}

# What only tests use. One on PATH serves as well; without Go, what needs it is skipped, and said.
ensure_tool() {
    local tool=$1 package target
    package=$(awk '$1 == "tool" { print $2 }' "$HOSTER_ROOT/tools/$tool/go.mod")
    target="$HOSTER_CACHE/$tool-$(digest_of_modules "$tool")"
    if [[ ! -x $target ]]; then
        type -P "$tool" >/dev/null && return
        ensure_go || { say "no Go 1.21 or newer: what needs $tool will be skipped"; return; }
        act "Building $tool (once)" build_tool "$tool" "$target" "$package"
    fi
    dry_run || { mkdir -p "$TOOLS_BIN" && ln -sfn "$target" "$TOOLS_BIN/$tool"; }
}

# Built beside its place, then renamed: nobody ever starts half of it.
build_tool() {
    go_build "$(find_go)" "$1" "$2.$$" "$3" -ldflags '-s -w'
    mv "$2.$$" "$2"
}
