# shellcheck shell=bash
# What the scripts share: where things are, progress, packages, Debian sources.
# Source it; it changes nothing by itself.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

set -euo pipefail

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$TOP/build
JOBS=$(nproc)
export LC_ALL=C.UTF-8
mkdir -p "$BUILD/log"

say()  { printf '%s\n' "$*" >&2; }
die()  { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# run_logged NAME CMD...: run CMD with its output in build/log/NAME.log and a
# line of progress every 15 s; where it fails, show the end of the log.
run_logged() {
    local name=$1 log=$BUILD/log/$1.log start=$SECONDS pid rc=0
    shift
    say "- $name ..."
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    # The command is ours to end when we are interrupted.
    trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        local i
        for i in $(seq 75); do
            kill -0 "$pid" 2>/dev/null || break 2
            sleep 0.2
        done
        say "  $name: $((SECONDS - start)) s: $(tail -n 1 "$log" | tr '\r' '\n' |
            tail -n 1 | cut -c 1-70)"
    done
    wait "$pid" || rc=$?
    trap - INT TERM
    if [ "$rc" != 0 ]; then
        tail -n 25 "$log" >&2
        die "$name failed (exit status $rc); the whole log is ${log#"$TOP"/}"
    fi
}

# show_failure LOG: what may tell why, from the end of the log of a test program
show_failure() {
    grep -v '^ok \|^# Start\|^# End\|^# starting' "$1" | tail -n 25 |
        cut -c 1-1000 | sed 's/^/  | /'
}

# case_of NAME CMD...: one test that is a command. Say how it went and count it in
# $passed or $failed; its output is in build/log/, by its name. Returns whether
# it passed.
case_of() {
    local name=$1 log=$BUILD/log/${1//\//-}.log
    shift
    # In braces, so that the shell's word on a signal goes to the log too
    if { "$@"; } >"$log" 2>&1 </dev/null; then
        echo "ok $name"
        passed=$((passed + 1))
    else
        echo "not ok $name: the whole log is ${log#"$TOP"/}"
        failed=$((failed + 1))
        show_failure "$log"
        return 1
    fi
}

# need_packages PKG...: install what is missing with apt-get; without root,
# name it and stop.
need_packages() {
    local pkg missing=()
    for pkg in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$pkg" 2>/dev/null)" = installed ] ||
            missing+=("$pkg")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] ||
        die "packages are missing and only root can install them: ${missing[*]}"
    # Lists that are missing or old name files that the archive has not: the
    # first try says so, and the second has new ones.
    (run_logged apt-install apt_install "${missing[@]}") || {
        run_logged apt-update apt-get update
        run_logged apt-install apt_install "${missing[@]}"
    }
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@"
}

