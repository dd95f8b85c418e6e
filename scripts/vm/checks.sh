# What the guest looks at through the real binary: everything that has another form on cgroup v2.
# Sourced by guest.sh, which has `check`, `same` and `like`.

kubectl() { "$project/target/tools/kubectl" "$@"; }
field() { kubectl get pod "$1" -o "jsonpath={$2}"; }

# An archive as of `docker save`, of the host's busybox.
make_image() {
  local dir=/tmp/image layer config
  mkdir -p $dir/root/bin $dir/root/tmp
  # Its list has its own name too.
  for name in $(/host/bin/busybox --list); do ln -sf busybox "$dir/root/bin/$name"; done
  cp --remove-destination /host/bin/busybox $dir/root/bin/
  tar -C $dir/root -cf $dir/layer.tar .
  layer=$(sha256sum $dir/layer.tar | cut -d ' ' -f 1)
  printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$layer" >$dir/config.json
  printf '[{"Config":"config.json","RepoTags":["docker.io/library/busybox:1.36"],"Layers":["layer.tar"]}]' >$dir/manifest.json
  tar -C $dir -cf /tmp/busybox.tar manifest.json config.json layer.tar
  rm -r $dir
}

# pod NAME RESOURCES [COMMAND [MORE]]
pod() {
  cat <<POD
apiVersion: v1
kind: Pod
metadata: {name: $1}
spec:
  terminationGracePeriodSeconds: 0
  restartPolicy: Never
  containers:
  - {name: a, image: 'busybox:1.36', command: [sh, -c, '${3:-exec sleep 100000}'], resources: {$2}${4:+, $4}}
---
POD
}

# group POD: the cgroup of its container, on the host.
group() {
  local uid id
  uid=$(field "$1" .metadata.uid)
  id=$(field "$1" '.status.containerStatuses[0].containerID')
  find "/sys/fs/cgroup/kubik-$KUBIK_PROFILE" -type d -path "*/pod$uid/${id#*://}*"
}
value() { cat "$(group "$1")/$2"; }
pod_value() { cat "$(group "$1")/../$2"; }

suite_checks() {
  export KUBIK_PROFILE=vm KUBECONFIG=/root/.kube/config
  [ -e /tmp/busybox.tar ] || make_image
  check "doctor" "$kubik" doctor
  check "start" "$kubik" start
  check "image load" "$kubik" image load /tmp/busybox.tar
  {
    pod guaranteed 'limits: {cpu: 100m, memory: 32Mi}'
    pod burstable 'requests: {cpu: 200m, memory: 64Mi}, limits: {cpu: 500m, memory: 128Mi}'
    pod besteffort ''
    pod hungry 'limits: {memory: 24Mi}' 'exec tail /dev/zero'
    pod child 'limits: {memory: 24Mi}' 'tail /dev/zero; exec sleep 100000'
    pod bare '' '' 'securityContext: {privileged: true}'
  } >/tmp/pods.yaml
  check "apply" "$project/target/tools/kubectl" apply -f /tmp/pods.yaml
  check "pods Ready" "$project/target/tools/kubectl" wait --for=condition=Ready --timeout=180s \
    pod/guaranteed pod/burstable pod/besteffort pod/bare
  [ "$failed" = 0 ] || kubectl describe pods
  limits
  oom
  devices
  resize
  freezer
  usage
  check "delete" "$kubik" delete --purge
  same "no cgroup after delete" "" "$(find /sys/fs/cgroup -name '*kubik*')"
}

