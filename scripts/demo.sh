#!/usr/bin/env bash
# Starts a cluster, deploys assets/demo.yaml, reaches it through its NodePort and, from another pod, by its name.
# Needs neither network nor Docker nor kubectl: `kubik kubectl` brings its own.
#   scripts/demo.sh         run it (KUBIK: the binary, KUBIK_PROFILE: the cluster's name)
#   scripts/demo.sh clean   remove the cluster again
set -euo pipefail
cd "$(dirname "$0")/.."

kubik=${KUBIK:-target/x86_64-unknown-linux-gnu/release/kubik}
export KUBIK_PROFILE=${KUBIK_PROFILE:-demo}
export KUBIK_BUILTIN_KUBECTL=1

if [ "$(id -u)" != 0 ]; then
  echo "The demo makes real containers and needs root: sudo make demo" >&2
  exit 37
fi
if [ "${1:-}" = clean ]; then
  exec "$kubik" delete
fi

kubectl() { "$kubik" kubectl -- "$@"; }
milliseconds() { echo $(($(date +%s%N) / 1000000)); }
begun=$(milliseconds)
step() {
  local now
  now=$(milliseconds)
  printf '%6d ms  %s\n' $((now - begun)) "$1"
  begun=$now
}

"$kubik" start --no-kubeconfig
step "cluster started"
kubectl apply -f assets/demo.yaml
step "objects applied"
kubectl wait --for=condition=Available deployment/hello --timeout=60s
step "3 replicas are ready"

address=$("$kubik" ip)
fetch() { "$kubik" hello fetch "$1"; }
echo
echo "http://$address:30080 through the NodePort says:"
fetch "http://$address:30080/" | sed 's/^/    /'
step "fetched through the NodePort"

pod=$(kubectl get pods -l app=hello -o name | head -n 1)
echo
echo "http://hello.default.svc.cluster.local from inside $pod says:"
kubectl exec "$pod" -- /kubik-hello fetch http://hello.default.svc.cluster.local/ | sed 's/^/    /'
step "fetched by its DNS name from another pod"

cat <<TEXT

What you can do next:
    $kubik start -p $KUBIK_PROFILE          (running already: sets your kubectl up for it)
    $kubik kubectl -p $KUBIK_PROFILE -- get all
    $kubik kubectl -p $KUBIK_PROFILE -- logs $pod
    make demo-clean            remove every trace
TEXT
