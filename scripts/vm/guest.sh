#!/bin/bash
# In the guest: makes the rest of a machine, runs what was asked for, says what passed, powers off.
. /run/task
. "$project/scripts/vm/report.sh"

furnish() {
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  mkdir -p /dev/pts /dev/shm
  mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
  mount -t tmpfs -o mode=1777 shm /dev/shm
  mount -t tmpfs -o mode=755 run /run
  mount -t tmpfs -o mode=1777 tmp /tmp
  ip link set lo up
  hostname vm
  # The kernel asks this for modules; busybox knows how.
  ln -s /host/bin/busybox /run/modprobe
  echo /run/modprobe >/proc/sys/kernel/modprobe
}

show_modules() { ln -sfn "/host$project/target/vm/kernel/lib/modules" /usr/lib/modules; }
hide_modules() { rm -f /usr/lib/modules; }

# As systemd leaves it: this process in a session's group, the root handing down what units need.
mount_cgroups() {
  mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
  mkdir -p /sys/fs/cgroup/user.slice/session-1.scope
  echo $$ >/sys/fs/cgroup/user.slice/session-1.scope/cgroup.procs
  echo "+memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
}

suite_linux() { check "tests/linux" "${programs[linux]}"; }
suite_net() { check "tests/net" "${programs[net]}"; }
suite_store() { check "tests/store" "${programs[store]}"; }
suite_demo() {
  check "demo" env KUBIK="$kubik" bash "$project/scripts/demo.sh"
  check "demo-clean" env KUBIK="$kubik" bash "$project/scripts/demo.sh" clean
}

. "$project/scripts/vm/checks.sh"

main() {
  local code=0
  cd "$project" || exit 1
  if [ ${#command[@]} -gt 0 ]; then
    show_modules
    mount_cgroups
    "${command[@]}"
    code=$?
  else
    [ ${#suites[@]} -gt 0 ] || suites=(oddities linux net store demo checks survival nodes container)
    for suite in "${suites[@]}"; do
      [ "$suite" = oddities ] || [ -e /sys/fs/cgroup/cgroup.procs ] || {
        show_modules
        mount_cgroups
      }
      echo "vm: -- $suite (Linux $(uname -r), $(cut -d ' ' -f 1 /proc/uptime) s)"
      "suite_$suite"
    done
    [ -z "$stories" ] || check "stories $stories" "${programs[e2e]}" $stories
    report || code=1
  fi
  echo "vm: exit $code"
}

# systemd furnishes the machine itself, and runs this again as its only unit.
become_systemd() {
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/systemd/system
  printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nStandardOutput=tty\nStandardError=tty\nTTYPath=/dev/ttyS0\nTimeoutStartSec=infinity\nDelegate=no\nExecStart=/bin/bash %s\n' \
    "$project/scripts/vm/guest.sh" >/run/systemd/system/vm.service
  cp /task /run/task
  exec /usr/lib/systemd/systemd --unit=vm.service
}

if [ $$ = 1 ]; then
  cp /run/task /task
  [ "$init" != systemd ] || become_systemd
  furnish
  cp /task /run/task
else
  hostname vm
  ip link set lo up
  ln -s /host/bin/busybox /run/modprobe
  echo /run/modprobe >/proc/sys/kernel/modprobe
fi
main
sync
echo o >/proc/sysrq-trigger
read -r -t 10 </dev/zero || true
