// What can be done with an object beside reading it: a table, one row per action.

import { h } from './dom.js';
import { request } from './api.js';
import { ask, copy, toast } from '../parts/dialog.js';
import { kinds } from './catalog.js';
import { selector } from './format.js';

const MERGE = 'application/merge-patch+json';
const STRATEGIC = 'application/strategic-merge-patch+json';
const ROLLED = ['deployments.apps', 'statefulsets.apps', 'daemonsets.apps'];

const pathOf = (kind, object) => kind.object(object.metadata.namespace, object.metadata.name);
const patch = (kind, object, body, type = MERGE, sub = '') => request(`${pathOf(kind, object)}${sub}`, { method: 'PATCH', body, type });
const called = (kind, object) => `${kind.kind} ${object.metadata.name}`;

/** The kubectl command that does the same, for people to learn and keep. */
export function kubectl(verb, kind, object, rest = '') {
  const ns = object.metadata.namespace ? ` -n ${object.metadata.namespace}` : '';
  const name = kind.short[0] ?? kind.plural;
  return `kubectl ${verb}${ns} ${kind.id.includes('.') && !kind.short.length ? kind.id : name}/${object.metadata.name}${rest}`;
}

async function quick(work, done) {
  try {
    await work();
    toast(done);
  } catch (error) {
    toast(error.message, { isProblem: true });
  }
}

/** `{id, label, icon, isFor(kind, object), run(kind, object), isDanger}` */
export const ACTIONS = [
  {
    id: 'scale', label: 'Scale', icon: 'scale',
    isFor: (kind) => kind.subresources.get('scale')?.has('patch'),
    run: async (kind, object) => {
      const now = object.spec?.replicas ?? 1;
      const input = h('input', { type: 'number', min: '0', max: '10000', value: now, autofocus: true, 'aria-label': 'Replicas', name: 'replicas' });
      await ask({
        title: `Scale ${object.metadata.name}`, text: kubectl('scale', kind, object, ' --replicas=N'), body: h('label.field', 'Replicas', input), confirm: 'Scale',
        read: () => Number(input.value),
        act: (replicas) => patch(kind, object, { spec: { replicas } }, MERGE, '/scale'),
      }).then((replicas) => replicas !== null && toast(`${called(kind, object)} scaled to ${replicas}`));
    },
  },
  {
    id: 'restart', label: 'Restart', icon: 'restart',
    isFor: (kind) => ROLLED.includes(kind.id),
    run: (kind, object) => quick(
      () => patch(kind, object, { spec: { template: { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': new Date().toISOString().replace(/\.\d+/, '') } } } } }, STRATEGIC),
      `${called(kind, object)} restarts, one pod after the other`,
    ),
  },
  {
    id: 'pause', label: 'Pause rollout', icon: 'pause',
    isFor: (kind, object) => kind.id === 'deployments.apps' && !object.spec?.paused,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { paused: true } }), `${called(kind, object)} is paused`),
  },
  {
    id: 'resume', label: 'Resume rollout', icon: 'play',
    isFor: (kind, object) => kind.id === 'deployments.apps' && object.spec?.paused,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { paused: null } }), `${called(kind, object)} goes on`),
  },
  {
    id: 'undo', label: 'Roll back', icon: 'back',
    isFor: (kind) => kind.id === 'deployments.apps',
    run: (kind, object) => rollBack(kind, object),
  },
  {
    id: 'trigger', label: 'Run now', icon: 'play',
    isFor: (kind) => kind.id === 'cronjobs.batch',
    run: (kind, object) => quick(() => trigger(object), `A job of ${object.metadata.name} was started`),
  },
  {
    id: 'suspend', label: 'Suspend', icon: 'pause',
    isFor: (kind, object) => ['cronjobs.batch', 'jobs.batch'].includes(kind.id) && !object.spec?.suspend && !object.status?.completionTime,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { suspend: true } }), `${called(kind, object)} is suspended`),
  },
  {
    id: 'unsuspend', label: 'Resume', icon: 'play',
    isFor: (kind, object) => ['cronjobs.batch', 'jobs.batch'].includes(kind.id) && object.spec?.suspend,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { suspend: false } }), `${called(kind, object)} goes on`),
  },
  {
    id: 'cordon', label: 'Cordon', icon: 'pause',
    isFor: (kind, object) => kind.id === 'nodes' && !object.spec?.unschedulable,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { unschedulable: true } }), `${called(kind, object)} takes no new pods`),
  },
  {
    id: 'uncordon', label: 'Uncordon', icon: 'play',
    isFor: (kind, object) => kind.id === 'nodes' && object.spec?.unschedulable,
    run: (kind, object) => quick(() => patch(kind, object, { spec: { unschedulable: null } }), `${called(kind, object)} takes pods again`),
  },
  {
    id: 'drain', label: 'Drain', icon: 'drain',
    isFor: (kind) => kind.id === 'nodes',
    run: (kind, object) => ask({
      title: `Drain ${object.metadata.name}?`, confirm: 'Drain', isDanger: true,
      text: 'The node takes no new pods, and its pods are evicted; those of DaemonSets and those without an owner stay. Disruption budgets are kept.',
      act: () => drain(kind, object),
    }).then((done) => done && toast(`${called(kind, object)} was drained`)),
  },
  {
    id: 'command', label: 'Copy kubectl command', icon: 'copy',
    isFor: () => true,
    run: (kind, object) => copy(kubectl('get', kind, object, ' -o yaml'), 'Command copied'),
  },
  {
    id: 'delete', label: 'Delete', icon: 'trash', isDanger: true,
    isFor: (kind) => kind.can('delete'),
    run: (kind, object) => remove(kind, object),
  },
];

