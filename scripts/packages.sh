# shellcheck shell=bash
# Packages: what a step needs of them (the tables are scripts/needs and, for suites
# of tests, tests/README.md), and apt configurations of our own, a directory a Debian
# release, so that a release's packages and sources are had whatever release this
# machine is. lib.sh has it.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# ----------------------------------------------------------------------
# What a step needs

# suites_in HEADING: the suites of that section of tests/README.md, in order
suites_in() {
    awk -F '|' -v heading="## $1" '
        /^## / { on = $0 == heading }
        on && /^\| `/ { gsub(/[` ]/, "", $2); print $2 }' "$TOP/tests/README.md"
}

# needs_rows: the rows of scripts/needs, and in the same columns the suites of
# tests/README.md, whose result is never there
needs_rows() {
    grep '^[a-z]' "$TOP/scripts/needs"
    awk -F '|' '
        /^## / { on = $0 ~ / suites$/ }
        on && /^\| `/ {
            gsub(/[` ]/, "", $2)
            print $2 "|" $3 "|" $4 "|" $5 "|" $6 "|-|" $7 "|" $8
        }' "$TOP/tests/README.md"
}

NEEDS=$(needs_rows)

# cell ROWS NAME COLUMN: of the row with that name, which is its first column, that
# column without spaces at its ends, nothing for "-"; 1 if there is no such row
cell() {
    awk -F '|' -v name="$2" -v column="$3" '
        { key = $1; gsub(/ /, "", key) }
        key == name {
            gsub(/^ +| +$/, "", $column)
            print $column == "-" ? "" : $column
            found = 1
        }
        END { exit !found }' <<<"$1"
}

# needs_column NAME COLUMN: a column of these rows, 1 to 8; dies if there is no such
# name
needs_column() {
    cell "$NEEDS" "$1" "$2" || die "neither scripts/needs nor tests/README.md has '$1'"
}

# needs_of NAME...: these and all that they include, each once, what is included
# first; fails if one of them has no row
needs_of() {
    local name included
    for name in "$@"; do
        included=$(needs_column "$name" 7) || exit 1
        # shellcheck disable=SC2086 # one word a name
        [ -z "$included" ] || needs_of $included || exit 1
        echo "$name"
    done | awk '!seen[$0]++'
}

# packages_of NAME...: the packages that these need, alternatives as "a/b"
packages_of() {
    local name
    for name in $(needs_of "$@"); do
        needs_column "$name" 8
    done | tr ' ' '\n' | grep . | awk '!seen[$0]++'
}

# needs_missing NAME...: of these and what they include, those whose result is
# not there yet
needs_missing() {
    local name made
    for name in $(needs_of "$@"); do
        made=$(needs_column "$name" 6)
        [ -n "$made" ] && [ -e "$BUILD/$made" ] || echo "$name"
    done
}

# minutes [--missing] NAME..., megabytes download|disk [--missing] NAME...: what all
# that these include takes, or with --missing what is not there yet does. The
# table has the minutes of two CPUs.
minutes() {
    echo $((($(sum_of 3 "$@") * 2 + JOBS - 1) / JOBS))
}

megabytes() {
    case $1 in
    disk)     sum_of 4 "${@:2}" ;;
    download) sum_of 5 "${@:2}" ;;
    esac
}

sum_of() {
    local column=$1 names=needs_of name value sum=0
    shift
    if [ "${1:-}" = --missing ]; then
        names=needs_missing
        shift
    fi
    for name in $("$names" "$@"); do
        value=$(needs_column "$name" "$column")
        sum=$((sum + ${value:-0}))
    done
    echo "$sum"
}

# need NAME...: install what is missing of the packages that these need. Without
# root, say what root has to run, and stop.
need() {
    local packages
    mapfile -t packages < <(packages_of "$@")
    if ! needs_of "$@" | grep -qx root; then
        need_packages "${packages[@]}"
    elif [ "$(id -u)" = 0 ]; then
        check_as_root
        need_packages "${packages[@]}"
    else
        need_packages "${packages[@]}" uidmap
        check_as_root
    fi
}