# private_apt [again]: make build/apt/, an apt configuration of our own with the
# suites that the machine's own archive also serves; nothing under /etc/apt
# changes. "again" gets new lists.
private_apt() {
    local dir=$BUILD/apt codename main security suite key=
    [ ! -e "$dir/ready" ] || [ $# -gt 0 ] || return 0
    say "- private apt configuration ..."
    rm -rf "$dir"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/src"
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    main=$(archive_of "$codename")
    [ -n "$main" ] || die "apt knows no archive for $codename: see apt-get indextargets"
    security=$(archive_of "$codename-security")
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$key" ] && key="[signed-by=$key] " || key=
    {
        echo "deb $key$main $codename-backports main"
        for suite in "$codename-backports" trixie trixie-updates sid; do
            echo "deb-src $key$main $suite main"
        done
        [ -z "$security" ] || echo "deb-src $key$security trixie-security main"
    } >"$dir/sources.list"
    cat >"$dir/apt.conf" <<EOF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$dir/lists";
Dir::Cache "$dir/cache";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
    # A suite that this archive does not serve is no failure here: what is
    # missing for it shows where it is asked for.
    run_logged apt-update-private sh -c "apt-get -c '$dir/apt.conf' update || true"
    ls "$dir"/lists/*Sources* >/dev/null 2>&1 ||
        die "no list of sources could be had; see build/log/apt-update-private.log"
    touch "$dir/ready"
}

# archive_of SUITE: the address from which this machine gets SUITE.
archive_of() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | awk -v s="$1" '$2 == s && $3 == "main" { print $1; exit }'
}

# fetch_source PACKAGE SERIES DIR: unpack the newest source package of that
# upstream series that the archive still has into DIR, with Debian's patches
# (upstream's tree does not configure without), and leave its version in DIR.version.
fetch_source() {
    local package=$1 series=$2 dir=$3 lists version versions=
    for lists in kept new; do
        private_apt $([ $lists = kept ] || echo again)
        versions=$(apt-cache -c "$BUILD/apt/apt.conf" showsrc "$package" |
            awk '/^Version:/ { print $2 }' | sort -u |
            awk -v s="$series" '{ v = $1; sub(/^[0-9]+:/, "", v);
                                  if (v == s || index(v, s ".") == 1 || index(v, s "+") == 1)
                                      print $1 }' |
            sort -rV)
        for version in $versions; do
            say "- source of $package $version ..."
            if download_source "$package" "$version"; then
                rm -rf "$dir"
                run_logged "unpack-$package-$series" dpkg-source --no-check --no-copy \
                    -x "$BUILD/apt/src/${package}_${version#*:}.dsc" "$dir"
                echo "$version" >"$dir.version"
                return 0
            fi
            say "  it can't be had; build/log/source-$package-${version#*:}.log says why"
        done
    done
    die "the archive has no source of $package $series; tried: ${versions:-none is listed}"
}

download_source() {
    (cd "$BUILD/apt/src" && apt-get -c "$BUILD/apt/apt.conf" source -q --download-only \
        "$1=$2") >"$BUILD/log/source-$1-${2#*:}.log" 2>&1
}

# ----------------------------------------------------------------------
# A QEMU tree: build/qemu-10.0, build/qemu-10.2 or the user's own

QEMU_PACKAGES=(git gcc libc6-dev pkg-config ninja-build flex bison ccache dpkg-dev
    python3 python3-venv libglib2.0-dev libpixman-1-dev libfdt-dev zlib1g-dev
    seabios qemu-system-data ipxe-qemu)
QEMU_CONFIGURE=(--python=/usr/bin/python3 --target-list=x86_64-softmmu
    --without-default-features --enable-tcg --disable-docs --disable-install-blobs
    --enable-fdt=system --enable-pixman
    --firmwarepath=/usr/share/seabios:/usr/share/qemu:/usr/lib/ipxe/qemu)

# setup_packages: what a build of QEMU needs, with a meson that is new enough
# (Debian 12's is not) unpacked in build/meson and not installed.
setup_packages() {
    need_packages "${QEMU_PACKAGES[@]}"
    if [ ! -e "$BUILD/meson/ready" ]; then
        private_apt
        (run_logged meson download_meson) || {
            private_apt again
            run_logged meson download_meson
        }
        rm -rf "$BUILD/meson"
        dpkg-deb -x "$BUILD"/apt/cache/meson_*.deb "$BUILD/meson"
        touch "$BUILD/meson/ready"
    fi
    export PYTHONPATH=$BUILD/meson/usr/lib/python3/dist-packages
    # A build in another clone of this repository finds what this one compiled.
    export PATH=/usr/lib/ccache:$PATH CCACHE_BASEDIR=$TOP CCACHE_NOHASHDIR=1
}

download_meson() {
    rm -f "$BUILD"/apt/cache/meson_*.deb
    (cd "$BUILD/apt/cache" && apt-get -q -c "$BUILD/apt/apt.conf" download \
        -o APT::Sandbox::User=root \
        "meson/$(. /etc/os-release && echo "$VERSION_CODENAME")-backports")
}

# patch_series VERSION: which of our patch sets fits that QEMU: the newest that
# is not newer than it.
patch_series() {
    local best=10.0 s
    for s in 10.0 10.2; do
        [ "$(printf '%s\n' "$s" "$1" | sort -V | head -n 1)" = "$s" ] && best=$s
    done
    echo "$best"
}

# list_patches SERIES: the patches, in order. One in patches/SERIES/ stands in
# for one of the same name in patches/.
list_patches() {
    local name
    for name in $(cd "$TOP/patches" && find . -path './*.patch' \
            \( -path "./$1/*" -o -not -path './*/*' \) -printf '%f\n' | sort -u); do
        [ -e "$TOP/patches/$1/$name" ] && echo "$TOP/patches/$1/$name" ||
            echo "$TOP/patches/$name"
    done
}

# overlay_files: the new files, by the path that they have in a QEMU tree.
overlay_files() {
    (cd "$TOP" && find hw include/hw docs/system docs/specs tests/qtest tests/unit \
        -type f -not -name run -not -name '.*' -not -name '*~' 2>/dev/null | sort)
}

# upstream_compat FILE: hw/core/machine.c as it has to be upstream. There
# descriptors are off in all types that were released without them, so the entry
# is in the newest list that the tree has; ours have them from the 10.0 types on.
upstream_compat() {
    awk '/"port-descriptors"/ { entry = $0; next }
         { line[++n] = $0 }
         /^GlobalProperty hw_compat_/ && !list { list = n }
         /^};/ && list && !end { end = n }
         END {
             for (i = 1; i <= n; i++) {
                 if (entry && i == end)
                     print entry
                 print line[i]
             }
         }' "$1"
}

