// What an object is, for people: the parts of its kind that matter, then everything else it says.

import { h, put } from '../core/dom.js';
import { follow } from '../core/api.js';
import { kindOf, kinds } from '../core/catalog.js';
import { age, bytes, cpu, decode64, moment, quantity, selector } from '../core/format.js';
import { isReady, podState } from '../core/graph.js';
import { gauge, isServed } from '../core/metrics.js';
import { link, openLink } from '../core/route.js';
import { meter, spark } from '../parts/chart.js';
import { chip, ratio } from '../parts/chip.js';
import { copy } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';

const since = (time) => h('time', { data: { since: time }, datetime: time, title: moment(time) }, age(time));

/** The word beside the title. */
export function statusOf(kind, row, columns) {
  const cell = (name) => row.cells[columns.findIndex((column) => column.name === name)];
  if (row.object.metadata.deletionTimestamp) return chip('Terminating', 'wait');
  const status = cell('Status') ?? cell('Phase');
  if (typeof status === 'string' && status) return chip(status);
  const ready = cell('Ready') ?? cell('Completions');
  return typeof ready === 'string' && ready.includes('/') ? h('span.chip.plainchip', ratio(ready), ' ready') : '';
}

function section(title, ...content) {
  return h('section.block', h('h3', title), content);
}

function facts(pairs) {
  return h('dl.facts', pairs.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false && !(Array.isArray(value) && !value.length)).map(([name, value]) => h('div', h('dt', name), h('dd', value))));
}

function labels(map) {
  const entries = Object.entries(map ?? {});
  return entries.length ? h('div.labels', entries.map(([key, value]) => h('span.label-chip', { title: `${key}=${value}` }, h('span', key), value && h('b', value)))) : null;
}

function reference(apiVersion, name, object) {
  const kind = kindOf(apiVersion, name);
  return kind ? h('a', { href: openLink(kind, object) }, `${name}/${object.name}`) : `${name}/${object.name}`;
}

/** The summary; drawn anew when the object moves on. */
export function summary(scope, { kind, object }) {
  const el = h('div.pane-body.summary');
  const own = h('div');
  const extra = h('div');
  const end = h('div');
  put(el, own, extra, end);
  const shown = { el, moved: (now) => draw(now) };
  let usage = null;
  const draw = (now) => {
    object = now;
    put(own, head(now), (KINDS[kind.id] ?? (() => null))(now, usage), conditions(now));
    if (!KINDS[kind.id]) put(end, tree(now));
  };
  if (isServed() && (kind.id === 'pods' || kind.id === 'nodes')) {
    gauge(scope, kind.plural, (found) => {
      usage = found.values.get(`${object.metadata.namespace ?? ''}/${object.metadata.name}`) ?? null;
      draw(object);
    });
  }
  draw(object);
  const related = RELATED[kind.id];
  if (related) related(scope, extra, object);
  return shown;
}

function head(object) {
  const { metadata } = object;
  const owners = (metadata.ownerReferences ?? []).map((owner) => reference(owner.apiVersion, owner.kind, { namespace: metadata.namespace, name: owner.name }));
  const annotations = Object.entries(metadata.annotations ?? {}).filter(([key]) => key !== 'kubectl.kubernetes.io/last-applied-configuration');
  return h('div',
    facts([
      ['Created', h('span', since(metadata.creationTimestamp), ' ago, ', moment(metadata.creationTimestamp))],
      ['Being deleted', metadata.deletionTimestamp && h('span', 'since ', since(metadata.deletionTimestamp), (metadata.finalizers ?? []).length ? `, waiting for ${metadata.finalizers.join(', ')}` : '')],
      ['Owned by', owners.length ? owners : null],
      ['Labels', labels(metadata.labels)],
    ]),
    annotations.length > 0 && h('details.fold', h('summary', `Annotations (${annotations.length})`), facts(annotations.map(([key, value]) => [key, h('span.mono', value)]))));
}

