# In the guest, in a cgroup namespace of its own: what a privileged container sees. Started by `suite_container`.
. /run/task
. "$project/scripts/vm/report.sh"
. "$project/scripts/vm/checks.sh"
export KUBIK_PROFILE=box HOME=/tmp/box KUBECONFIG=/tmp/box/config

umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
same "the root of a container has processes" yes "$(grep -q . /sys/fs/cgroup/cgroup.procs && echo yes)"

mount -o remount,bind,ro /sys/fs/cgroup
like "cgroups read-only: doctor" "FAIL +cgroups +mounted read-only" "$("$kubik" doctor 2>&1)"
like "cgroups read-only: start" "docker run --privileged" "$("$kubik" start 2>&1)"
mount -o remount,bind,rw /sys/fs/cgroup

check "doctor in a container" "$kubik" doctor
check "start in a container" "$kubik" start
[ -e /tmp/busybox.tar ] || make_image
check "image load in a container" "$kubik" image load /tmp/busybox.tar
pod limited 'limits: {memory: 32Mi}' >/tmp/pods.yaml
check "pod in a container" "$project/target/tools/kubectl" apply -f /tmp/pods.yaml
check "Ready in a container" "$project/target/tools/kubectl" wait --for=condition=Ready --timeout=120s pod/limited
same "memory.max in a container" 33554432 "$(value limited memory.max)"
same "the root handed its processes on" "" "$(cat /sys/fs/cgroup/cgroup.procs)"
check "delete in a container" "$kubik" delete --purge
same "the root has its processes again" yes "$(grep -qx $$ /sys/fs/cgroup/cgroup.procs && echo yes)"
same "the root hands nothing down" "" "$(cat /sys/fs/cgroup/cgroup.subtree_control)"
report
