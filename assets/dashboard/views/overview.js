// How the cluster is: nodes, pods, workloads, what needs a look, what just happened.

import { h, paced, put } from '../core/dom.js';
import { follow } from '../core/api.js';
import { kinds, title } from '../core/catalog.js';
import { bytes, cpu, plural, quantity } from '../core/format.js';
import { podState } from '../core/graph.js';
import { gauge, isServed } from '../core/metrics.js';
import { here, link, openLink } from '../core/route.js';
import { meter, shares, spark } from '../parts/chart.js';
import { chip, ratio } from '../parts/chip.js';
import { command } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { eventLine, newestFirst, timeOf } from './events.js';

const WORKLOADS = ['deployments.apps', 'statefulsets.apps', 'daemonsets.apps', 'jobs.batch'];
const RECENT_MS = 15 * 60 * 1000;

export function mount(scope, root) {
  const cards = h('div.cards');
  const trouble = h('section');
  const nodes = h('section.card.panel');
  const workloads = h('section.card.panel');
  const recent = h('section.card.panel');
  const welcome = h('div');
  put(root, h('div.page', h('header.page-head', h('h1', here.ns ? here.ns : 'Overview'), here.ns && h('span.count', 'namespace')), welcome, cards, trouble, h('div.split', h('div.stack', nodes, workloads), recent)));
  const feeds = new Map();
  const draw = paced(() => !scope.over && show());
  for (const id of ['nodes', 'pods', 'services', 'events', 'persistentvolumeclaims', ...WORKLOADS]) {
    const kind = kinds.get(id);
    if (kind) feeds.set(id, follow(scope, kind.path(kind.isNamespaced ? here.ns : ''), {}, draw));
  }
  const usage = gauge(scope, 'nodes', draw);
  const objects = (id) => feeds.get(id)?.objects() ?? [];

  const show = () => {
    if (!feeds.get('pods').isLoaded || !feeds.get('nodes').isLoaded) {
      put(cards, [0, 1, 2, 3].map(() => h('div.card.stat.ghost')));
      return;
    }
    const pods = objects('pods');
    drawCards(pods);
    drawTrouble(pods);
    drawNodes(pods);
    drawWorkloads();
    drawRecent();
    const isFresh = WORKLOADS.every((id) => objects(id).every((one) => one.metadata.namespace === 'kube-system')) && !pods.some((pod) => pod.metadata.namespace !== 'kube-system');
    put(welcome, isFresh && feeds.get('deployments.apps')?.isLoaded && h('div.card.welcome', h('div', h('h2', here.ns ? 'Nothing runs in this namespace' : 'Your cluster is ready'), h('p', 'Start something; it appears here the moment it exists.')), h('div.stack', command(`kubectl${here.ns ? ` -n ${here.ns}` : ''} create deployment web --image=nginx --replicas=2`), command(`kubectl${here.ns ? ` -n ${here.ns}` : ''} expose deployment web --port=80 --type=NodePort`))));
  };

  let lately = 0;
  const stat = (name, href, value, note, picture) => h('a.card.stat', { href }, h('span.stat-name', name), h('span.stat-value', value), picture, h('span.stat-note', note));

  const drawCards = (pods) => {
    const all = objects('nodes');
    const ready = all.filter((node) => isNodeReady(node)).length;
    const states = { ready: 0, waiting: 0, failed: 0, done: 0 };
    for (const pod of pods) states[podState(pod)] += 1;
    const healthy = workloadStates();
    const claims = objects('persistentvolumeclaims');
    const bound = claims.filter((claim) => claim.status?.phase === 'Bound').length;
    const list = (id) => link({ page: 'list', id, ns: here.ns });
    put(cards,
      stat('Nodes', list('nodes'), `${ready}/${all.length}`, ready === all.length ? 'all ready' : `${all.length - ready} not ready`, shares([[ready, 'good', 'ready'], [all.length - ready, 'bad', 'not ready']], 'Nodes')),
      stat('Pods', list('pods'), String(pods.length), [[states.ready, 'ready'], [states.waiting, 'starting'], [states.failed, 'failing'], [states.done, 'completed']].filter(([n]) => n).map(([n, word]) => `${n} ${word}`).join(', ') || 'none yet', shares([[states.ready, 'good', 'ready'], [states.waiting, 'wait', 'starting'], [states.failed, 'bad', 'failing'], [states.done, 'quiet', 'completed']], 'Pods')),
      stat('Workloads', list('deployments.apps'), `${healthy.good}/${healthy.total}`, healthy.total ? (healthy.good === healthy.total ? 'all as wanted' : `${healthy.total - healthy.good} not as wanted`) : 'none yet', shares([[healthy.good, 'good', 'as wanted'], [healthy.total - healthy.good, 'wait', 'not as wanted']], 'Workloads')),
      isServed() && usage.values.size ? usageCard('CPU', 'cpu', cpu) : stat('Services', list('services'), String(objects('services').length), plural(objects('services').reduce((sum, one) => sum + (one.spec?.ports?.length ?? 0), 0), 'port'), null),
      isServed() && usage.values.size ? usageCard('Memory', 'memory', bytes) : stat('Volume claims', list('persistentvolumeclaims'), String(claims.length), claims.length ? `${bound} bound` : 'none yet', shares([[bound, 'good', 'bound'], [claims.length - bound, 'wait', 'waiting']], 'Volume claims')));
  };

  const usageCard = (name, key, showValue) => {
    const all = [...usage.values.values()];
    const room = objects('nodes').reduce((sum, node) => sum + (quantity(node.status?.allocatable?.[key]) || 0), 0);
    const used = all.reduce((sum, one) => sum + one[key], 0);
    const length = Math.min(...all.map((one) => one.history.length));
    const history = Array.from({ length }, (_, i) => all.reduce((sum, one) => sum + one.history[one.history.length - length + i][key], 0));
    return h('a.card.stat', { href: link({ page: 'list', id: 'nodes' }) }, h('span.stat-name', name), h('span.stat-value', showValue(used)), spark(history, `${name} lately`, { width: 200, height: 26 }), h('span.stat-note', `of ${showValue(room)} (${Math.round((used / room) * 100) || 0} %)`));
  };

  const workloadStates = () => {
    let good = 0;
    let total = 0;
    for (const id of WORKLOADS) {
      for (const one of objects(id)) {
        if (id === 'jobs.batch' && one.spec?.suspend) continue;
        total += 1;
        if (isAsWanted(one)) good += 1;
      }
    }
    return { good, total };
  };

  const drawTrouble = (pods) => {
    const now = Date.now();
    const bad = [];
    for (const node of objects('nodes')) if (!isNodeReady(node)) bad.push([kinds.get('nodes'), node, 'Not ready', reasonOf(node)]);
    for (const pod of pods) if (podState(pod) === 'failed') bad.push([kinds.get('pods'), pod, waitingReason(pod), waitingMessage(pod)]);
    for (const pod of pods) {
      const unscheduled = (pod.status?.conditions ?? []).find((one) => one.type === 'PodScheduled' && one.status === 'False');
      if (unscheduled && pod.status?.phase === 'Pending') bad.push([kinds.get('pods'), pod, 'Unschedulable', unscheduled.message]);
    }
    for (const claim of objects('persistentvolumeclaims')) if (claim.status?.phase === 'Lost') bad.push([kinds.get('persistentvolumeclaims'), claim, 'Lost', 'Its volume is gone.']);
    const warnings = objects('events').filter((event) => event.type === 'Warning' && now - Date.parse(timeOf(event)) < RECENT_MS).length;
    lately = warnings;
    put(trouble, bad.length > 0 && h('section.card.panel.trouble',
      h('h2', icon('warn'), `${plural(bad.length, 'thing')} to look at`),
      h('div.rows', bad.slice(0, 8).map(([kind, object, word, why]) => h('a.rowline', { href: openLink(kind, object) }, chip(word, 'bad'), h('b', object.metadata.name), h('span.muted', object.metadata.namespace), h('span.grow.ellipsis', { title: why }, why)))),
      bad.length > 8 && h('p.muted', `and ${bad.length - 8} more`)));
  };

  const drawNodes = (pods) => {
    const counts = new Map();
    for (const pod of pods) if (pod.spec?.nodeName && podState(pod) !== 'done') counts.set(pod.spec.nodeName, (counts.get(pod.spec.nodeName) ?? 0) + 1);
    put(nodes, h('h2', 'Nodes'), h('div.rows', objects('nodes').map((node) => {
      const used = usage.values.get(`/${node.metadata.name}`);
      const count = counts.get(node.metadata.name) ?? 0;
      const room = quantity(node.status?.allocatable?.pods);
      return h('a.rowline', { href: openLink(kinds.get('nodes'), node) },
        h('b.grow', node.metadata.name),
        used && h('span.gauge', h('span.muted', `CPU ${cpu(used.cpu)}`), meter(used.cpu / quantity(node.status.allocatable.cpu), 'CPU')),
        used && h('span.gauge', h('span.muted', bytes(used.memory)), meter(used.memory / quantity(node.status.allocatable.memory), 'Memory')),
        h('span.gauge', h('span.muted', `${count} of ${room} pods`), meter(count / room, 'Pods')),
        chip(node.spec?.unschedulable ? 'SchedulingDisabled' : isNodeReady(node) ? 'Ready' : 'NotReady', isNodeReady(node) && !node.spec?.unschedulable ? 'good' : isNodeReady(node) ? 'wait' : 'bad'));
    })));
  };

  const drawWorkloads = () => {
    const all = WORKLOADS.flatMap((id) => objects(id).map((object) => [kinds.get(id), object])).filter(([, object]) => (here.ns || object.metadata.namespace !== 'kube-system') && !object.status?.completionTime);
    all.sort(([, a], [, b]) => Number(isAsWanted(a)) - Number(isAsWanted(b)) || (b.metadata.creationTimestamp ?? '').localeCompare(a.metadata.creationTimestamp ?? ''));
    put(workloads, h('h2', 'Workloads'), all.length ? h('div.rows', all.slice(0, 8).map(([kind, object]) => h('a.rowline', { href: openLink(kind, object) }, h('span.kindword', kind.kind), h('b.grow.ellipsis', object.metadata.name), !here.ns && h('span.muted', object.metadata.namespace), ratio(readiness(object))))) : h('p.muted', 'None yet.'), all.length > 8 && h('p', h('a.quiet', { href: link({ page: 'list', id: 'deployments.apps', ns: here.ns }) }, `All ${title(kinds.get('deployments.apps')).toLowerCase()}`)));
  };

  const drawRecent = () => {
    const events = newestFirst(objects('events')).slice(0, 12);
    put(recent, h('h2', 'Recent events', h('span.spring'), h('a.quiet', { href: link({ page: 'events', ns: here.ns }) }, lately ? `${plural(lately, 'warning')} in 15 minutes` : 'All')), events.length ? h('div.events', events.map((event) => eventLine(event))) : h('p.muted', 'Nothing happened in the last hour.'));
  };

  show();
  return {};
}