function conditions(object) {
  const all = object.status?.conditions;
  if (!Array.isArray(all) || !all.length) return null;
  // These say something bad when they are true.
  const isInverse = (type) => /Pressure|Unavailable|Failure|Failed|Disruption/.test(type);
  return section('Conditions', h('div.rows', all.map((one) => {
    const isGood = (one.status === 'True') !== isInverse(one.type);
    return h('div.rowline', chip(one.type, one.status === 'Unknown' ? 'wait' : isGood ? 'good' : 'bad'), h('span.muted', one.status), h('span.grow', [one.reason, one.message].filter(Boolean).join(': ')), since(one.lastTransitionTime ?? one.lastUpdateTime));
  })));
}

function containerState(status) {
  if (!status) return chip('Waiting', 'wait');
  const { running, waiting, terminated } = status.state ?? {};
  if (running) return status.ready === false ? chip('Running, not ready', 'wait') : chip('Running');
  if (waiting) return chip(waiting.reason ?? 'Waiting');
  if (terminated) return chip(terminated.reason ?? 'Terminated', terminated.exitCode === 0 ? 'quiet' : 'bad');
  return chip('Waiting', 'wait');
}

function containers(pod, usage) {
  const of = (list, statuses, word) => (list ?? []).map((container) => {
    const status = (statuses ?? []).find((one) => one.name === container.name);
    const used = usage?.containers?.find((one) => one.name === container.name)?.usage;
    const last = status?.lastState?.terminated;
    const resources = (which) => Object.entries(container.resources?.[which] ?? {}).map(([name, value]) => `${name} ${value}`).join(', ');
    const ports = (container.ports ?? []).map((port) => `${port.containerPort}${port.hostPort ? ` (host ${port.hostPort})` : ''}${port.protocol && port.protocol !== 'TCP' ? `/${port.protocol}` : ''}${port.name ? ` ${port.name}` : ''}`).join(', ');
    const probes = [['startup', container.startupProbe], ['liveness', container.livenessProbe], ['readiness', container.readinessProbe]].filter(([, probe]) => probe).map(([name]) => name).join(', ');
    const waiting = status?.state?.waiting?.message;
    return h('div.container',
      h('div.container-head', h('b', container.name), word && h('span.badge', word), containerState(status), h('span.spring'), status?.restartCount > 0 && h('span.muted', `${status.restartCount} restart${status.restartCount === 1 ? '' : 's'}`)),
      waiting && h('p.problem', waiting),
      facts([
        ['Image', h('span.mono', container.image)],
        ['Command', (container.command || container.args) && h('span.mono', [...(container.command ?? []), ...(container.args ?? [])].join(' '))],
        ['Ports', ports],
        ['Usage', used && `${cpu(quantity(used.cpu))} CPU, ${bytes(quantity(used.memory))} memory`],
        ['Requests', resources('requests')],
        ['Limits', resources('limits')],
        ['Probes', probes],
        ['Started', status?.state?.running && since(status.state.running.startedAt)],
        ['Last end', last && h('span', `${last.reason ?? 'Ended'}, exit code ${last.exitCode}, `, since(last.finishedAt), ' ago', last.message ? `: ${last.message}` : '')],
        ['Mounts', (container.volumeMounts ?? []).length > 0 && h('ul.plainlist', container.volumeMounts.map((mount) => h('li', h('span.mono', mount.mountPath), ` from ${mount.name}${mount.readOnly ? ', read only' : ''}`)))],
        ['Environment', (container.env ?? []).length > 0 && h('ul.plainlist', container.env.map((one) => h('li', h('span.mono', `${one.name}=${one.value ?? source(one.valueFrom)}`))))],
      ]));
  });
  return [
    ...of(pod.spec?.initContainers, pod.status?.initContainerStatuses, 'init'),
    ...of(pod.spec?.containers, pod.status?.containerStatuses, ''),
    ...of(pod.spec?.ephemeralContainers, pod.status?.ephemeralContainerStatuses, 'debug'),
  ];
}

function source(from) {
  const [name, where] = Object.entries(from ?? {})[0] ?? ['', {}];
  return `‹${name.replace('Ref', '')} ${where?.name ?? where?.fieldPath ?? ''}${where?.key ? `/${where.key}` : ''}›`;
}

