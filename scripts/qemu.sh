# shellcheck shell=bash
# The versions of QEMU, and the tree of a version, build/qemu-VERSION or the user's own:
# its source, our patches and new files in the tree, and builds. lib.sh sources this
# file.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

QEMU_CONFIGURE=(--python=/usr/bin/python3 --target-list=x86_64-softmmu
    --without-default-features --enable-tcg --disable-docs --disable-install-blobs
    --enable-fdt=system --enable-pixman
    --firmwarepath=/usr/share/seabios:/usr/share/qemu:/usr/lib/ipxe/qemu)

# The oldest meson that QEMU's configure takes
QEMU_MESON=1.5

# use_ccache: the next build takes and keeps objects. A build in another clone of this
# repository finds our objects.
use_ccache() {
    export PATH=/usr/lib/ccache:$PATH CCACHE_BASEDIR=$TOP CCACHE_NOHASHDIR=1
    # A user may have no home
    { mkdir -p "$(ccache -k cache_dir)" 2>/dev/null && [ -w "$(ccache -k cache_dir)" ]; } ||
        export CCACHE_DIR=$BUILD/ccache
}

# setup_packages: get the packages for a build of QEMU, and a meson that is new enough:
# this machine's, or another release's, which is unpacked in build/meson, not installed.
setup_packages() {
    need qemu
    use_ccache
    # A compiler that is newer than the source may have new warnings. Up to gcc 14,
    # these versions of QEMU compile without a warning.
    [ "$(gcc -dumpversion | cut -d . -f 1)" -le 14 ] ||
        [[ " ${QEMU_CONFIGURE[*]} " = *" --disable-werror "* ]] ||
        QEMU_CONFIGURE+=(--disable-werror)
    MESON_PATH=
    if ! dpkg --compare-versions "$(meson_version)" ge "$QEMU_MESON"; then
        if dpkg --compare-versions "$(meson_candidate)" ge "$QEMU_MESON" &&
                [ "$(id -u)" = 0 ]; then
            need_packages meson
        else
            [ -e "$BUILD/meson/ready" ] || unpack_meson
            MESON_PATH=$BUILD/meson/usr/lib/python3/dist-packages
            export PYTHONPATH=$MESON_PATH
        fi
    fi
}

# meson_version [DIR]: the version of the meson that QEMU's configure finds, with DIR
# searched first; nothing if there is none. configure does not use a meson in PATH.
meson_version() {
    PYTHONPATH=${1:-} /usr/bin/python3 -c \
        'import mesonbuild.coredata as c; print(c.version)' 2>/dev/null || true
}

# meson_candidate: the version of meson in this machine's archive
meson_candidate() {
    apt-cache policy meson 2>/dev/null | awk '$1 == "Candidate:" { print $2 }'
}

# unpack_meson: unpack a meson that is new enough, of another release, in build/meson
unpack_meson() {
    local release
    for release in bookworm-backports trixie; do
        if (run_logged "meson-$release" release_download "$release" \
                "$BUILD/apt/meson" meson); then
            rm -rf "$BUILD/meson"
            dpkg-deb -x "$BUILD"/apt/meson/meson_*.deb "$BUILD/meson"
            if dpkg --compare-versions \
                    "$(meson_version "$BUILD/meson/usr/lib/python3/dist-packages")" \
                    ge "$QEMU_MESON"; then
                touch "$BUILD/meson/ready"
                return 0
            fi
        else
            or_interrupted $?
        fi
    done
    die "QEMU needs meson $QEMU_MESON or newer, and none can be had: this machine's" \
        "archive has '$(meson_candidate)'"
}

# versions: the versions of QEMU for which there are patches, newest first
versions() {
    awk '$1 !~ /^#/ && NF { print $1 }' "$TOP/patches/versions"
}

