# shellcheck shell=bash
# Packages: which ones a step needs (the tables are scripts/needs and, for test suites,
# tests/README.md), and apt configurations of our own, one directory for each Debian
# release. With these we get packages and sources of any release, whatever release this
# machine has. lib.sh sources this file.
#
# Copyright (c) 2026 the virtio-serial-desc authors
# SPDX-License-Identifier: GPL-2.0-or-later

# ----------------------------------------------------------------------
# What a step needs

# suites_in HEADING: the names of the suites in that section of tests/README.md
suites_in() {
    awk -F '|' -v heading="## $1" '
        /^## / { on = $0 == heading }
        on && /^\| `/ { gsub(/[` ]/, "", $2); print $2 }' "$TOP/tests/README.md"
}

# needs_rows: the rows of scripts/needs, and the suites of tests/README.md in the same
# columns; a suite is done each time
needs_rows() {
    grep '^[a-z]' "$TOP/scripts/needs"
    awk -F '|' '
        /^## / { on = $0 ~ / suites$/ }
        on && /^\| `/ {
            gsub(/[` ]/, "", $2)
            print $2 "|" $3 "|" $4 "|" $5 "|" $6 "|-|" $7 "|" $8
        }' "$TOP/tests/README.md"
}

# The columns of all rows: by name, "|" and number, without spaces at the ends; nothing for
# "-"
declare -A NEEDS
while IFS='|' read -r -a row; do
    name=${row[0]// /}
    for column in "${!row[@]}"; do
        value=${row[column]#"${row[column]%%[! ]*}"}
        value=${value%"${value##*[! ]}"}
        [ "$value" != - ] || value=
        NEEDS[$name|$((column + 1))]=$value
    done
done < <(needs_rows)
unset row name column value

# cell ROWS NAME COLUMN: that column of the row whose first column is NAME, without
# spaces at the ends; nothing for "-". Returns 1 if there is no such row.
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

# needs_column NAME COLUMN: a column, 1 to 8, of the row NAME; dies if there is no such
# row
needs_column() {
    [ "${NEEDS[$1|1]+is there}" ] || die "neither scripts/needs nor tests/README.md has '$1'"
    printf '%s\n' "${NEEDS[$1|$2]:-}"
}

# needs_of NAME...: these names and all names that they include, each once, included
# names first; fails if a name has no row
needs_of() {
    local -A seen=()
    local name
    for name in "$@"; do
        needs_walk "$name" || return 1
    done
}

# needs_walk NAME: the same of one name, without those that are in needs_of()'s "seen"
needs_walk() {
    local included
    [ -z "${seen[$1]:-}" ] || return 0
    [ "${NEEDS[$1|1]+is there}" ] || (needs_column "$1" 1) || return 1
    for included in ${NEEDS[$1|7]:-}; do
        needs_walk "$included" || return 1
    done
    seen[$1]=yes
    echo "$1"
}

# packages_of NAME...: the packages that these names need, alternatives as "a/b"
packages_of() {
    local name
    for name in $(needs_of "$@"); do
        needs_column "$name" 8
    done | tr ' ' '\n' | grep . | awk '!seen[$0]++'
}

# needs_missing NAME...: the names of needs_of NAME... whose result is not there yet
needs_missing() {
    local name made
    for name in $(needs_of "$@"); do
        made=${NEEDS[$name|6]:-}
        [ -n "$made" ] && [ -e "$BUILD/$made" ] || echo "$name"
    done
}

# minutes [--missing] NAME..., megabytes download|disk [--missing] NAME...: the sum for
# these names and all names that they include; with --missing, only for steps whose
# result is not there yet. The table has the minutes of two CPUs.
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
        value=${NEEDS[$name|$column]:-}
        sum=$((sum + ${value:-0}))
    done
    echo "$sum"
}

# need NAME...: install the missing packages that these names need. Without root, print
# what root has to run, and stop.
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

# need_packages PKG...: the same for packages. PKG may be alternatives, "a/b": the
# first package that is installed, or that this machine's archive has.
need_packages() {
    local missing choices
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -gt 0 ] || return 0
    # A package that apt does not know may be new: choose_packages keeps it
    mapfile -t choices < <(choose_packages "${missing[@]}")
    if [ "$(id -u)" != 0 ]; then
        die "packages are missing, and only root can install them:
    apt-get update && apt-get install --no-install-recommends ${choices[*]}"
    fi
    have_lists || LET_FINISH=yes run_logged apt-update apt-get update
    # Old lists may name files that the archive does not have any more: then the first
    # try fails, and the second try has new lists.
    # shellcheck disable=SC2046 # one word a package
    (LET_FINISH=yes run_logged apt-install apt_install "${choices[@]}") || {
        or_interrupted $?
        say "- that was with old lists; new ones, and once more"
        LET_FINISH=yes run_logged apt-update apt-get update
        LET_FINISH=yes run_logged apt-install apt_install $(choose_packages "${missing[@]}")
    }
}