function usageBlock(usage, cpuRoom, memoryRoom) {
  if (!usage) return null;
  const one = (name, value, room, show, history) => h('div.tile', h('span.muted', name), h('b', show(value)), room > 0 && h('span.muted', ` of ${show(room)}`), spark(history, `${name} lately`, { width: 220, height: 40 }), room > 0 && meter(value / room, name));
  return section('Usage', h('div.tiles', one('CPU', usage.cpu, cpuRoom, cpu, usage.history.map((point) => point.cpu)), one('Memory', usage.memory, memoryRoom, bytes, usage.history.map((point) => point.memory))));
}

function data(entries, isSecret) {
  if (!entries.length) return h('p.muted', 'No data.');
  return entries.map(([key, value]) => {
    const text = isSecret ? decode64(value) : value;
    const content = h('pre.value', { class: isSecret ? 'value masked' : 'value' }, isSecret ? '••••••••' : text);
    const reveal = isSecret && h('button.plain', {
      type: 'button', title: 'Show', 'aria-label': `Show ${key}`,
      onclick: () => {
        const isMasked = content.classList.toggle('masked');
        content.textContent = isMasked ? '••••••••' : text ?? `${value.length} characters of base64: not text`;
      },
    }, icon('eye'));
    return h('div.datum', h('div.datum-head', h('b', key), h('span.spring'), reveal, h('button.plain', { type: 'button', title: 'Copy', 'aria-label': `Copy ${key}`, onclick: () => copy(text ?? value) }, icon('copy'))), content);
  });
}

function workload(object) {
  const { spec = {}, status = {} } = object;
  const want = spec.replicas ?? status.desiredNumberScheduled ?? spec.completions;
  return [
    section('State', facts([
      ['Replicas', want !== undefined && h('span', ratio(`${status.readyReplicas ?? status.numberReady ?? status.succeeded ?? 0}/${want}`), ' ready')],
      ['Updated', status.updatedReplicas ?? status.updatedNumberScheduled],
      ['Available', status.availableReplicas ?? status.numberAvailable],
      ['Strategy', spec.strategy?.type ?? spec.updateStrategy?.type],
      ['Schedule', spec.schedule && h('span.mono', spec.schedule)],
      ['Last run', status.lastScheduleTime && since(status.lastScheduleTime)],
      ['Paused', spec.paused && 'The rollout waits until it is resumed'],
      ['Suspended', spec.suspend && 'Nothing is started until it is resumed'],
      ['Selector', spec.selector && h('span.mono', selector(spec.selector.matchLabels || spec.selector.matchExpressions ? spec.selector : { matchLabels: spec.selector }))],
    ])),
    spec.template && section('Containers', (spec.template.spec?.containers ?? []).map((container) => h('div.container', h('div.container-head', h('b', container.name)), facts([['Image', h('span.mono', container.image)], ['Command', (container.command || container.args) && h('span.mono', [...(container.command ?? []), ...(container.args ?? [])].join(' '))]])))),
  ];
}

