// The traffic's way as a picture: cards in three columns, lines between them in the color of their readiness.

import { h, paced, put, s } from '../core/dom.js';
import { follow } from '../core/api.js';
import { kinds } from '../core/catalog.js';
import { graph, stack } from '../core/graph.js';
import { here, link, openLink } from '../core/route.js';
import { command } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { ratio } from '../parts/chip.js';

const PODS_SHOWN = 48;
const CARD_GAP = 14;
const KIND_IDS = { Ingress: 'ingresses.networking.k8s.io', Service: 'services', Deployment: 'deployments.apps', StatefulSet: 'statefulsets.apps', DaemonSet: 'daemonsets.apps', ReplicaSet: 'replicasets.apps', Job: 'jobs.batch', Pod: 'pods', ReplicationController: 'replicationcontrollers' };
const SYSTEM = 'kube-system';

export function mount(scope, root) {
  const picture = s('svg.wires', { 'aria-hidden': 'true' });
  const columns = [0, 1, 2].map(() => h('div.topo-column'));
  const canvas = h('div.topo-canvas', picture, columns);
  const hint = h('div');
  const heads = h('div.topo-heads', ['Ingresses', 'Services', 'Workloads and their pods'].map((text) => h('span', text)));
  const legend = h('div.legend', [['ready', 'ready'], ['waiting', 'starting'], ['failed', 'failing']].map(([state, word]) => h('span', h('i', { class: `dot ${state}` }), word)));
  put(root, h('div.page', h('header.page-head', h('h1', 'Topology'), h('span.spring'), legend), hint, h('div.topo.card', heads, canvas)));
  const feeds = {};
  const draw = paced(() => !scope.over && show());
  for (const [name, id] of [['ingresses', 'ingresses.networking.k8s.io'], ['services', 'services'], ['slices', 'endpointslices.discovery.k8s.io'], ['pods', 'pods']]) {
    const kind = kinds.get(id);
    if (kind) feeds[name] = follow(scope, kind.path(here.ns), {}, draw);
  }
  let drawn = { nodes: [], edges: [] };
  const cards = new Map();
  const show = () => {
    if (Object.values(feeds).some((feed) => !feed.isLoaded)) return;
    const visible = (object) => here.ns || object.metadata.namespace !== SYSTEM;
    const objects = Object.fromEntries(Object.entries(feeds).map(([name, feed]) => [name, feed.objects().filter(visible)]));
    drawn = graph(objects);
    cards.clear();
    for (const column of columns) put(column);
    for (const node of drawn.nodes) {
      const el = card(node);
      cards.set(node.id, el);
      columns[node.column].append(el);
      el.addEventListener('pointerenter', () => light(node.id));
      el.addEventListener('pointerleave', () => light(null));
      el.addEventListener('focusin', () => light(node.id));
    }
    const isEmpty = drawn.nodes.every((node) => node.kind === 'Service' && node.name === 'kubernetes');
    put(hint, isEmpty && h('div.hint.card', h('h2', 'No traffic yet'), h('p', 'A Deployment, a Service in front of it, and an Ingress that leads there appear here as a picture:'), command('kubectl create deployment web --image=nginx --replicas=3 --port=80'), command('kubectl expose deployment web'), command('kubectl create ingress web --rule="web.local/*=web:80"')));
    wire();
  };

  /** Cards stand beside what they lead to, column by column from the right. */
  const place = () => {
    for (const card of cards.values()) card.style.removeProperty('margin-top');
    const top = canvas.getBoundingClientRect().top;
    for (const column of [1, 0]) {
      const nodes = drawn.nodes.filter((node) => node.column === column);
      const middle = (id) => {
        const box = cards.get(id)?.getBoundingClientRect();
        return box ? box.top + box.height / 2 - top : NaN;
      };
      const wish = (node) => {
        const found = drawn.edges.filter((edge) => edge.from === node.id).map((edge) => middle(edge.to)).filter((one) => !Number.isNaN(one));
        return found.length ? found.reduce((a, b) => a + b, 0) / found.length : NaN;
      };
      const heights = nodes.map((node) => cards.get(node.id).getBoundingClientRect().height);
      let end = -CARD_GAP;
      stack(heights, nodes.map(wish), CARD_GAP).forEach((at, i) => {
        cards.get(nodes[i].id).style.setProperty('margin-top', `${at - end - CARD_GAP}px`);
        end = at + heights[i];
      });
    }
  };

  const wire = () => {
    place();
    const frame = canvas.getBoundingClientRect();
    picture.setAttribute('viewBox', `0 0 ${frame.width} ${frame.height}`);
    put(picture, drawn.edges.map((edge) => {
      const from = cards.get(edge.from)?.getBoundingClientRect();
      const to = cards.get(edge.to)?.getBoundingClientRect();
      if (!from || !to) return null;
      const [x1, y1, x2, y2] = [from.right - frame.left, from.top + from.height / 2 - frame.top, to.left - frame.left, to.top + to.height / 2 - frame.top];
      const bend = Math.max(24, (x2 - x1) / 2);
      const how = edge.ready === 0 ? 'bad' : edge.ready < edge.total ? 'wait' : 'good';
      return s('path', { d: `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, class: `wire ${how}`, 'data-from': edge.from, 'data-to': edge.to });
    }));
  };

  const light = (id) => {
    const lit = new Set();
    if (id) {
      const spread = (start, near, far) => {
        const queue = [start];
        while (queue.length) {
          const one = queue.pop();
          lit.add(one);
          for (const edge of drawn.edges) if (edge[near] === one && !lit.has(edge[far])) queue.push(edge[far]);
        }
      };
      spread(id, 'from', 'to');
      spread(id, 'to', 'from');
    }
    canvas.classList.toggle('lit', Boolean(id));
    for (const [key, el] of cards) el.classList.toggle('on', lit.has(key));
    for (const path of picture.children) path.classList.toggle('on', lit.has(path.dataset.from) && lit.has(path.dataset.to));
  };

  const observer = new ResizeObserver(wire);
  observer.observe(canvas);
  scope.add(() => observer.disconnect());
  show();
  return {};
}

function card(node) {
  const kind = kinds.get(KIND_IDS[node.kind]);
  const name = kind && !node.isMissing ? h('a', { href: openLink(kind, node) }, node.name) : h('span', node.name);
  return h('div', { class: `topo-card ${node.isMissing ? 'missing' : ''}`, data: { id: node.id } },
    h('div.topo-card-head', icon(node.column === 0 ? 'link' : node.column === 1 ? 'network' : 'workloads'), h('div', h('div.topo-name', name), h('div.topo-kind', node.isMissing ? 'Service, does not exist' : node.kind === 'Service' ? `${node.isHeadless ? 'Headless' : node.type} service` : node.kind, !here.ns && h('span', ` · ${node.namespace}`))), state(node)),
    body(node));
}

function state(node) {
  if (node.column === 1 && !node.isExternal && !node.isMissing) return ratio(`${node.ready}/${node.total}`);
  if (node.column === 2) {
    const fine = node.pods.filter((pod) => pod.state === 'ready' || pod.state === 'done').length;
    const isStarting = fine === 0 && !node.pods.some((pod) => pod.state === 'failed');
    return ratio(`${fine}/${node.pods.length}`, isStarting ? 'wait' : undefined);
  }
  return node.tls ? h('span.badge', 'TLS') : null;
}

function body(node) {
  if (node.column === 0) {
    return h('div.topo-lines', node.routes.slice(0, 8).map((route) => h('div', h('b', route.host), h('span.mono', route.path))), node.outside.length > 0 && h('div.muted', node.outside.join(', ')));
  }
  if (node.column === 1) {
    return h('div.topo-lines', node.isExternal && h('div', `→ ${node.externalName}`), node.ports.length > 0 && h('div.pills', node.ports.map((port) => h('span.pill', port))), node.outside.length > 0 && h('div.muted', node.outside.join(', ')), !node.isMissing && !node.isExternal && node.total === 0 && node.name !== 'kubernetes' && h('div.muted', 'No endpoints'));
  }
  return h('div.topo-lines',
    h('div.pods', node.pods.slice(0, PODS_SHOWN).map((pod) => h('a', { class: `pod ${pod.state}`, href: openLink(kinds.get('pods'), pod.pod), title: `${pod.name}: ${pod.state}`, 'aria-label': `Pod ${pod.name}, ${pod.state}` })), node.pods.length > PODS_SHOWN && h('a.muted', { href: link({ page: 'list', id: 'pods', ns: node.namespace, find: node.name }) }, `+${node.pods.length - PODS_SHOWN}`)),
    node.ports.length > 0 && h('div.pills', node.ports.map((port) => h('span.pill', port))));
}
