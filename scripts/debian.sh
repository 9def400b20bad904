# For the scripts that unpack Debian's packages into a folder instead of installing them. To be sourced.

# The system's mirror of Debian: from its sources, old or new style; another distribution's mirror has no Debian.
debian_mirror() {
  local mirror
  mirror=${DEBIAN_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -E '^(deb|URIs:)' |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 || true)}
  echo "${mirror:-http://deb.debian.org/debian}"
}

# Prepares downloads from a release of Debian in a new folder WORK, and leaves the command for them in `apt`.
# usage: debian_apt SUITE WORK
debian_apt() {
  local suite=$1 work=$2 tool keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing: this script needs Debian or its kin" >&2; exit 1; }
  done
  [ -e "$keyring" ] || { echo "error: $keyring is missing: install the package debian-archive-keyring" >&2; exit 1; }
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
  echo "deb [arch=amd64 signed-by=$keyring] $(debian_mirror) $suite main" > "$work/sources.list"
  # No package is installed yet: all that the drivers need comes along.
  : > "$work/status"
  apt=(apt-get -qq
    -o Dir::State="$work" -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status"
    -o Dir::Cache="$work" -o Dir::Cache::archives="$work/archives"
    -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/parts"
    -o Dir::Etc::preferencesparts="$work/parts"
    -o APT::Architecture=amd64 -o APT::Install-Recommends=false -o APT::Sandbox::User=root
    # Lists of a mirror may be older than they say they are good for.
    -o Acquire::Check-Valid-Until=false)
  "${apt[@]}" update
}

# Unpacks packages of a release, with all that they need, into FOLDER, which gets its name when it is complete.
# usage: debian_unpack SUITE FOLDER PACKAGE…
debian_unpack() {
  local suite=$1 folder=$2 partial=$2.partial package
  shift 2
  rm -rf "$partial"
  mkdir -p "$partial"
  partial=$(cd "$partial" && pwd)
  debian_apt "$suite" "$partial/apt"
  "${apt[@]}" -y --download-only install "$@" >/dev/null
  for package in "$partial"/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$partial"
  done
  rm -rf "$partial/apt"
  mv "$partial" "$folder"
}

# Unpacks the files of one package that match PATTERN, without what the package needs, into FOLDER.
# usage: debian_unpack_some SUITE FOLDER PACKAGE PATTERN
debian_unpack_some() {
  local suite=$1 folder=$2 partial=$2.partial package=$3 pattern=$4
  rm -rf "$partial"
  mkdir -p "$partial"
  partial=$(cd "$partial" && pwd)
  debian_apt "$suite" "$partial/apt"
  (cd "$partial/apt" && "${apt[@]}" download "$package")
  dpkg-deb --fsys-tarfile "$partial/apt/$package"_*.deb | tar -x -C "$partial" --wildcards "$pattern"
  rm -rf "$partial/apt"
  mv "$partial" "$folder"
}
