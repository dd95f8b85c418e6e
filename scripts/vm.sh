#!/usr/bin/env bash
# Runs kubik and its kernel tests under another kernel: Debian's own (6.1) with cgroup v2 alone, in qemu without KVM.
# The guest sees this machine's files, read-only, and nothing of its network; what it writes is gone with it.
#   scripts/vm.sh              everything; prints what passed, fails if something did not
#   scripts/vm.sh SUITE...     of: oddities linux net store demo checks survival nodes container (scripts/vm/guest.sh has them)
#   scripts/vm.sh -- COMMAND   one command in the guest, in this directory, with its exit code
# KUBIK: the binary (default: the debug build); VM_STORIES: words that choose end-to-end stories to run as well;
# VM_BUILD=no: the test programs as they were built last; VM_INIT=systemd: systemd as the guest's init;
# VM_TIMEOUT (seconds), VM_MEMORY (MiB), VM_CPUS.
# Without hardware support a guest is ten to thirty times slower: far too slow for CI.
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD

case $(uname -m) in
x86_64) ;;
*)
  echo "scripts/vm.sh knows x86_64 only." >&2
  exit 1
  ;;
esac
scripts/setup.sh vm

kernel=$project/target/vm/kernel
work=$(mktemp -d "${TMPDIR:-/var/tmp}/kubik-vm-XXXXXX")
machine=
cleanup() {
  [ -z "$machine" ] || kill "$machine" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# What the guest needs of the kernel's modules; all of them would be 400 MB.
modules="arch/x86/crypto crypto lib net fs/9p fs/ext4 fs/jbd2 fs/mbcache.ko fs/netfs fs/fscache fs/overlayfs
  drivers/virtio drivers/block/virtio_blk.ko drivers/net/veth.ko drivers/net/dummy.ko drivers/net/vxlan"

# Debian's kernel, once: the image and these modules.
fetch_kernel() {
  [ -e "$kernel/vmlinuz" ] && return
  local package release unpacked=$work/unpacked
  package=$(apt-cache depends linux-image-amd64 | grep -oE 'linux-image-[0-9][^ ]+' | head -n 1)
  release=${package#linux-image-}
  echo "fetching $package" >&2
  (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package")
  dpkg -x "$work/$package"_*.deb "$unpacked"
  mkdir -p "$work/kernel/lib/modules/$release/kernel"
  local path
  for path in $modules; do
    [ -e "$unpacked/lib/modules/$release/kernel/$path" ] || continue
    (cd "$unpacked/lib/modules/$release" && cp -r --parents "kernel/$path" "$work/kernel/lib/modules/$release/")
  done
  cp "$unpacked/lib/modules/$release/"modules.builtin* "$work/kernel/lib/modules/$release/"
  /bin/busybox depmod -b "$work/kernel" "$release"
  cp "$unpacked/boot/vmlinuz-$release" "$work/kernel/vmlinuz"
  mkdir -p "$(dirname "$kernel")"
  rm -rf "$kernel"
  mv "$work/kernel" "$kernel"
  rm -rf "$unpacked" "$work"/*.deb
}

# The first root: busybox and the modules on the way to this machine's files.
make_initramfs() {
  local root=$work/initramfs release module file
  release=$(basename "$kernel"/lib/modules/*)
  mkdir -p "$root"/{bin,sbin,proc,sys,dev,nr} "$root/lib/modules/$release"
  cp /bin/busybox "$root/bin/"
  cp "$kernel/lib/modules/$release/"modules.{dep,alias,symbols} "$root/lib/modules/$release/"
  for module in virtio_pci virtio_blk 9pnet_virtio 9p ext4 crc32c_generic crc32c-intel; do
    for file in $(sed -n "s|^\(kernel/[^:]*/$module\.ko\):\(.*\)|\1 \2|p" "$root/lib/modules/$release/modules.dep"); do
      (cd "$kernel/lib/modules/$release" && cp --parents "$file" "$root/lib/modules/$release/")
    done
  done
  install -m 755 scripts/vm/init.sh "$root/init"
  (cd "$root" && find . | cpio -o -H newc 2>/dev/null | gzip -1 >"$work/initrd.gz")
  rm -rf "$root"
}

# What the guest is to do, as shell words that it sources.
write_task() {
  {
    printf 'project=%q\n' "$project"
    printf 'release=%q\n' "$(basename "$kernel"/lib/modules/*)"
    printf 'kubik=%q\n' "$(realpath "${KUBIK:-target/x86_64-unknown-linux-gnu/debug/kubik}")"
    printf 'stories=%q\n' "${VM_STORIES:-}"
    printf 'init=%q\n' "${VM_INIT:-}"
    printf 'declare -A programs=(%s)\n' "$(printf '%s ' "${programs[@]}")"
    if [ "${1:-}" = -- ]; then
      shift
      printf 'command=(%s)\n' "$(printf '%q ' "$@")"
    else
      printf 'command=()\nsuites=(%s)\n' "$(printf '%q ' "$@")"
    fi
  } >"$work/task"
}

# The test programs as `[linux]=path …`: built, or with VM_BUILD=no as they were built last.
programs=()
build_programs() {
  local line built=$project/target/vm/programs
  if [ "${VM_BUILD:-}" != no ]; then
    mkdir -p "$project/target/vm"
    cargo test --locked --no-run --test linux --test net --test store --test e2e 2>&1 | tee "$work/build" >&2
    sed -n "s|^ *Executable tests/\([a-z0-9]*\)[/.].*(\(.*\))$|[\1]=$project/\2|p" "$work/build" >"$built"
  fi
  while read -r line; do
    programs+=("$line")
  done <"$built"
}

[ "${1:-}" = -- ] || build_programs
fetch_kernel
make_initramfs
write_task "$@"
truncate -s 8G "$work/disk"
mkfs.ext4 -q -F "$work/disk"

: >"$work/output"
begun=$SECONDS
timeout --kill-after=5 "${VM_TIMEOUT:-1800}" qemu-system-x86_64 \
  -accel tcg,thread=multi -cpu max -smp "${VM_CPUS:-2}" -m "${VM_MEMORY:-2048}" \
  -nodefaults -no-user-config -nographic -no-reboot -serial stdio \
  -kernel "$kernel/vmlinuz" -initrd "$work/initrd.gz" \
  -append "console=ttyS0 loglevel=2 panic=-1 cgroup_no_v1=all psi=1 mitigations=off task=$work/task" \
  -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
  -drive file="$work/disk",format=raw,if=virtio,cache=unsafe \
  </dev/null >"$work/output" 2>&1 &
machine=$!
tail --pid="$machine" -n +1 -s 0.5 -f "$work/output" | sed -u 's/\x1b\(\[[?0-9;]*[A-Za-z]\|c\)//g; s/\r$//; /^SeaBIOS/d; /^Booting from/d; s/^Probing EDD.*ok//; /^vm: exit /d' &
# Waited for, not run in front: a signal is to end the guest at once.
wait "$machine" || true
wait $! || true
machine=
code=$(sed -n 's/^vm: exit \([0-9]*\).*/\1/p' "$work/output" | tail -n 1)
if [ -z "$code" ]; then
  echo "The guest ended, or was ended after $((SECONDS - begun)) s, without saying how." >&2
  exit 1
fi
exit "$code"
