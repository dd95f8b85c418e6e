// How traffic flows: Ingress to Service to the workloads behind it. Pure: objects in, a picture's nodes and lines out.

import { compare, matches } from './format.js';

/** What a pod is counted under: the workload its users know, not the ReplicaSet between. */
export function ownerOf(pod) {
  const owner = (pod.metadata.ownerReferences ?? []).find((one) => one.controller);
  if (!owner) return { kind: 'Pod', name: pod.metadata.name };
  const hash = pod.metadata.labels?.['pod-template-hash'];
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`)) {
    return { kind: 'Deployment', name: owner.name.slice(0, -hash.length - 1) };
  }
  return { kind: owner.kind, name: owner.name };
}

export function isReady(pod) {
  return (pod.status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');
}

/** `ready`, `waiting`, `failed` or `done`. */
export function podState(pod) {
  if (pod.status?.phase === 'Succeeded') return 'done';
  if (isReady(pod)) return 'ready';
  const statuses = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const isBad = statuses.some((one) => /BackOff|Err|Invalid|CannotRun/.test(one.state?.waiting?.reason ?? '') || (one.state?.terminated?.exitCode ?? 0) !== 0);
  return pod.status?.phase === 'Failed' || isBad ? 'failed' : 'waiting';
}

const idOf = (kind, { namespace, name }) => `${kind}/${namespace ?? ''}/${name}`;

export function graph({ ingresses = [], services = [], slices = [], pods = [] }) {
  const workloads = new Map();
  const homes = new Map();
  for (const pod of pods) {
    const { namespace } = pod.metadata;
    const owner = ownerOf(pod);
    const id = idOf(owner.kind, { namespace, name: owner.name });
    if (!workloads.has(id)) workloads.set(id, { id, column: 2, kind: owner.kind, namespace, name: owner.name, pods: [], ports: [] });
    const one = workloads.get(id);
    one.pods.push({ name: pod.metadata.name, state: podState(pod), pod });
    for (const container of pod.spec?.containers ?? []) {
      for (const port of container.ports ?? []) {
        const text = `${port.containerPort}${port.protocol && port.protocol !== 'TCP' ? `/${port.protocol}` : ''}`;
        if (!one.ports.includes(text)) one.ports.push(text);
      }
    }
    homes.set(`${namespace}/${pod.metadata.name}`, id);
  }
  for (const one of workloads.values()) one.pods.sort((a, b) => compare(a.name, b.name));

  const nodes = [];
  const edges = new Map();
  const join = (from, to, ready, label) => {
    const key = `${from}>${to}`;
    const known = edges.get(key) ?? { from, to, ready: 0, total: 0, label };
    known.total += 1;
    if (ready) known.ready += 1;
    edges.set(key, known);
  };
  const endpoints = endpointsByService(slices);
  for (const service of services) {
    const id = idOf('Service', service.metadata);
    const spec = service.spec ?? {};
    const mine = endpoints.get(`${service.metadata.namespace}/${service.metadata.name}`) ?? [];
    const addresses = new Map();
    for (const endpoint of mine) {
      addresses.set(endpoint.address, endpoint.ready);
      const home = homes.get(`${service.metadata.namespace}/${endpoint.pod}`);
      if (home) join(id, home, endpoint.ready);
    }
    // Pods that are selected but not among the endpoints yet.
    for (const pod of pods) {
      if (pod.metadata.namespace !== service.metadata.namespace || !matches(pod.metadata.labels, spec.selector)) continue;
      const home = homes.get(`${pod.metadata.namespace}/${pod.metadata.name}`);
      if (!mine.some((endpoint) => endpoint.pod === pod.metadata.name) && podState(pod) !== 'done') join(id, home, false);
    }
    const outside = (service.status?.loadBalancer?.ingress ?? []).map((one) => one.ip ?? one.hostname);
    nodes.push({
      id, column: 1, kind: 'Service', namespace: service.metadata.namespace, name: service.metadata.name, type: spec.type ?? 'ClusterIP',
      ports: (spec.ports ?? []).map(portText), ready: [...addresses.values()].filter(Boolean).length, total: addresses.size, outside,
      isExternal: spec.type === 'ExternalName', externalName: spec.externalName, isHeadless: spec.clusterIP === 'None',
    });
  }
  for (const ingress of ingresses) {
    const id = idOf('Ingress', ingress.metadata);
    const routes = routesOf(ingress);
    for (const route of routes) {
      const service = idOf('Service', { namespace: ingress.metadata.namespace, name: route.service });
      const known = nodes.find((node) => node.id === service);
      if (!known) {
        nodes.push({ id: service, column: 1, kind: 'Service', namespace: ingress.metadata.namespace, name: route.service, isMissing: true, ports: [], ready: 0, total: 0, outside: [] });
      }
      const key = `${id}>${service}`;
      if (!edges.has(key)) edges.set(key, { from: id, to: service, ready: known?.ready ?? 0, total: Math.max(1, known?.total ?? 0) });
    }
    nodes.push({
      id, column: 0, kind: 'Ingress', namespace: ingress.metadata.namespace, name: ingress.metadata.name, routes, tls: (ingress.spec?.tls ?? []).length > 0,
      outside: (ingress.status?.loadBalancer?.ingress ?? []).map((one) => one.ip ?? one.hostname),
    });
  }
  // What has completed takes no traffic.
  nodes.push(...[...workloads.values()].filter((one) => one.pods.some((pod) => pod.state !== 'done')));
  return { nodes: arrange(nodes, [...edges.values()]), edges: [...edges.values()] };
}

function portText(port) {
  const target = port.targetPort !== undefined && String(port.targetPort) !== String(port.port) ? `→${port.targetPort}` : '';
  const node = port.nodePort ? `:${port.nodePort}` : '';
  const protocol = port.protocol && port.protocol !== 'TCP' ? `/${port.protocol}` : '';
  return `${port.port}${node}${target}${protocol}`;
}

function endpointsByService(slices) {
  const found = new Map();
  for (const slice of slices) {
    const service = slice.metadata.labels?.['kubernetes.io/service-name'];
    if (!service) continue;
    const key = `${slice.metadata.namespace}/${service}`;
    if (!found.has(key)) found.set(key, []);
    for (const endpoint of slice.endpoints ?? []) {
      const pod = endpoint.targetRef?.kind === 'Pod' ? endpoint.targetRef.name : null;
      found.get(key).push({ address: endpoint.addresses?.[0], pod, ready: endpoint.conditions?.ready !== false });
    }
  }
  return found;
}

function routesOf(ingress) {
  const routes = [];
  const fallback = ingress.spec?.defaultBackend?.service;
  if (fallback) routes.push({ host: '*', path: '', service: fallback.name });
  for (const rule of ingress.spec?.rules ?? []) {
    for (const path of rule.http?.paths ?? []) {
      if (path.backend?.service) routes.push({ host: rule.host ?? '*', path: path.path ?? '/', service: path.backend.service.name });
    }
  }
  return routes;
}

/**
 * How far from the top each card of a column stands: as near as possible to where it wants its middle, without
 * touching the one before. `wishes` may be NaN. Pure.
 */
export function stack(heights, wishes, gap) {
  let free = 0;
  return heights.map((height, i) => {
    const top = Number.isNaN(wishes[i]) ? free : Math.max(free, wishes[i] - height / 2);
    free = top + height + gap;
    return top;
  });
}

/** Rows within the columns: who is connected stands beside each other, what nothing leads to comes last. */
function arrange(nodes, edges) {
  const columns = [0, 1, 2].map((column) => nodes.filter((node) => node.column === column).sort((a, b) => compare(a.namespace, b.namespace) || compare(a.name, b.name)));
  const neighbors = new Map();
  for (const { from, to } of edges) {
    for (const [a, b] of [[from, to], [to, from]]) {
      if (!neighbors.has(a)) neighbors.set(a, []);
      neighbors.get(a).push(b);
    }
  }
  const rank = () => columns.forEach((column) => column.forEach((node, row) => { node.row = row; }));
  rank();
  const at = new Map(nodes.map((node) => [node.id, node]));
  const sweep = (column, beside) => {
    const weight = (node) => {
      const rows = (neighbors.get(node.id) ?? []).map((id) => at.get(id)).filter((other) => other?.column === beside).map((other) => other.row);
      return rows.length ? rows.reduce((a, b) => a + b, 0) / rows.length : Infinity;
    };
    const weights = new Map(columns[column].map((node) => [node, weight(node)]));
    columns[column].sort((a, b) => (weights.get(a) === weights.get(b) ? a.row - b.row : weights.get(a) - weights.get(b)));
    rank();
  };
  for (const [column, beside] of [[1, 0], [2, 1], [1, 2], [0, 1], [1, 0], [2, 1]]) sweep(column, beside);
  return columns.flat();
}
