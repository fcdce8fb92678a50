#!/usr/bin/env bash
# The NodeManager's health script: says ERROR, so that the node takes no containers, while the sealed-shuffle server beside
# it is away or not ready. An executor that starts without its shuffle service fails.
#
# usage: health-check.sh [URL of /readyz] [seconds that the server may be away]
#
# A restart of the server must not take the node out, for YARN kills the containers of a node that it calls unhealthy.
# yarn.nodemanager.health-checker.timeout-ms must be longer than these seconds.
set -u
url=${1:-http://127.0.0.1:7338/readyz}
patience=${2:-60}

answer() {
    curl --silent --show-error --fail-with-body --max-time 5 --noproxy '*' "$url" 2>&1
}

command -v curl >/dev/null || {
    echo "ERROR health-check.sh needs curl to ask whether sealed-shuffle is ready"
    exit 0
}
until said=$(answer); do
    if ((SECONDS >= patience)); then
        echo "ERROR sealed-shuffle is not ready at $url: ${said//$'\n'/ }"
        exit 0
    fi
    sleep 1
done