limits() {
  same "memory.max" 33554432 "$(value guaranteed memory.max)"
  same "memory.max of the pod" 33554432 "$(pod_value guaranteed memory.max)"
  same "memory.swap.max" 0 "$(value guaranteed memory.swap.max)"
  same "memory.swap.max without a limit" 0 "$(value besteffort memory.swap.max)"
  same "memory.oom.group" 1 "$(value guaranteed memory.oom.group)"
  same "cpu.max" "10000 100000" "$(value guaranteed cpu.max)"
  same "cpu.weight" 29 "$(value burstable cpu.weight)"
  same "cpu.weight of the pod" 8 "$(pod_value burstable cpu.weight)"
  same "cpu.weight of a best-effort pod" 1 "$(value besteffort cpu.weight)"
  same "pids.max" max "$(value besteffort pids.max)"
  same "limits from inside" 33554432 "$(kubectl exec guaranteed -- cat /sys/fs/cgroup/memory.max)"
  same "the cgroup from inside" "0::/" "$(kubectl exec guaranteed -- cat /proc/self/cgroup)"
  local root=/sys/fs/cgroup/kubik-vm/vm/kubepods
  like "a guaranteed pod's place" "^$root/pod[^/]*/" "$(group guaranteed)"
  like "a burstable pod's place" "^$root/burstable/pod" "$(group burstable)"
  like "a best-effort pod's place" "^$root/besteffort/pod" "$(group besteffort)"
  same "cpu.weight of the class besteffort" 1 "$(cat $root/besteffort/cpu.weight)"
  local group
  group=$(group guaranteed)
  while [ "${group#/sys/fs/cgroup/}" != "$group" ]; do
    group=${group%/*}
    like "controllers of ${group#/sys/fs}" "cpu.*memory.*pids" "$(cat "$group/cgroup.subtree_control")"
  done
}

oom() {
  for name in hungry child; do
    check "$name ends" "$project/target/tools/kubectl" wait --for=jsonpath='{.status.phase}'=Failed --timeout=120s "pod/$name"
    same "$name" "OOMKilled 137" \
      "$(field $name '.status.containerStatuses[0].state.terminated.reason}{" "}{.status.containerStatuses[0].state.terminated.exitCode')"
  done
}

devices() {
  local disk
  disk=$(stat -c '%Hr %Lr' /dev/vda)
  like "a disk stays closed" "Operation not permitted" \
    "$(kubectl exec besteffort -- sh -c "mknod /tmp/disk b $disk && head -c 1 /tmp/disk" 2>&1)"
  like "a process of exec is no exception" "Operation not permitted" \
    "$(kubectl exec besteffort -- sh -c 'mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg' 2>&1)"
  same "standard devices are open" "ok" \
    "$(kubectl exec besteffort -- sh -c 'for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; head -c 1 /dev/urandom >/dev/null && echo x >/dev/null && echo ok')"
  same "a privileged container reads the disk" 512 "$(kubectl exec bare -- sh -c 'head -c 512 /dev/vda | wc -c')"
}

resize() {
  local patch='{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"300m","memory":"64Mi"},"limits":{"cpu":"700m","memory":"160Mi"}}}]}}'
  check "resize" "$project/target/tools/kubectl" patch pod burstable --subresource resize -p "$patch"
  check "resized" "$project/target/tools/kubectl" wait --timeout=60s pod/burstable \
    --for=jsonpath='{.status.containerStatuses[0].resources.limits.memory}'=160Mi
  same "memory.max, resized" 167772160 "$(value burstable memory.max)"
  same "memory.max of the pod, resized" 167772160 "$(pod_value burstable memory.max)"
  same "cpu.max, resized" "70000 100000" "$(value burstable cpu.max)"
  same "cpu.weight, resized" 40 "$(value burstable cpu.weight)"
  same "restarts" 0 "$(field burstable '.status.containerStatuses[0].restartCount')"
}

freezer() {
  check "pause" "$kubik" pause -n default
  like "frozen" "frozen 1" "$(value besteffort cgroup.events)"
  check "unpause" "$kubik" unpause -n default
  like "let go" "frozen 0" "$(value besteffort cgroup.events)"
}

usage() {
  local summary
  like "kubectl top pod" "^guaranteed +[0-9]+m +[0-9]+Mi" "$(kubectl top pod 2>&1)"
  like "kubectl top node" "^vm +[0-9]+m" "$(kubectl top node 2>&1)"
  summary=$(kubectl get --raw /api/v1/nodes/vm/proxy/stats/summary | tr -d ' \n')
  like "usage" '"usageCoreNanoSeconds":[1-9]' "$(grep -o '"usageCoreNanoSeconds":[0-9]*' <<<"$summary")"
  like "working set" '"workingSetBytes":[1-9]' "$(grep -o '"workingSetBytes":[0-9]*' <<<"$summary")"
  like "processes" '"process_count":[1-9]' "$(grep -o '"process_count":[0-9]*' <<<"$summary")"
}

suite_survival() {
  local before after
  export KUBIK_PROFILE=vm KUBECONFIG=/root/.kube/config
  [ -e /tmp/busybox.tar ] || make_image
  check "start" "$kubik" start
  check "image load" "$kubik" image load /tmp/busybox.tar
  { pod guaranteed 'limits: {cpu: 100m, memory: 32Mi}'; pod besteffort ''; } >/tmp/pods.yaml
  check "apply" "$project/target/tools/kubectl" apply -f /tmp/pods.yaml
  check "pods Ready" "$project/target/tools/kubectl" wait --for=condition=Ready --timeout=180s pod --all
  ids() { kubectl get pods -o 'jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}{"\n"}{end}'; }
  before=$(ids)
  kill -9 "$(cat /run/kubik/vm/daemon.lock)"
  check "start after kill -9" "$kubik" start
  after=$(ids)
  same "pods live on" "$before" "$after"
  same "limits of an adopted pod" 33554432 "$(value guaranteed memory.max)"
  check "stop" "$kubik" stop
  same "no pod after stop" "" "$(find /sys/fs/cgroup/kubik-vm -type d -name 'pod*')"
  check "start again" "$kubik" start
  check "delete after all that" "$kubik" delete --purge
  same "no cgroup after all that" "" "$(find /sys/fs/cgroup -name '*kubik*')"
}

suite_nodes() {
  export KUBIK_PROFILE=two KUBECONFIG=/root/.kube/config
  [ -e /tmp/busybox.tar ] || make_image
  check "start --nodes 2" "$kubik" start --nodes 2
  check "image load, two nodes" "$kubik" image load /tmp/busybox.tar
  { pod one ''; pod other ''; } | sed 's/^spec:/spec:\n  nodeName: NODE/' | sed '0,/NODE/s//two/; s/NODE/two-m02/' >/tmp/pods.yaml
  check "pods on two nodes" "$project/target/tools/kubectl" apply -f /tmp/pods.yaml
  check "both Ready" "$project/target/tools/kubectl" wait --for=condition=Ready --timeout=120s pod/one pod/other
  like "the first node's group" "^/sys/fs/cgroup/kubik-two/two/kubepods/besteffort" "$(group one)"
  like "the second node's group" "^/sys/fs/cgroup/kubik-two/two-m02/kubepods/besteffort" "$(group other)"
  check "delete two nodes" "$kubik" delete --purge
  same "no cgroup of two nodes" "" "$(find /sys/fs/cgroup -name '*kubik*')"
}

# As in a privileged container: the group at the root of what is seen has processes, and is not the true root.
suite_container() {
  echo "+cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
  mkdir -p /sys/fs/cgroup/box
  (
    echo "$BASHPID" >/sys/fs/cgroup/box/cgroup.procs
    exec unshare --mount --cgroup --propagation private bash "$project/scripts/vm/inside.sh" </dev/null
  ) || bad "in a container's cgroup namespace"
  same "no cgroup of a container" "" "$(find /sys/fs/cgroup/box -mindepth 1 -type d)"
  rmdir /sys/fs/cgroup/box
}

suite_oddities() {
  like "no cgroups: doctor" "FAIL +cgroups +not mounted" "$("$kubik" doctor 2>&1)"
  mount_cgroups
  hide_modules
  like "no modules: doctor on overlayfs" "FAIL +overlayfs" "$("$kubik" doctor 2>&1)"
  like "no modules: start" "overlay" "$("$kubik" start 2>&1)"
  show_modules
  umount /sys/fs/cgroup
  like "no cgroups: start" "Mount cgroup2 on /sys/fs/cgroup" "$("$kubik" start 2>&1)"
  mount_cgroups
  like "modules that were never loaded: doctor" "This machine can run kubik" "$("$kubik" doctor 2>&1)"
}
