#!/usr/bin/env bash
# Install Debian packages: install-debian.sh "what for" package...
#
# Debian starts some services (Orthanc, Redis, PostgreSQL) as soon as they are
# installed. The tests start their own on free ports, so those that this call
# brought are kept from starting.
set -euo pipefail

purpose=$1
shift

fail() {
  echo "Missing $purpose: $*. Install the Debian packages by hand: apt-get install $packages" >&2
  exit 1
}

packages=$*
command -v apt-get >/dev/null || fail "this machine has no apt-get"
as_root=()
if [[ $(id -u) -ne 0 ]]; then
  command -v sudo >/dev/null || fail "neither root nor sudo is at hand"
  as_root=(sudo)
fi

absent=()
for package in "$@"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || absent+=("$package")
done
[[ ${#absent[@]} -gt 0 ]] || exit 0

echo "Installing Debian packages $purpose: ${absent[*]}"

# Policy of Debian's invoke-rc.d: 101 forbids the start. A policy of the machine's own is left as it is.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi

log=$(mktemp)
quietly() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || { cat "$log" >&2; fail "$* failed"; }
}
quietly apt-get update
quietly apt-get install --yes --no-install-recommends "${absent[@]}"
rm -f "$log"