tree_git() {
    git -C "$1" -c user.name=setup -c user.email=setup@localhost \
        -c commit.gpgsign=false -c core.autocrlf=false "${@:2}"
}

# qemu_source TREE SERIES: have TREE, which is made if it is ours, be the source
# with our patches and new files
qemu_source() {
    local tree=$1 series=$2
    [ "$tree" != "$BUILD/qemu-$series" ] || [ -e "$tree.version" ] ||
        fetch_source qemu "$series" "$tree"
    qemu_repository "$tree"
    qemu_patches "$tree" "$series"
    qemu_overlay "$tree"
}

# qemu_repository TREE: have TREE be a git repository with a tag "pristine".
qemu_repository() {
    local tree=$1
    ! tree_git "$tree" rev-parse -q --verify refs/tags/pristine >/dev/null 2>&1 ||
        [ ! -e "$tree/.git" ] || return 0
    say "- git repository in ${tree##*/} ..."
    if [ ! -e "$tree/.git" ] || ! tree_git "$tree" rev-parse -q --verify HEAD >/dev/null; then
        # One without a commit is ours, from a run that was interrupted.
        rm -rf "$tree/.git"
        tree_git "$tree" init -q
        tree_git "$tree" add -A -f .
        tree_git "$tree" commit -q -m "The source as it came"
    fi
    tree_git "$tree" tag pristine
}

# qemu_patches TREE SERIES: have our patches be the commits after "pristine".
# What somebody committed or changed there by hand is never thrown away. The
# stamp says which patches led to which commit, or that they are being applied.
qemu_patches() {
    local tree=$1 series=$2 stamp=$1/.git/desc-patches sum head patches=()
    mapfile -t patches < <(list_patches "$series")
    sum=$(patches_sum "$series")
    head=$(tree_git "$tree" rev-parse HEAD)
    [ "$(cat "$stamp" 2>/dev/null)" != "$sum $head" ] || return 0
    case $(cat "$stamp" 2>/dev/null) in
    applying) ;;
    *" $head"|"")
        [ -e "$stamp" ] || [ "$head" = "$(tree_git "$tree" rev-parse pristine)" ] ||
            die "$tree has commits after 'pristine': move that tag to where" \
                "the patches are to go, with 'git -C $tree tag -f pristine'"
        [ -z "$(tree_git "$tree" status --porcelain -uno)" ] ||
            die "$tree has uncommitted changes: commit them and run" \
                "'scripts/refresh-patches $series', or drop them" ;;
    *)  die "$tree has commits that are not in patches/: keep them with" \
            "'scripts/refresh-patches $series', or drop them with" \
            "'git -C $tree reset --hard pristine && rm $stamp'" ;;
    esac
    say "- patches onto ${tree##*/} ..."
    echo applying >"$stamp"
    tree_git "$tree" am --quit >/dev/null 2>&1 || true
    tree_git "$tree" reset -q --hard pristine
    if ! tree_git "$tree" am -q --keep-non-patch "${patches[@]}" >"$BUILD/log/am.log" 2>&1; then
        tree_git "$tree" am --abort || true
        tail -n 5 "$BUILD/log/am.log" >&2
        die "a patch does not apply to $tree; see build/log/am.log"
    fi
    echo "$sum $(tree_git "$tree" rev-parse HEAD)" >"$stamp"
}

# patches_sum SERIES: what tells one set of patches from another
patches_sum() {
    list_patches "$1" | xargs -d '\n' cat | sha256sum | cut -c 1-16
}

