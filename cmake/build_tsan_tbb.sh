#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: cmake/build_tsan_tbb.sh PREFIX
# Builds the distribution's own oneTBB with ThreadSanitizer into PREFIX. The packaged library is not
# instrumented, so that every hand-over between its threads would look like a race.
set -euo pipefail
prefix=$(realpath -m "${1:?"usage: $0 PREFIX"}")
[[ ! -e $prefix/lib/cmake/TBB/TBBConfig.cmake ]] || exit 0

"$(dirname "${BASH_SOURCE[0]}")/install_packages.sh" g++ cmake ninja-build dpkg-dev xz-utils
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

# The machine's own package sources, with source packages switched on, in a state folder of our own.
mkdir -p "$work/parts" "$work/lists/partial" "$work/source"
for file in /etc/apt/sources.list.d/*.sources; do
    [[ ! -e $file ]] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$work/parts/${file##*/}"
done
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ ! -e $file ]] || sed -n 's/^deb /deb-src /p' "$file" >"$work/parts/${file##*/}.list"
done
apt_options=(-o APT::Sandbox::User=root -qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/parts"
             -o "Dir::State::Lists=$work/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=)

echo "Building oneTBB with ThreadSanitizer ..."
apt-get "${apt_options[@]}" update
(cd "$work/source" && apt-get "${apt_options[@]}" source onetbb >/dev/null)
cmake -S "$work"/source/onetbb-*/ -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo \
    -DCMAKE_CXX_COMPILER=g++ -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
    -DTBB_SANITIZE=thread -DTBB_TEST=OFF -DTBB_STRICT=OFF -DTBBMALLOC_BUILD=OFF >/dev/null
cmake --build "$work/build" --target install >/dev/null