# have_lists: does apt on this machine have lists of its archive? A new machine has none.
have_lists() {
    compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

# missing_packages PKG...: each PKG of which no alternative is installed
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

# choose_packages PKG...: each PKG; of alternatives, the first that is available
choose_packages() {
    local pkg choice chosen conf=
    for pkg in "$@"; do
        chosen=${pkg%%/*}
        if [ "$pkg" != "$chosen" ]; then
            # If the machine has no lists yet, take our own lists of its release
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
    # An interrupted installation blocks the next one until it is finished
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

# debian_archive [security]: the address from which this machine gets Debian, or Debian's
# security updates, which are optional. On a machine that is not Debian, or has no
# address, DEBIAN_ARCHIVE must have the address.
debian_archive() {
    local kind=${1:-main} found
    if [ -n "${DEBIAN_ARCHIVE:-}" ]; then
        [ "$kind" = security ] || echo "$DEBIAN_ARCHIVE"
        return 0
    fi
    # This works without lists, too
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
    # A file that lists mirrors, as in cloud images
    if [ "${found#mirror+file:}" != "$found" ]; then
        found=$(grep -o -m 1 '^https\?://[^[:space:]]*' "/${found#mirror+file:*(/)}" || true)
    fi
    if [ -z "$found" ] && [ "$kind" = main ]; then
        die "apt on this machine knows no archive of Debian's: DEBIAN_ARCHIVE=ADDRESS" \
            "names one (see 'apt-get indextargets')"
    fi
    echo "$found"
}

# release_lines RELEASE: the lines of an apt sources.list for RELEASE: a codename,
# "CODENAME-backports", either with ":ARCHITECTURE" behind, or "source": source packages
# of all releases that we know
release_lines() {
    local release=${1%:*} main security suite key=/usr/share/keyrings/debian-archive-keyring.gpg
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

# release_apt RELEASE [again]: make build/apt/RELEASE, an apt configuration with that
# release's lists, and print the path of its apt.conf. Nothing below /etc/apt changes.
# "again" gets new lists. An archive that was not updated for weeks is accepted. With
# RELEASE:ARCHITECTURE, packages are of that architecture, and NAME:amd64 is this machine's.
release_apt() {
    local release=${1%:*} dir=$BUILD/apt/${1/:/-} architecture='' kind='' lines line suite
    [ "$release" = "$1" ] || architecture=${1#*:} kind=binary-${1#*:}_
    lines=$(release_lines "$1")
    if [ "$(cat "$dir/ready" 2>/dev/null)" != "$lines" ] || [ "${2:-}" = again ]; then
        rm -rf "$dir"
        mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
        echo "$lines" >"$dir/sources.list"
        # Packages that are installed on this machine do not count
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
        [ -z "$architecture" ] || printf '%s\n' "APT::Architecture \"$architecture\";" \
            "APT::Architectures { \"$architecture\"; \"amd64\"; };" >>"$dir/apt.conf"
        # A suite that this archive does not serve is left out, without a failure: a
        # package of that suite fails later, when it is needed.
        run_logged "apt-update-${1/:/-}" sh -c "apt-get -c '$dir/apt.conf' update || true"
        while read -r line; do
            suite=${line% main}
            ! compgen -G "$dir/lists/*_dists_${suite##* }_main_$kind*" >/dev/null || echo "$line"
        done <<<"$lines" >"$dir/sources.list"
        grep -q "\(^deb-src .*\| $release main$\)" "$dir/sources.list" ||
            die "the archive serves no lists of $release; see build/log/apt-update-${1/:/-}.log"
        echo "$lines" >"$dir/ready"
    fi
    echo "$dir/apt.conf"
}

# release_show RELEASE PKG...: the newest version of these packages, as apt-cache shows it
release_show() {
    apt-cache -c "$(release_apt "$1")" show --no-all-versions "${@:2}"
}

# release_download RELEASE DIR PKG...: download the packages' files into an empty DIR.
# apt's lists may be older than the archive: so try again with new lists.
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

# fetch_source PACKAGE SERIES DIR: unpack a source package into DIR, and write its
# version to DIR.version: the newest one of that upstream series in the archive, with
# Debian's patches, without which the tree does not configure. DIR is complete or absent.
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

# download_source CONF PACKAGE VERSION: download a source package into build/apt/src
download_source() {
    mkdir -p "$BUILD/apt/src"
    (cd "$BUILD/apt/src" && apt-get -c "$1" source -q --download-only "$2=$3") \
        >"$BUILD/log/source-$2-${3#*:}.log" 2>&1
}

# fetch_orig PACKAGE VERSION DIR: unpack the source of an upstream version, as it came
# and without Debian's patches, into DIR, which is complete or absent. The archive may
# have the tarball and not the rest of the source package.
fetch_orig() {
    local package=$1 version=$2 dir=$3 lists conf debian uri name
    for lists in kept again; do
        conf=$(release_apt source "$lists")
        debian=$(apt-cache -c "$conf" showsrc "$package" |
            awk -v v="$version-" '/^Version:/ && index($2, v) == 1 { print $2 }' | sort -V | tail -n 1)
        [ -n "$debian" ] || continue
        uri=$(apt-get -c "$conf" source -q --print-uris --download-only "$package=$debian" \
            2>/dev/null | grep -o "^'[^']*\.orig\.tar\.[a-z0-9]*'.*" || true)
        name=$(awk '{ print $2 }' <<<"$uri")
        [ -n "$name" ] || continue
        mkdir -p "$BUILD/apt/src"
        # Its words are the address in quotes, the name, the size and the sum
        if (run_logged "orig-$package-$version" /usr/lib/apt/apt-helper -c "$conf" \
                download-file "$(cut -d "'" -f 2 <<<"$uri")" "$BUILD/apt/src/$name" \
                "$(awk '{ print $4 }' <<<"$uri")"); then
            rm -rf "$dir" "$dir.new"
            mkdir -p "$dir.new"
            run_logged "unpack-$package-$version" tar --no-same-owner --strip-components=1 \
                -C "$dir.new" -xf "$BUILD/apt/src/$name"
            mv "$dir.new" "$dir"
            return 0
        fi
    done
    die "the archive has no source of $package $version; see build/log/orig-$package-$version.log"
}
