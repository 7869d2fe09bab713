# Shell functions shared by examples/quickstart.sh and tests/run.sh. Sourced, not run.

# install_packages NAME...: installs the Debian packages that are missing; says which, and why it cannot.
install_packages() {
  command -v dpkg-query > /dev/null || { echo "no Debian here: please install the equivalents of: $*" >&2; return 0; }
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2> /dev/null | grep -q "ok installed" || missing+=("$package")
  done
  [[ ${#missing[@]} -eq 0 ]] && return 0
  local sudo=""
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo > /dev/null || { echo "error: expected root or sudo to install: ${missing[*]}" >&2; return 1; }
    sudo=sudo
  fi
  echo "installing ${missing[*]} ..."
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}
