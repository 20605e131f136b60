# shellcheck shell=bash
# The virtual environment: .venv/ in the checkout, made again only when what it is made of changes.

VENV="$HOSTER_ROOT/.venv"
VENV_STAMP="$VENV/.made-of"

# Runs (a version manager's shim may not), is new enough, can make a venv, can build libvirt-python.
python_works() {
    "$1" -c '
import ensurepip, pathlib, sys, sysconfig, venv
headers = pathlib.Path(sysconfig.get_paths()["include"], "Python.h")
sys.exit(sys.version_info < (3, 11) or not headers.exists())
' >/dev/null 2>&1
}

# The newest of the versions that the tests run on, then any other that is new enough.
find_python() {
    local name path
    for name in python3.13 python3.12 python3.11 python3.14 python3; do
        while read -r path; do
            python_works "$path" && echo "$path" && return
        done < <(type -aP "$name" || true)
    done
    die "no usable Python: 3.11 or newer is needed, with venv and headers" \
        "(apt install python3-venv python3-dev)."
}

venv_is_made_of() {
    (cd "$HOSTER_ROOT" && sha256sum requirements.txt constraints.txt pyproject.toml && pwd)
}

venv_is_current() {
    [[ -r $VENV_STAMP && "$(venv_is_made_of)" == "$(<"$VENV_STAMP")" ]] &&
        "$VENV/bin/python" -c '' 2>/dev/null
}

# uv reads no pip configuration: hand it over, so that one mirror or certificate set-up serves both.
share_pip_settings() {
    local pip="$VENV/bin/pip" value
    value=${PIP_INDEX_URL:-$("$pip" config get global.index-url 2>/dev/null || true)}
    [[ -n $value ]] && export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$value}"
    value=${PIP_FIND_LINKS:-$("$pip" config get global.find-links 2>/dev/null || true)}
    [[ -n $value ]] && export UV_FIND_LINKS="${UV_FIND_LINKS:-$value}"
    value=${PIP_CERT:-$("$pip" config get global.cert 2>/dev/null || true)}
    [[ -n $value ]] && export SSL_CERT_FILE="${SSL_CERT_FILE:-$value}"
    return 0
}

make_venv() {
    "$VENV/bin/python" -c 'import pip' 2>/dev/null || "$(find_python)" -m venv --clear "$VENV"
    ensure_uv
    # Everything is pinned: what uv's cache has is what the index would give.
    install_requirements --offline 2>/dev/null || install_requirements
    venv_is_made_of >"$VENV_STAMP"
}

ensure_uv() {
    local pin
    pin=$(grep -oE '^uv==[^ ]+' "$HOSTER_ROOT/requirements.txt")
    [[ "$("$VENV/bin/uv" --version 2>/dev/null)" == "uv ${pin#uv==}"* ]] ||
        "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$pin"
    share_pip_settings
}

# Compiled here, once: every start of the command line, the program and the provider is quicker.
install_requirements() {
    "$VENV/bin/uv" pip install "$@" --compile-bytecode --python "$VENV/bin/python" \
        -r "$HOSTER_ROOT/requirements.txt" -c "$HOSTER_ROOT/constraints.txt" -e "$HOSTER_ROOT"
}

ensure_venv() {
    venv_is_current && return
    exec 8>"$HOSTER_CACHE/venv.lock"
    flock 8
    venv_is_current && return
    act "Installing the Python packages into .venv" make_venv
}
