# shellcheck shell=bash
# Pulumi: the one on PATH, else the official installer, else a build of the modules pinned in tools/.

PULUMI_VERSION=3.259.0
PULUMI_LANGUAGE_VERSION=3.79.0 # the last that is in the sdk module; see docs/decisions/0002
PULUMI_INSTALLER=https://get.pulumi.com
PULUMI_BIN="$HOSTER_CACHE/bin" # a link to the one in use

# A version that the pinned SDK speaks with: same major, at least the same minor.
pulumi_fits() {
    local version
    version=$(PULUMI_SKIP_UPDATE_CHECK=1 "$1" version 2>/dev/null) || return 1
    [[ ${version#v} =~ ^3\.([0-9]+)\. ]] && ((BASH_REMATCH[1] >= 259))
}

# The first fitting one on PATH that is not our own and has its language host beside it.
pulumi_on_path() {
    local path
    while read -r path; do
        [[ $path != "$HOSTER_CACHE"/* && -x ${path%/*}/pulumi-language-python ]] || continue
        pulumi_fits "$path" && echo "$path" && return
    done < <(type -aP pulumi || true)
    return 1
}

pulumi_build_name() {
    echo "pulumi-$PULUMI_VERSION-$(digest_of_modules pulumi pulumi-language-python)"
}

installer_reachable() {
    curl --silent --fail --location --max-time 3 --output /dev/null "$PULUMI_INSTALLER"
}

# The installer puts its programs into <root>/bin and leaves the person's shell files alone.
install_official() {
    curl --silent --show-error --fail --location --max-time 60 --output "$1/install.sh" \
        "$PULUMI_INSTALLER"
    sh "$1/install.sh" --version "$PULUMI_VERSION" --install-root "$1" --no-edit-path
    rm "$1/install.sh"
}

build_from_source() {
    local go sdk bin="$1/bin"
    go=$(find_go)
    mkdir "$bin"
    build_pulumi pulumi "v$PULUMI_VERSION" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
    build_pulumi pulumi-language-python "v$PULUMI_LANGUAGE_VERSION" \
        github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python
    # The language host looks for these two beside itself.
    sdk=$("$go" -C "$HOSTER_ROOT/tools/pulumi" list -m -f '{{.Dir}}' \
        github.com/pulumi/pulumi/sdk/v3)
    install -m 755 "$sdk/python/cmd/pulumi-language-python-exec" "$bin/"
    install -m 755 "$sdk/python/dist/pulumi-resource-pulumi-python" "$bin/"
}

# The linker writes the version in, without which `pulumi version` would say nothing.
build_pulumi() {
    local tool=$1 version=$2
    local variable=github.com/pulumi/pulumi/sdk/v3/go/common/version.Version
    go_build "$go" "$tool" "$bin/$tool" "$3" -ldflags "-s -w -X $variable=$version"
}

# Into a folder beside the final one, then renamed: nobody ever sees half a Pulumi.
install_pulumi() {
    local how=$1 target=$2 fresh
    rm -rf "$HOSTER_CACHE"/fresh-* # of one that was cut
    fresh=$(mktemp -d "$HOSTER_CACHE/fresh-XXXXXX")
    chmod 755 "$fresh"
    ("$how" "$fresh")
    pulumi_fits "$fresh/bin/pulumi" || die "the Pulumi that was just installed does not run."
    rm -rf "$target"
    mv "$fresh" "$target"
}

use_pulumi() {
    ln -sfn "$1" "$PULUMI_BIN"
}

ensure_pulumi() {
    local target found
    if found=$(pulumi_on_path); then
        use_pulumi "${found%/*}"
        return
    fi
    target="$HOSTER_CACHE/$(pulumi_build_name)"
    exec 7>"$HOSTER_CACHE/pulumi.lock"
    flock 7
    if [[ ! -x $target/bin/pulumi ]]; then
        if installer_reachable; then
            act "Installing Pulumi $PULUMI_VERSION by its installer" \
                install_pulumi install_official "$target"
        else
            ensure_go || die "Pulumi is not here: no pulumi $PULUMI_VERSION on PATH, its installer" \
                "at $PULUMI_INSTALLER cannot be reached, and building it needs Go 1.21 or newer on" \
                "PATH: install one of the three."
            act "Building Pulumi $PULUMI_VERSION (4 min on two cores; once)" \
                install_pulumi build_from_source "$target"
        fi
    fi
    dry_run || use_pulumi "$target/bin"
}