const KINDS = {
  pods: (pod, usage) => [
    facts([
      ['Node', pod.spec?.nodeName && h('a', { href: openLink(kinds.get('nodes'), { name: pod.spec.nodeName }) }, pod.spec.nodeName)],
      ['Address', pod.status?.podIP && h('span.mono', (pod.status.podIPs ?? []).map((one) => one.ip).join(', ') || pod.status.podIP)],
      ['Service account', pod.spec?.serviceAccountName], ['QoS class', pod.status?.qosClass], ['Priority', pod.spec?.priorityClassName],
      ['Message', pod.status?.message],
    ]),
    usageBlock(usage, NaN, NaN),
    section('Containers', containers(pod, usage)),
    (pod.spec?.volumes ?? []).length > 0 && section('Volumes', facts(pod.spec.volumes.map((volume) => {
      const [type, from] = Object.entries(volume).find(([key]) => key !== 'name') ?? ['', {}];
      return [volume.name, type === 'persistentVolumeClaim' ? reference('v1', 'PersistentVolumeClaim', { namespace: pod.metadata.namespace, name: from.claimName }) : type === 'configMap' ? reference('v1', 'ConfigMap', { namespace: pod.metadata.namespace, name: from.name }) : type === 'secret' ? reference('v1', 'Secret', { namespace: pod.metadata.namespace, name: from.secretName }) : `${type}${from?.path ? ` ${from.path}` : ''}`];
    }))),
  ],
  'deployments.apps': workload, 'statefulsets.apps': workload, 'daemonsets.apps': workload, 'replicasets.apps': workload, 'jobs.batch': workload, 'cronjobs.batch': workload, replicationcontrollers: workload,
  services: (service) => [
    section('Reached at', facts([
      ['Type', service.spec?.type], ['Cluster address', service.spec?.clusterIP && h('span.mono', service.spec.clusterIP)],
      ['External address', (service.status?.loadBalancer?.ingress ?? []).map((one) => one.ip ?? one.hostname).join(', ')],
      ['Name', service.spec?.type === 'ExternalName' ? service.spec.externalName : h('span.mono', `${service.metadata.name}.${service.metadata.namespace}.svc`)],
      ['Selector', labels(service.spec?.selector)],
    ]), h('div.rows', (service.spec?.ports ?? []).map((port) => h('div.rowline', h('b', port.name || 'port'), h('span.mono', `${port.port}/${port.protocol ?? 'TCP'}`), h('span.grow.mono', `→ ${port.targetPort ?? port.port}`), port.nodePort && h('span.mono', `node port ${port.nodePort}`))))),
  ],
  configmaps: (map) => [section('Data', data([...Object.entries(map.data ?? {}), ...Object.entries(map.binaryData ?? {})], false))],
  secrets: (secret) => [facts([['Type', secret.type]]), section('Data', data(Object.entries(secret.data ?? {}), true))],
  nodes: (node, usage) => [
    facts([
      ['Addresses', (node.status?.addresses ?? []).map((one) => h('div', h('span.muted', `${one.type} `), h('span.mono', one.address)))],
      ['Pod range', node.spec?.podCIDR && h('span.mono', node.spec.podCIDR)],
      ['Taints', (node.spec?.taints ?? []).map((taint) => h('div.mono', `${taint.key}${taint.value ? `=${taint.value}` : ''}:${taint.effect}`))],
      ['System', node.status?.nodeInfo && `${node.status.nodeInfo.osImage}, Linux ${node.status.nodeInfo.kernelVersion}, ${node.status.nodeInfo.architecture}`],
      ['Kubelet', node.status?.nodeInfo?.kubeletVersion],
    ]),
    usageBlock(usage, quantity(node.status?.allocatable?.cpu), quantity(node.status?.allocatable?.memory)),
    section('Capacity', h('div.rows', Object.entries(node.status?.capacity ?? {}).map(([name, value]) => h('div.rowline', h('b.grow', name), h('span.mono', amount(name, value)), h('span.muted', `${amount(name, node.status?.allocatable?.[name])} for pods`))))),
  ],
  'ingresses.networking.k8s.io': (ingress) => [
    facts([['Class', ingress.spec?.ingressClassName], ['Address', (ingress.status?.loadBalancer?.ingress ?? []).map((one) => one.ip ?? one.hostname).join(', ')], ['TLS', (ingress.spec?.tls ?? []).map((one) => `${(one.hosts ?? ['*']).join(', ')} (${one.secretName ?? 'no secret'})`).join('; ')]]),
    section('Rules', h('div.rows', (ingress.spec?.rules ?? []).flatMap((rule) => (rule.http?.paths ?? []).map((path) => h('div.rowline', h('b', rule.host ?? 'any host'), h('span.mono', path.path ?? '/'), h('span.muted', path.pathType), h('span.grow', '→ ', path.backend?.service ? reference('v1', 'Service', { namespace: ingress.metadata.namespace, name: path.backend.service.name }) : '–', `:${path.backend?.service?.port?.number ?? path.backend?.service?.port?.name ?? ''}`)))))),
  ],
  persistentvolumeclaims: (claim) => [section('Storage', facts([['Phase', chip(claim.status?.phase)], ['Wanted', claim.spec?.resources?.requests?.storage], ['Capacity', claim.status?.capacity?.storage], ['Access', (claim.spec?.accessModes ?? []).join(', ')], ['Class', claim.spec?.storageClassName && reference('storage.k8s.io/v1', 'StorageClass', { name: claim.spec.storageClassName })], ['Volume', claim.spec?.volumeName && reference('v1', 'PersistentVolume', { name: claim.spec.volumeName })]]))],
  persistentvolumes: (volume) => [section('Storage', facts([['Phase', chip(volume.status?.phase)], ['Capacity', volume.spec?.capacity?.storage], ['Access', (volume.spec?.accessModes ?? []).join(', ')], ['Reclaimed by', volume.spec?.persistentVolumeReclaimPolicy], ['Class', volume.spec?.storageClassName], ['Path', h('span.mono', volume.spec?.hostPath?.path ?? volume.spec?.local?.path ?? volume.spec?.nfs?.path ?? '')], ['Claim', volume.spec?.claimRef && reference('v1', 'PersistentVolumeClaim', volume.spec.claimRef)]]))],
  namespaces: (namespace) => [h('p', h('a', { href: link({ page: 'overview', ns: namespace.metadata.name }) }, 'Show this namespace alone'))],
};

