#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: pkg_config.sh COMPILER PREFIX VERSION FOLDER
# Builds consumer/ in FOLDER from what pkg-config says of the grove in PREFIX, moved elsewhere.
set -euo pipefail
compiler=$1 prefix=$2 version=$3 folder=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf "$folder" && mkdir -p "$folder"
cp -r "$prefix" "$folder/moved prefix"
export PKG_CONFIG_PATH="$folder/moved prefix/share/pkgconfig"

found=$(pkg-config --modversion grove)
[[ $found == "$version" ]] || { echo "expected version $version, got $found" >&2 && exit 1; }
eval "flags=($(pkg-config --cflags --libs grove))"
for unit in main learn; do
    "$compiler" -std=c++20 -c "$here/consumer/$unit.cpp" -o "$folder/$unit.o" "${flags[@]}"
done
"$compiler" "$folder/main.o" "$folder/learn.o" -o "$folder/consumer" "${flags[@]}"
"$folder/consumer"
