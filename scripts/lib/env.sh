# shellcheck shell=bash
# Where things are. To have the toolkit's commands on PATH: source scripts/lib/env.sh

HOSTER_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/../.." && pwd)
HOSTER_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/hoster"

# The venv first: the Python language host takes the first python3 that it finds on PATH.
case ":$PATH:" in
    ":$HOSTER_ROOT/.venv/bin:$HOSTER_CACHE/bin:$HOSTER_CACHE/tools:"*) ;;
    *) PATH="$HOSTER_ROOT/.venv/bin:$HOSTER_CACHE/bin:$HOSTER_CACHE/tools:$PATH" ;;
esac
export PATH
export PULUMI_SKIP_UPDATE_CHECK=1
export PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=1