# tree_exclude TREE PATH...: have git take no notice of these.
tree_exclude() {
    local exclude path
    exclude=$(tree_git "$1" rev-parse --git-path info/exclude)
    [[ $exclude = /* ]] || exclude=$1/$exclude
    mkdir -p "$(dirname "$exclude")"
    for path in "${@:2}"; do
        grep -qxF "$path" "$exclude" 2>/dev/null || echo "$path" >>"$exclude"
    done
}

# qemu_overlay TREE: have every new file be a link in TREE.
qemu_overlay() {
    local tree=$1 file files
    mapfile -t files < <(overlay_files)
    # A link to a file that is gone would break the build: drop those.
    find "$tree/hw/char" "$tree/include/hw/virtio" "$tree/docs/system/devices" \
        "$tree/docs/specs" "$tree/tests/qtest" "$tree/tests/unit" \
        -xtype l -delete 2>/dev/null || true
    for file in "${files[@]}"; do
        mkdir -p "$tree/$(dirname "$file")"
        [ "$(readlink "$tree/$file")" = "$TOP/$file" ] ||
            ln -sfn "$TOP/$file" "$tree/$file"
    done
    tree_exclude "$tree" "${files[@]/#//}" /build/
}

# qemu_configure TREE DIR OPTION...: configure TREE in its directory DIR, once.
qemu_configure() {
    local tree=$1 dir=$1/$2 name=${1##*/}${2#build} options="${*:3} $TOP"
    [ "$(cat "$dir/desc-configured" 2>/dev/null)" != "$options" ] || return 0
    rm -rf "$dir"
    mkdir "$dir"
    run_logged "configure-$name" \
        sh -c 'cd "$1" && shift && ../configure "$@"' sh "$dir" "${@:3}"
    # In its build directory QEMU looks for every path below qemu-bundle/.
    mkdir -p "$dir"/qemu-bundle/usr/{share,lib/ipxe}
    ln -sfn /usr/share/seabios /usr/share/qemu "$dir/qemu-bundle/usr/share/"
    ln -sfn /usr/lib/ipxe/qemu "$dir/qemu-bundle/usr/lib/ipxe/"
    # ninja, run by hand, finds meson without our PYTHONPATH.
    echo "$PYTHONPATH" >"$(echo "$dir"/pyvenv/lib/python3*/site-packages)/meson.pth"
    echo "$options" >"$dir/desc-configured"
}

# qemu_build TREE: the emulator and all tests.
qemu_build() {
    qemu_configure "$1" build "${QEMU_CONFIGURE[@]}"
    run_logged "build-${1##*/}" ninja -C "$1/build"
}

# qemu_targets TREE: what the qtests need of a big-endian machine and of one
# with virtio-mmio, in TREE/build-targets, with hardly a device but ours.
qemu_targets() {
    local tree=$1 file
    local ppc64=configs/devices/ppc64-softmmu/virtio-serial.mak
    local arm=configs/devices/arm-softmmu/virtio-serial.mak
    printf 'CONFIG_%s=y\n' PSERIES VIRTIO_PCI VIRTIO_SERIAL >"$tree/$ppc64.new"
    printf 'CONFIG_%s=y\n' ARM_VIRT VIRTIO_SERIAL >"$tree/$arm.new"
    for file in "$ppc64" "$arm"; do
        # Meson configures again where this changes: leave it if it has not.
        cmp -s "$tree/$file.new" "$tree/$file" && rm "$tree/$file.new" ||
            mv "$tree/$file.new" "$tree/$file"
    done
    tree_exclude "$tree" "/$ppc64" "/$arm" /build-targets/
    qemu_configure "$tree" build-targets "${QEMU_CONFIGURE[@]}" \
        --target-list=ppc64-softmmu,arm-softmmu --without-default-devices \
        --with-devices-ppc64=virtio-serial --with-devices-arm=virtio-serial
    run_logged "build-${tree##*/}-targets" ninja -C "$tree/build-targets" \
        qemu-system-ppc64 qemu-system-arm tests/qtest/qos-test
}

# qemu_tls TREE: what the tests of character devices need where these can use
# TLS, in TREE/build-tls.
qemu_tls() {
    local tree=$1
    need_packages libgnutls28-dev openssl
    tree_exclude "$tree" /build-tls/
    qemu_configure "$tree" build-tls "${QEMU_CONFIGURE[@]}" --enable-gnutls
    run_logged "build-${tree##*/}-tls" ninja -C "$tree/build-tls" \
        qemu-system-x86_64 tests/qtest/qos-test \
        tests/unit/test-char tests/unit/test-char-lend
}

# qemu_stock SERIES: build the same source without our changes, with the same
# options, in build/stock-SERIES, and print the emulator's path.
qemu_stock() {
    local tree=$BUILD/stock-$1 ours=$BUILD/qemu-$1
    "$TOP/scripts/setup" "$1" >/dev/null
    setup_packages
    [ -e "$tree/VERSION" ] && [ -e "$tree/.git" ] || {
        rm -rf "$tree"
        tree_git "$ours" worktree prune
        tree_git "$ours" worktree add -q --detach "$tree" pristine
    }
    qemu_build "$tree"
    echo "$tree/build/qemu-system-x86_64"
}