function isNodeReady(node) {
  return (node.status?.conditions ?? []).some((one) => one.type === 'Ready' && one.status === 'True');
}

function reasonOf(node) {
  return (node.status?.conditions ?? []).find((one) => one.type === 'Ready')?.message ?? '';
}

function readiness({ spec = {}, status = {} }) {
  const want = status.desiredNumberScheduled ?? spec.replicas ?? spec.completions ?? 1;
  const have = status.numberReady ?? status.readyReplicas ?? status.succeeded ?? 0;
  return `${have}/${want}`;
}

function isAsWanted(object) {
  const [have, want] = readiness(object).split('/').map(Number);
  const isJob = object.kind === 'Job' || object.spec?.completions !== undefined;
  return isJob ? !(object.status?.conditions ?? []).some((one) => one.type === 'Failed' && one.status === 'True') : have >= want;
}

function worst(pod) {
  const all = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  return all.find((one) => one.state?.waiting?.reason && !one.ready) ?? all.find((one) => one.state?.terminated?.exitCode) ?? null;
}

function waitingReason(pod) {
  const one = worst(pod);
  return pod.status?.reason ?? one?.state?.waiting?.reason ?? one?.state?.terminated?.reason ?? 'Failed';
}

function waitingMessage(pod) {
  const one = worst(pod);
  const last = one?.lastState?.terminated ?? one?.state?.terminated;
  return pod.status?.message ?? one?.state?.waiting?.message ?? (last ? `exit code ${last.exitCode}` : '');
}
