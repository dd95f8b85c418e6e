// What the cluster serves, by discovery: kinds, their paths and what can be done with them.

import { request } from './api.js';

const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

/** By id, as kubectl spells it in full: `pods`, `deployments.apps`. */
export const kinds = new Map();

export class Kind {
  constructor(group, version, resource) {
    this.group = group;
    this.version = version;
    this.plural = resource.resource;
    this.kind = resource.responseKind?.kind ?? resource.resource;
    this.isNamespaced = resource.scope === 'Namespaced';
    this.verbs = new Set(resource.verbs ?? []);
    this.short = resource.shortNames ?? [];
    this.subresources = new Map((resource.subresources ?? []).map((sub) => [sub.subresource, new Set(sub.verbs)]));
    this.id = group ? `${this.plural}.${group}` : this.plural;
  }

  get apiVersion() { return this.group ? `${this.group}/${this.version}` : this.version; }

  /** The collection in a namespace, or in all of them. */
  path(namespace) {
    const root = this.group ? `/apis/${this.group}/${this.version}` : `/api/${this.version}`;
    return this.isNamespaced && namespace ? `${root}/namespaces/${namespace}/${this.plural}` : `${root}/${this.plural}`;
  }

  object(namespace, name) { return `${this.path(namespace)}/${encodeURIComponent(name)}`; }

  can(verb) { return this.verbs.has(verb); }
}

export async function load() {
  const answers = await Promise.all(['/api', '/apis'].map((path) => request(path, { accept: AGGREGATED })));
  const found = new Map();
  for (const group of answers.flatMap((answer) => answer.items ?? [])) {
    for (const version of group.versions ?? []) {
      for (const resource of version.resources ?? []) {
        const kind = new Kind(group.metadata?.name ?? '', version.version, resource);
        if (!found.has(kind.id)) found.set(kind.id, kind);
      }
    }
  }
  kinds.clear();
  for (const [id, kind] of found) kinds.set(id, kind);
}

/** Finds the kind of an `ownerReference`, an event's object or the like. */
export function kindOf(apiVersion, name) {
  const group = apiVersion?.includes('/') ? apiVersion.split('/')[0] : '';
  for (const kind of kinds.values()) {
    if (kind.kind === name && kind.group === group) return kind;
  }
  return null;
}

/** The way around: sections of the sidebar. What is not served is not shown. */
export const SECTIONS = [
  ['Workloads', ['pods', 'deployments.apps', 'statefulsets.apps', 'daemonsets.apps', 'replicasets.apps', 'jobs.batch', 'cronjobs.batch', 'horizontalpodautoscalers.autoscaling']],
  ['Network', ['services', 'ingresses.networking.k8s.io', 'networkpolicies.networking.k8s.io', 'endpointslices.discovery.k8s.io']],
  ['Configuration', ['configmaps', 'secrets', 'resourcequotas', 'limitranges', 'poddisruptionbudgets.policy']],
  ['Storage', ['persistentvolumeclaims', 'persistentvolumes', 'storageclasses.storage.k8s.io']],
  ['Cluster', ['nodes', 'namespaces', 'customresourcedefinitions.apiextensions.k8s.io']],
  ['Access', ['serviceaccounts', 'roles.rbac.authorization.k8s.io', 'rolebindings.rbac.authorization.k8s.io', 'clusterroles.rbac.authorization.k8s.io', 'clusterrolebindings.rbac.authorization.k8s.io']],
];

const TITLES = {
  horizontalpodautoscalers: 'Autoscalers', persistentvolumeclaims: 'Volume claims', persistentvolumes: 'Volumes',
  customresourcedefinitions: 'Custom resources', poddisruptionbudgets: 'Disruption budgets', networkpolicies: 'Network policies',
  endpointslices: 'Endpoints', resourcequotas: 'Quotas', limitranges: 'Limit ranges', storageclasses: 'Storage classes',
  serviceaccounts: 'Service accounts', rolebindings: 'Role bindings', clusterroles: 'Cluster roles',
  clusterrolebindings: 'Cluster role bindings', configmaps: 'Config maps', cronjobs: 'Cron jobs',
  statefulsets: 'Stateful sets', daemonsets: 'Daemon sets', replicasets: 'Replica sets',
};

export function title(kind) {
  if (TITLES[kind.plural]) return TITLES[kind.plural];
  const words = kind.plural.replace(/s$/, '').toLowerCase() === kind.kind.toLowerCase() ? kind.kind + kind.plural.slice(kind.kind.length) : kind.plural;
  return words.charAt(0).toUpperCase() + words.slice(1);
}
