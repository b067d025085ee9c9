#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: cmake/install_packages.sh PACKAGE...
# Installs those Debian or Ubuntu packages that are missing; quiet where none is.
set -euo pipefail

if ! command -v apt-get >/dev/null; then
    echo "No apt-get here: taking for granted what these packages hold: $*" >&2
    exit 0
fi

missing=()
for package; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [[ $status == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "These packages are missing, and without sudo only root can install them:" >&2
        echo "apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "Installing with apt-get: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