# version_column VERSION COLUMN: a column of patches/versions for that version: "from",
# "source", "off" or "use"
version_column() {
    awk -v version="$1" -v name="$2" '
        $1 == "#" && $2 == "name" { for (i = 2; i <= NF; i++) column[$i] = i - 1 }
        $1 == version { print $column[name] }' "$TOP/patches/versions"
}

newest_version() {
    versions | head -n 1
}

# why_not VERSION: why the source of that version can't be had on this machine; nothing
# if it can be had, or is there
why_not() {
    local commit
    commit=$(version_column "$1" source)
    commit=${commit#git:}
    [ ! -e "$BUILD/qemu-$1.version" ] || return 0
    case $(version_column "$1" source) in
    git:*)
        if [ -z "${QEMU_GIT:-}" ]; then
            echo "QEMU's own repository: QEMU_GIT names no clone of it"
        elif [ -e "$QEMU_GIT" ] &&
                ! tree_git "$QEMU_GIT" cat-file -e "$commit^{tree}" 2>/dev/null; then
            echo "commit ${commit::12} of QEMU: QEMU_GIT='$QEMU_GIT' does not have it"
        fi ;;
    esac
}

# newest_at_hand: the newest version whose source can be had on this machine
newest_at_hand() {
    local version
    for version in $(versions); do
        [ -n "$(why_not "$version")" ] || break
    done
    echo "$version"
}

default_version() {
    local version
    for version in $(versions); do
        [ "$(version_column "$version" use)" != default ] || echo "$version"
    done
}

# is_version WORD
is_version() {
    versions | grep -qxF -- "$1"
}

# a_version: "10.2|10.0", for a line of usage
a_version() {
    versions | paste -s -d '|'
}

# version_for VERSION: the version of patches/versions whose patches fit QEMU VERSION
# best: the newest one that is not newer than VERSION, or the oldest one
version_for() {
    local version from
    for version in $(versions); do
        from=$(version_column "$version" from)
        [ "$(printf '%s\n' "$from" "$1" | sort -V | head -n 1)" != "$from" ] || break
    done
    echo "$version"
}

# patchset ARGUMENT...: scripts/patchset.py
patchset() {
    /usr/bin/python3 -B "$TOP/scripts/patchset.py" "$@"
}

# compose_patches VERSION: write the mails of that version to build/patches-VERSION, for
# "git am". The directory full/ there has the mails without the version's fix-ups.
compose_patches() {
    rm -rf "$BUILD/patches-$1"
    patchset compose "$1" "$BUILD/patches-$1"
}

# overlay_files: the new files, by their path in a QEMU tree.
overlay_files() {
    (cd "$TOP" && find hw include/hw docs/system docs/specs tests/qtest tests/unit \
        tests/functional/x86_64 -type f -not -name run -not -name '.*' -not -name '*~' 2>/dev/null | sort)
}

# upstream_compat FILE VERSION: print hw/core/machine.c as upstream needs it. Upstream,
# descriptors are off in the machine types that were released without descriptors: the
# entry is in the list of the newest of these types. In our trees descriptors are on from
# the 10.0 types on.
upstream_compat() {
    local off
    off=$(version_column "$2" off)
    awk -v list="GlobalProperty hw_compat_${off/./_}[]" '
        /"port-descriptors"/ { entry = $0; next }
        { line[++n] = $0 }
        index($0, list) == 1 { inside = 1 }
        /^};/ && inside { end = n; inside = 0 }
        END {
            for (i = 1; i <= n; i++) {
                if (i == end)
                    print entry
                print line[i]
            }
            exit !(end && entry)
        }' "$1" ||
        die "hw/core/machine.c has no list hw_compat_${off/./_}, which patches/versions names"
}

# one_version TREE FILE: print a new file as the series has it: each #if on the version of
# QEMU is decided for TREE
one_version() {
    local major minor micro
    if ! grep -q QEMU_VERSION_M "$2"; then
        cat "$2"
        return 0
    fi
    IFS=. read -r major minor micro <"$1/VERSION"
    # -x 2: that the file has changed is no failure
    unifdef -x 2 -DQEMU_VERSION_MAJOR="$major" -DQEMU_VERSION_MINOR="$minor" \
        -DQEMU_VERSION_MICRO="${micro:-0}" "$2" |
        awk '{ print } /QEMU_VERSION_M/ { bad = 1 } END { exit bad }' ||
        die "unifdef can't decide an #if of $2"
}