export function remove(kind, object) {
  const force = h('input', { type: 'checkbox' });
  const isPod = kind.id === 'pods';
  return ask({
    title: `Delete ${called(kind, object)}?`, confirm: 'Delete', isDanger: true,
    text: object.metadata.namespace ? `From the namespace ${object.metadata.namespace}, with everything it owns. This cannot be undone.` : 'With everything it owns. This cannot be undone.',
    body: isPod && h('label.check', force, 'At once, without its grace period'),
    act: () => request(pathOf(kind, object), {
      method: 'DELETE',
      body: { kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy: 'Background', preconditions: { uid: object.metadata.uid }, ...(force.checked ? { gracePeriodSeconds: 0 } : {}) },
    }),
  }).then((done) => {
    if (done) toast(`${called(kind, object)} is being deleted`);
    return done;
  });
}

const REVISION = 'deployment.kubernetes.io/revision';

/** As `kubectl rollout undo --to-revision`: the template of an older ReplicaSet becomes the Deployment's again. */
async function rollBack(kind, object) {
  const { namespace, name, uid, annotations } = object.metadata;
  let sets;
  try {
    const wanted = encodeURIComponent(selector(object.spec.selector));
    sets = (await request(`${kinds.get('replicasets.apps').path(namespace)}?labelSelector=${wanted}`)).items;
  } catch (error) {
    toast(error.message, { isProblem: true });
    return;
  }
  const revision = (set) => Number(set.metadata.annotations?.[REVISION] ?? 0);
  const old = sets
    .filter((set) => set.metadata.ownerReferences?.some((owner) => owner.uid === uid) && String(revision(set)) !== annotations?.[REVISION])
    .sort((a, b) => revision(b) - revision(a));
  if (!old.length) {
    toast(`There is no earlier revision of ${name}.`);
    return;
  }
  const images = (set) => set.spec.template.spec.containers.map((one) => one.image).join(', ');
  const choices = old.map((set, i) => h('label.check', h('input', { type: 'radio', name: 'revision', value: i, checked: i === 0 }), h('b', `Revision ${revision(set)}`), h('span.muted', set.metadata.annotations?.['kubernetes.io/change-cause'] ?? images(set))));
  const list = h('div.rows', choices);
  const done = await ask({
    title: `Roll back ${name}`, confirm: 'Roll back', body: list, text: kubectl('rollout undo', kind, object, ' --to-revision=N'),
    act: () => {
      const template = structuredClone(old[Number(list.querySelector(':checked').value)].spec.template);
      delete template.metadata.labels['pod-template-hash'];
      return patch(kind, object, [{ op: 'replace', path: '/spec/template', value: template }], 'application/json-patch+json');
    },
  });
  if (done) toast(`${called(kind, object)} rolls back`);
}

function trigger(cron) {
  const { namespace, name, uid } = cron.metadata;
  const template = cron.spec.jobTemplate;
  const suffix = Date.now().toString(36);
  const job = {
    apiVersion: 'batch/v1', kind: 'Job',
    metadata: {
      name: `${name.slice(0, 50)}-${suffix}`, labels: template.metadata?.labels,
      annotations: { ...template.metadata?.annotations, 'cronjob.kubernetes.io/instantiate': 'manual' },
      ownerReferences: [{ apiVersion: 'batch/v1', kind: 'CronJob', name, uid, controller: true }],
    },
    spec: template.spec,
  };
  return request(kinds.get('jobs.batch').path(namespace), { method: 'POST', body: job });
}

async function drain(kind, node) {
  await patch(kind, node, { spec: { unschedulable: true } });
  const list = await request(`${kinds.get('pods').path('')}?fieldSelector=spec.nodeName%3D${encodeURIComponent(node.metadata.name)}`);
  const left = [];
  for (const pod of list.items) {
    const owner = (pod.metadata.ownerReferences ?? []).find((one) => one.controller);
    if (!owner || owner.kind === 'DaemonSet' || owner.kind === 'Node') continue;
    const { namespace, name } = pod.metadata;
    try {
      await request(`${kinds.get('pods').object(namespace, name)}/eviction`, {
        method: 'POST', body: { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { namespace, name } },
      });
    } catch (error) {
      if (error.status !== 404) left.push(`${namespace}/${name}: ${error.message}`);
    }
  }
  if (left.length) throw new Error(`Still there: ${left.join('; ')}`);
}