# need_packages PKG...: the same of packages. PKG may be alternatives, "a/b": the
# first that is installed, or that this machine's archive has.
need_packages() {
    local missing choices
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    # One that is known to nobody may be new
    mapfile -t choices < <(choose_packages "${missing[@]}")
    if [ "$(id -u)" != 0 ]; then
        die "packages are missing, and only root can install them:
    apt-get update && apt-get install --no-install-recommends ${choices[*]}"
    fi
    have_lists || LET_FINISH=yes run_logged apt-update apt-get update
    # Old lists name files that the archive has not: the first try says so, and
    # the second has new ones.
    # shellcheck disable=SC2046 # one word a package
    (LET_FINISH=yes run_logged apt-install apt_install "${choices[@]}") || {
        or_interrupted $?
        say "- that was with old lists; new ones, and once more"
        LET_FINISH=yes run_logged apt-update apt-get update
        LET_FINISH=yes run_logged apt-install apt_install $(choose_packages "${missing[@]}")
    }
}

# have_lists: does apt on this machine know what its archive has? A machine as it is
# delivered does not.
have_lists() {
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

# missing_packages PKG...: those of which no alternative is installed
missing_packages() {
    [ $# = 0 ] || printf '%s\n' "$@" | awk -F / '
        NR == FNR { installed[$1] = 1; next }
        {
            for (i = 1; i <= NF; i++)
                if ($i in installed)
                    next
            print
        }' <(dpkg-query -W -f '${db:Status-Status} ${Package}\n' |
             sed -n 's/^installed //p') -
}

# choose_packages PKG...: each, of alternatives the first that can be had
choose_packages() {
    local pkg choice chosen conf=
    for pkg in "$@"; do
        chosen=${pkg%%/*}
        if [ "$pkg" != "$chosen" ]; then
            # A machine that has no lists yet: those of its release
            [ -n "$conf" ] || ! have_lists || conf=/dev/null
            [ -n "$conf" ] || conf=$(release_apt "$(host_release)")
            for choice in ${pkg//\// }; do
                if apt-cache -c "$conf" show --no-all-versions "$choice" >/dev/null 2>&1; then
                    chosen=$choice
                    break
                fi
            done
        fi
        echo "$chosen"
    done
}

apt_install() {
    # What was interrupted once is in the way of all else
    dpkg --configure -a &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 "$@"
}

# ----------------------------------------------------------------------
# Debian's releases, whatever release this machine is

# host_release: the codename of this machine's release
host_release() {
    (. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
}

# debian_archive [security]: the address from which this machine gets Debian, or
# Debian's security updates, without which we do. On a machine that is not
# Debian, or has it from nowhere, DEBIAN_ARCHIVE says it.
debian_archive() {
    local kind=${1:-main} found
    if [ -n "${DEBIAN_ARCHIVE:-}" ]; then
        [ "$kind" = security ] || echo "$DEBIAN_ARCHIVE"
        return 0
    fi
    # Also of lists that are not there yet
    # shellcheck disable=SC2016 # for apt-get to fill in
    found=$(apt-get indextargets --no-release-info \
        --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v kind="$kind" '
            $2 != "main" { next }
            $1 !~ /^(bookworm|trixie|forky|sid|oldstable|stable|testing|unstable)(-security|-updates|-backports)?$/ { next }
            ($1 ~ /security/) == (kind == "security") &&
            $3 ~ /^(https?|file|copy|mirror\+file):/ {
                print $3
                exit
            }')
    # A file that lists mirrors, as cloud images have it
    if [ "${found#mirror+file:}" != "$found" ]; then
        found=$(grep -o -m 1 '^https\?://[^[:space:]]*' "/${found#mirror+file:*(/)}" || true)
    fi
    if [ -z "$found" ] && [ "$kind" = main ]; then
        die "apt on this machine knows no archive of Debian's: DEBIAN_ARCHIVE=ADDRESS" \
            "names one (see 'apt-get indextargets')"
    fi
    echo "$found"
}

# release_lines RELEASE: what is in an apt sources.list for that release: a
# codename, "CODENAME-backports", or "source", the sources of all that we know
release_lines() {
    local release=$1 main security suite key=/usr/share/keyrings/debian-archive-keyring.gpg
    main=$(debian_archive)
    security=$(debian_archive security)
    [ -e "$key" ] && key="[signed-by=$key] " || key=
    case $release in
    source)
        for suite in bookworm-backports trixie trixie-updates forky sid; do
            echo "deb-src $key$main $suite main"
        done
        [ -z "$security" ] || echo "deb-src $key$security trixie-security main"
        ;;
    *-backports)
        echo "deb $key$main $release main"
        ;;
    *)
        echo "deb $key$main $release main"
        [ -z "$security" ] || echo "deb $key$security $release-security main"
        ;;
    esac
}

# release_apt RELEASE [again]: have build/apt/RELEASE be an apt configuration
# with that release's lists, and print the path of its apt.conf; nothing under
# /etc/apt changes. "again" gets new lists. An archive that has not been brought up
# to date for weeks is taken as it is.
release_apt() {
    local release=$1 dir=$BUILD/apt/$1 lines line suite
    lines=$(release_lines "$release")
    if [ "$(cat "$dir/ready" 2>/dev/null)" != "$lines" ] || [ "${2:-}" = again ]; then
        rm -rf "$dir"
        mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
        echo "$lines" >"$dir/sources.list"
        # What this machine has installed is of no concern
        : >"$dir/status"
        cat >"$dir/apt.conf" <<EOF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "$(id -un)";
EOF
        # A suite that this archive does not serve is no failure here, and is left
        # out: what is missing for it shows where it is asked for.
        run_logged "apt-update-$release" sh -c "apt-get -c '$dir/apt.conf' update || true"
        while read -r line; do
            suite=${line% main}
            ! compgen -G "$dir/lists/*_dists_${suite##* }_main_*" >/dev/null || echo "$line"
        done <<<"$lines" >"$dir/sources.list"
        grep -q "\(^deb-src .*\| $release main$\)" "$dir/sources.list" ||
            die "the archive serves no lists of $release; see build/log/apt-update-$release.log"
        echo "$lines" >"$dir/ready"
    fi
    echo "$dir/apt.conf"
}

# release_show RELEASE PKG...: the newest of these there, as apt-cache shows it
release_show() {
    apt-cache -c "$(release_apt "$1")" show --no-all-versions "${@:2}"
}

# release_download RELEASE DIR PKG...: the packages' files, into an empty DIR.
# Where apt's lists are older than the archive, new ones help.
release_download() {
    local release=$1 dir=$2 lists conf
    shift 2
    for lists in kept again; do
        conf=$(release_apt "$release" "$lists")
        rm -rf "$dir"
        mkdir -p "$dir"
        ! (cd "$dir" && apt-get -q -c "$conf" download "$@") || return 0
    done
    return 1
}

# fetch_source PACKAGE SERIES DIR: unpack the newest source package of that
# upstream series that the archive still has into DIR, with Debian's patches
# (upstream's tree does not configure without), and leave its version in
# DIR.version. DIR is whole or not there.
fetch_source() {
    local package=$1 series=$2 dir=$3 lists conf version versions=
    for lists in kept again; do
        conf=$(release_apt source "$lists")
        versions=$(apt-cache -c "$conf" showsrc "$package" |
            awk '/^Version:/ { print $2 }' | sort -u |
            awk -v s="$series" '{ v = $1; sub(/^[0-9]+:/, "", v);
                                  if (v == s || index(v, s ".") == 1 || index(v, s "+") == 1)
                                      print $1 }' |
            sort -rV)
        for version in $versions; do
            say "- source of $package $version ..."
            if download_source "$conf" "$package" "$version"; then
                rm -rf "$dir" "$dir.new"
                run_logged "unpack-$package-$series" dpkg-source --no-check --no-copy \
                    -x "$BUILD/apt/src/${package}_${version#*:}.dsc" "$dir.new"
                mv "$dir.new" "$dir"
                echo "$version" >"$dir.version"
                return 0
            fi
            say "  it can't be had; build/log/source-$package-${version#*:}.log says why"
        done
    done
    die "the archive has no source of $package $series; tried: ${versions:-none is listed}"
}

# download_source CONF PACKAGE VERSION: the files of a source package, in build/apt/src
download_source() {
    mkdir -p "$BUILD/apt/src"
    (cd "$BUILD/apt/src" && apt-get -c "$1" source -q --download-only "$2=$3") \
        >"$BUILD/log/source-$2-${3#*:}.log" 2>&1
}