tree_git() {
    # Ignore all other configuration; allow root to work in a user's clone; start no
    # job in the background.
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 \
        git -C "$1" -c user.name=setup -c user.email=setup@localhost \
        -c safe.directory='*' -c gc.auto=0 -c maintenance.auto=false \
        -c advice.detachedHead=false -c init.defaultBranch=main "${@:2}"
}

# qemu_source TREE SERIES: make TREE the source with our patches and new files. If the
# tree is ours, fetch its source first.
qemu_source() {
    local tree=$1 series=$2
    if [ "$tree" = "$BUILD/qemu-$series" ] &&
            { [ ! -e "$tree.version" ] || [ ! -e "$tree/VERSION" ]; }; then
        case $(version_column "$series" source) in
        debian) fetch_source qemu "$series" "$tree" ;;
        git:*)  fetch_commit "$series" "$tree" ;;
        *)      die "patches/versions: the source of $series is none that is known" ;;
        esac
    fi
    # No other process works below build/: a lock file is left from a killed git.
    [ "${tree#"$BUILD"/}" = "$tree" ] || rm -f "$tree/.git/index.lock"
    qemu_repository "$tree"
    qemu_subprojects "$tree"
    qemu_patches "$tree" "$series"
    qemu_overlay "$tree"
}

# fetch_commit VERSION TREE: make TREE a git repository with the commit of QEMU's own
# repository that patches/versions names
fetch_commit() {
    local tree=$2 commit reason
    commit=$(version_column "$1" source)
    commit=${commit#git:}
    reason=$(why_not "$1")
    [ -z "$reason" ] || die "QEMU $1 can't be had: $reason"
    say "- QEMU's commit ${commit::12} ..."
    rm -rf "$tree" "$tree.new"
    mkdir -p "$tree.new"
    tree_git "$tree.new" init -q
    run_logged "fetch-${tree##*/}" tree_git "$tree.new" fetch -q --depth 1 "$QEMU_GIT" "$commit"
    tree_git "$tree.new" checkout -q --detach "$commit"
    tree_git "$tree.new" tag pristine
    mv "$tree.new" "$tree"
    echo "$commit" >"$tree.version"
}

# qemu_subprojects TREE: a source package has the subprojects without which QEMU is not
# built, and a commit of QEMU's repository has only files that say which ones. Take
# those from a source package that has the same file. For a tree of the user's no source
# package is fetched: QEMU's configure fetches what is missing.
qemu_subprojects() {
    local tree=$1 wrap dir version
    for wrap in "$tree"/subprojects/{keycodemapdb,berkeley-softfloat-3,berkeley-testfloat-3}.wrap; do
        dir=${wrap%.wrap}
        if [ ! -e "$wrap" ] || [ -e "$dir" ]; then
            continue
        fi
        for version in $(versions); do
            [ "$(version_column "$version" source)" = debian ] || continue
            [ -e "$BUILD/qemu-$version.version" ] || [ "${tree#"$BUILD"/}" = "$tree" ] ||
                fetch_source qemu "$version" "$BUILD/qemu-$version"
            if cmp -s "$wrap" "$BUILD/qemu-$version/subprojects/${wrap##*/}"; then
                rm -rf "$dir.new"
                cp -r "$BUILD/qemu-$version/subprojects/${dir##*/}" "$dir.new"
                mv "$dir.new" "$dir"
                break
            fi
        done
    done
}

# qemu_repository TREE: make TREE a git repository with a tag "pristine".
qemu_repository() {
    local tree=$1
    ! tree_git "$tree" rev-parse -q --verify refs/tags/pristine >/dev/null 2>&1 ||
        [ ! -e "$tree/.git" ] || return 0
    say "- git repository in ${tree##*/} ..."
    if [ ! -e "$tree/.git" ] || ! tree_git "$tree" rev-parse -q --verify HEAD >/dev/null; then
        # A repository without a commit is left from an interrupted run.
        rm -rf "$tree/.git"
        tree_git "$tree" init -q
        # Strong compression would take longer than writing the files
        tree_git "$tree" -c core.looseCompression=1 add -A -f .
        # The same commit in each clone: the mails of the series name it
        GIT_AUTHOR_DATE=2025-01-01T00:00:00Z GIT_COMMITTER_DATE=2025-01-01T00:00:00Z \
            tree_git "$tree" commit -q -m "The source as it came"
    fi
    tree_git "$tree" tag pristine
}

# qemu_patches TREE SERIES: make our patches the commits after "pristine". Commits and
# changes that somebody made there by hand are never thrown away, nor is a conflict that
# somebody has to solve. The stamp says which patches led to which commit, or that
# patches are being applied, or which patches did not fit.
qemu_patches() {
    local tree=$1 series=$2 stamp sum head
    stamp=$(patches_stamp "$tree")
    compose_patches "$series"
    sum=$(patches_sum "$series")
    head=$(tree_git "$tree" rev-parse HEAD)
    [ "$(cat "$stamp" 2>/dev/null)" != "$sum $head" ] || return 0
    case $(cat "$stamp" 2>/dev/null || echo none) in
    applying) ;;
    "conflict "*)
        ! am_stands "$tree" || die "$(how_to_go_on "$tree" "$series")"
        die "$tree: the conflict is solved. Keep the result with" \
            "'$(refresh_command "$tree" "$series")', or drop it with" \
            "'git -C $tree reset --hard pristine && rm $stamp'" ;;
    *" $head"|none)
        [ -e "$stamp" ] || [ "$head" = "$(tree_git "$tree" rev-parse pristine)" ] ||
            die "$tree has commits after 'pristine': move that tag to where" \
                "the patches are to go, with 'git -C $tree tag -f pristine'"
        [ -z "$(tree_git "$tree" status --porcelain -uno)" ] ||
            die "$tree has uncommitted changes: commit them and run" \
                "'$(refresh_command "$tree" "$series")', or drop them" ;;
    *)  die "$tree has commits that are not in patches/: keep them with" \
            "'$(refresh_command "$tree" "$series")', or drop them with" \
            "'git -C $tree reset --hard pristine && rm $stamp'" ;;
    esac
    say "- patches onto ${tree##*/} ..."
    echo applying >"$stamp"
    tree_git "$tree" am --quit >/dev/null 2>&1 || true
    tree_git "$tree" reset -q --hard pristine
    if ! am_patches "$tree" "$BUILD/patches-$series" >"$BUILD/log/am.log" 2>&1; then
        echo "conflict $sum" >"$stamp"
        tail -n 5 "$BUILD/log/am.log" >&2
        die "$(how_to_go_on "$tree" "$series")"
    fi
    echo "$sum $(tree_git "$tree" rev-parse HEAD)" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