/** Memory and disks are told in bytes; the others are counts. */
function amount(name, value) {
  return /memory|storage|hugepages/.test(name) ? bytes(quantity(value)) : value ?? '–';
}

/** Pods that belong to the object, live. */
function podsOf(query, namespaceOf = (object) => object.metadata.namespace) {
  return (scope, root, object) => {
    const wanted = query(object);
    if (!wanted) return;
    const list = h('div.rows');
    const title = h('h3', 'Pods');
    put(root, h('section.block', title, list));
    const kind = kinds.get('pods');
    follow(scope, kind.path(namespaceOf(object)), wanted, (feed) => {
      const status = feed.columns.findIndex((column) => column.name === 'Status');
      title.textContent = `Pods (${feed.rows.size})`;
      put(list, feed.rows.size ? [...feed.rows.values()].slice(0, 200).map((row) => h('a.rowline', { href: openLink(kind, row.object) }, h('i', { class: `dot ${podState(row.object)}`, title: isReady(row.object) ? 'Ready' : 'Not ready' }), h('span.grow', row.object.metadata.name), chip(row.cells[status]), since(row.object.metadata.creationTimestamp))) : h('p.muted', 'None.'));
    });
  };
}

const bySelector = podsOf((object) => {
  const wanted = object.spec?.selector;
  const text = selector(wanted?.matchLabels || wanted?.matchExpressions ? wanted : wanted && { matchLabels: wanted });
  return text ? { labelSelector: text } : null;
});

const RELATED = {
  'deployments.apps': bySelector, 'statefulsets.apps': bySelector, 'daemonsets.apps': bySelector, 'replicasets.apps': bySelector, 'jobs.batch': bySelector, services: bySelector, replicationcontrollers: bySelector, 'poddisruptionbudgets.policy': bySelector,
  nodes: podsOf((node) => ({ fieldSelector: `spec.nodeName=${node.metadata.name}` }), () => ''),
};

/** Characters of JSON. */
const SMALL_MAX = 3000;

/** Everything an object of an unknown kind says, as far as one wants to unfold it. */
function tree(object) {
  const parts = Object.entries(object).filter(([key]) => !['kind', 'apiVersion', 'metadata'].includes(key));
  if (!parts.length) return null;
  // What is small is open at once.
  const open = JSON.stringify(parts).length < SMALL_MAX ? Infinity : 2;
  return section('Content', parts.map(([key, value]) => branch(key, value, open)));
}

/** `open`: how many levels are unfolded. */
function branch(key, value, open) {
  if (value === null || typeof value !== 'object') return h('div.leaf', h('span.leaf-key', key), h('span.mono', value === null ? 'null' : String(value)));
  const entries = Array.isArray(value) ? value.map((one, i) => [one?.name || one?.type || `${i}`, one]) : Object.entries(value);
  if (!entries.length) return h('div.leaf', h('span.leaf-key', key), h('span.muted', 'empty'));
  const inside = h('div.branch');
  const fold = h('details', { open: open > 0 }, h('summary', key, ' ', h('span.muted', Array.isArray(value) ? `[${entries.length}]` : '')), inside);
  const fill = () => inside.childElementCount || put(inside, entries.slice(0, 300).map(([name, one]) => branch(name, one, open - 1)));
  if (open > 0) fill();
  else fold.addEventListener('toggle', fill);
  return fold;
}