# am_patches TREE DIR: commit the mails of DIR in TREE. A mail that does not fit is
# merged (git am -3). If the merge leaves a conflict, the conflict is left standing, and
# later mails are not applied.
am_patches() {
    local tree=$1 dir=$2 mails=() count
    mapfile -t mails < <(printf '%s\n' "$dir"/*.patch)
    while ! tree_git "$tree" am -q --keep-non-patch "${mails[@]}"; do
        count=$(tree_git "$tree" rev-list --count pristine..HEAD)
        tree_git "$tree" am --quit
        tree_git "$tree" reset -q --hard
        mails=("$dir"/*.patch)
        mails=("$dir/full/${mails[count]##*/}" "${mails[@]:count + 1}")
        # For all of them: whoever solves a conflict goes on with "git am --continue"
        lend_objects "$tree" "${mails[@]}"
        ! tree_git "$tree" am -q -3 --keep-non-patch "${mails[@]}" || break
        [ "$(tree_git "$tree" rev-list --count pristine..HEAD)" -gt "$count" ] || return 1
        # That mail is merged; a later mail does not fit
        count=$(tree_git "$tree" rev-list --count pristine..HEAD)
        tree_git "$tree" am --quit
        tree_git "$tree" reset -q --hard
        mails=("$dir"/*.patch)
        mails=("${mails[@]:count}")
    done
}

# lend_objects TREE MAIL...: give TREE the versions of files for which the MAILs were
# made, from any of our trees that has them: a merge needs these versions.
lend_objects() {
    local name other
    sed -n 's/^index \([0-9a-f]*\)\.\..*/\1/p' "${@:2}" | sort -u | while read -r name; do
        for other in "$BUILD"/qemu-*/.git; do
            ! tree_git "$1" cat-file -e "$name" 2>/dev/null || break
            ! tree_git "${other%/.git}" cat-file -e "$name" 2>/dev/null ||
                tree_git "${other%/.git}" cat-file blob "$name" |
                tree_git "$1" hash-object -w --stdin >/dev/null
        done
    done
}

# am_stands TREE: has "git am" stopped at a patch, with a conflict to solve?
am_stands() {
    local dir
    dir=$(tree_git "$1" rev-parse --git-path rebase-apply)
    [[ $dir = /* ]] || dir=$1/$dir
    [ -e "$dir/applying" ]
}

# how_to_go_on TREE SERIES: a text that says what to do when a patch does not fit
how_to_go_on() {
    local tree=$1 series=$2 file
    echo "a patch does not fit $tree: $(tree_git "$tree" am --show-current-patch=raw |
        sed -n 's/^Subject: \(\[PATCH\] \)\?//p; /^$/q' | head -n 1)"
    file=$(tree_git "$tree" diff --name-only --diff-filter=U | paste -s -d ' ')
    if [ -n "$file" ]; then
        echo "The conflict stands in: $file"
    else
        echo "No conflict stands, as git does not have the files that the patch was made" \
            "for: 'scripts/setup $(newest_version)' has them, and then this again; or apply" \
            "it by hand, from $BUILD/patches-$series/full"
    fi
    echo "Solve it there, 'git add' the files, and run 'git am --continue', until no patch" \
        "is left. Then run '$(refresh_command "$tree" "$series")'. docs/porting.md says more."
}

# refresh_command TREE SERIES: the command that writes the commits of TREE to patches/
refresh_command() {
    [ "$1" = "$BUILD/qemu-$2" ] || printf 'QEMU_SRC=%s ' "$1"
    echo "scripts/refresh-patches $2"
}

# patches_stamp TREE: the file that says which patches led to which commit
patches_stamp() {
    local path
    path=$(tree_git "$1" rev-parse --git-path desc-patches)
    [[ $path = /* ]] && echo "$path" || echo "$1/$path"
}

# patches_sum SERIES: a checksum of the patches
patches_sum() {
    cat "$BUILD/patches-$1"/*.patch | sha256sum | cut -c 1-16
}

# tree_exclude TREE PATH...: make git ignore these paths.
tree_exclude() {
    local exclude path
    exclude=$(tree_git "$1" rev-parse --git-path info/exclude)
    [[ $exclude = /* ]] || exclude=$1/$exclude
    mkdir -p "$(dirname "$exclude")"
    for path in "${@:2}"; do
        grep -qxF "$path" "$exclude" 2>/dev/null || echo "$path" >>"$exclude"
    done
}

# qemu_overlay TREE: make a link in TREE for every new file.
qemu_overlay() {
    local tree=$1 file files
    mapfile -t files < <(overlay_files)
    # A link to a file that is gone would break the build: remove such links.
    find "$tree/hw/char" "$tree/hw/usb" "$tree/include/hw/virtio" "$tree/docs/system/devices" \
        "$tree/docs/specs" "$tree/tests/qtest" "$tree/tests/unit" "$tree/tests/functional" \
        -xtype l -delete 2>/dev/null || true
    for file in "${files[@]}"; do
        mkdir -p "$tree/$(dirname "$file")"
        [ "$(readlink "$tree/$file")" = "$TOP/$file" ] ||
            ln -sfn "$TOP/$file" "$tree/$file"
    done
    tree_exclude "$tree" "${files[@]/#//}" /build/
}

# qemu_configure TREE DIR OPTION...: configure TREE in its directory DIR, unless this is
# done already with the same options.
qemu_configure() {
    local tree=$1 dir=$1/$2 name=${1##*/}${2#build} options="${*:3} $TOP"
    [ "$(cat "$dir/desc-configured" 2>/dev/null)" != "$options" ] || return 0
    rm -rf "$dir"
    mkdir "$dir"
    # shellcheck disable=SC2016 # for the other shell
    run_logged "configure-$name" \
        sh -c 'cd "$1" && shift && ../configure "$@"' sh "$dir" "${@:3}"
    # A QEMU in its build directory looks for every path below qemu-bundle/.
    mkdir -p "$dir"/qemu-bundle/usr/{share,lib/ipxe}
    ln -sfn /usr/share/seabios /usr/share/qemu "$dir/qemu-bundle/usr/share/"
    ln -sfn /usr/lib/ipxe/qemu "$dir/qemu-bundle/usr/lib/ipxe/"
    # With this file, a ninja that is run by hand finds meson without our PYTHONPATH.
    [ -z "$MESON_PATH" ] ||
        echo "$MESON_PATH" >"$(echo "$dir"/pyvenv/lib/python3*/site-packages)/meson.pth"
    echo "$options" >"$dir/desc-configured"
}

# qemu_tests TREE: the test programs of TREE that our suites run, one in a line. QEMU has
# some 400 more, which take long to link.
qemu_tests() {
    local test
    for test in qtest/{qos,device-introspect,qom}-test qtest/test-hmp unit/test-char \
            $(overlay_files | sed -n 's,^tests/\(unit/test-.*\)\.c$,\1,p'); do
        [ ! -e "$1/tests/$test.c" ] || echo "tests/$test"
    done
}

# qemu_build TREE TARGET...: build these programs of the tree
qemu_build() {
    qemu_configure "$1" build "${QEMU_CONFIGURE[@]}"
    run_logged "build-${1##*/}" ninja -C "$1/build" "${@:2}"
}

# device_list TREE FILE SYMBOL...: a list of the devices that --with-devices-ARCH names
device_list() {
    local file=$1/$2
    printf 'CONFIG_%s=y\n' "${@:3}" >"$file.new"
    # Meson configures again if this file is new: keep a file that is the same.
    if cmp -s "$file.new" "$file"; then
        rm "$file.new"
    else
        mv "$file.new" "$file"
    fi
}

# qemu_targets TREE PROGRAM...: build these programs in TREE/build-targets: emulators of
# other architectures, with few devices besides ours. The qtests run on a big-endian machine
# and on a machine with virtio-mmio, guests on what tests/guest/platforms has.
qemu_targets() {
    local tree=$1 target file
    local -A devices=(
        [aarch64]='ARM_VIRT VIRTIO_PCI VIRTIO_SERIAL'
        [arm]='ARM_VIRT VIRTIO_SERIAL'
        [ppc64]='PSERIES VIRTIO_PCI VIRTIO_SERIAL'
        [s390x]='S390_CCW_VIRTIO VIRTIO_SERIAL'
    )
    for target in "${!devices[@]}"; do
        file=configs/devices/$target-softmmu/virtio-serial.mak
        # shellcheck disable=SC2086 # one word a device
        device_list "$tree" "$file" ${devices[$target]}
        tree_exclude "$tree" "/$file" /build-targets/
    done
    qemu_configure "$tree" build-targets "${QEMU_CONFIGURE[@]}" \
        --target-list=aarch64-softmmu,arm-softmmu,ppc64-softmmu,s390x-softmmu \
        --without-default-devices --with-devices-{aarch64,arm,ppc64,s390x}=virtio-serial
    run_logged "build-${tree##*/}-targets" ninja -C "$tree/build-targets" "${@:2}"
}

# qemu_tls TREE: build the tests of character devices and an emulator with TLS, with the
# filter of system calls of -sandbox and with usb-host, and the test of that, in
# TREE/build-tls.
qemu_tls() {
    local tree=$1
    need tls
    tree_exclude "$tree" /build-tls/
    qemu_configure "$tree" build-tls "${QEMU_CONFIGURE[@]}" --enable-gnutls \
        --enable-seccomp --enable-libusb
    run_logged "build-${tree##*/}-tls" ninja -C "$tree/build-tls" \
        qemu-system-x86_64 tests/qtest/qos-test \
        tests/qtest/usb-host-test tests/qtest/usb-host-libusb.so \
        tests/unit/test-char tests/unit/test-char-{writev,lend}
}

# qemu_asan TREE: build an emulator with AddressSanitizer and UndefinedBehaviorSanitizer,
# the tests that our suites run, and QEMU's own fuzzer, in TREE/build-asan, with few
# devices besides ours. clang alone has a fuzzer.
qemu_asan() {
    local tree=$1 programs file=configs/devices/x86_64-softmmu/virtio-serial.mak
    need asan
    # The machines have all devices that they have without options, to go to stock QEMU
    device_list "$tree" "$file" I440FX Q35 FDC_ISA HPET VMMOUSE VMPORT \
        VIRTIO_PCI VIRTIO_SERIAL VIRTIO_RNG VIRTIO_NET \
        USB USB_HID USB_HUB USB_SERIAL USB_STORAGE_CLASSIC USB_STORAGE_UAS USB_XHCI_PCI
    tree_exclude "$tree" "/$file" /build-asan/
    # Line numbers are all that a report needs, and are built faster than the rest.
    # Not --disable-werror: meson forgets it when it configures again.
    qemu_configure "$tree" build-asan "${QEMU_CONFIGURE[@]}" \
        --cc=clang --cxx=clang++ --host-cc=clang \
        --enable-asan --enable-ubsan --enable-fuzzing \
        --without-default-devices --with-devices-x86_64=virtio-serial \
        --disable-debug-info --extra-cflags="-gline-tables-only -Wno-error" -Doptimization=1
    mapfile -t programs < <(qemu_tests "$tree")
    run_logged "build-${tree##*/}-asan" ninja -C "$tree/build-asan" -j "$JOBS" \
        qemu-system-x86_64 qemu-fuzz-x86_64 "${programs[@]}"
}

# qemu_worktree SERIES TREE: make TREE another work tree of build/qemu-SERIES, at
# "pristine". An incomplete work tree is made again.
qemu_worktree() {
    local ours=$BUILD/qemu-$1 tree=$2
    [ ! -e "$tree.whole" ] || [ ! -e "$tree/.git" ] || return 0
    rm -rf "$tree" "$tree.whole"
    tree_git "$ours" worktree prune
    tree_git "$ours" worktree add -q --detach "$tree" pristine
    qemu_subprojects "$tree"
    touch "$tree.whole"
}

# qemu_stock SERIES [TARGET...]: build the emulator of the same source without our
# changes, and these other programs, with the same options, in build/stock-SERIES. Print
# the emulator's path.
qemu_stock() {
    local tree=$BUILD/stock-$1
    "$TOP/scripts/setup" "$1" >/dev/null
    setup_packages
    qemu_worktree "$1" "$tree"
    qemu_build "$tree" qemu-system-x86_64 "${@:2}"
    echo "$tree/build/qemu-system-x86_64"
}
