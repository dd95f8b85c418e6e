// One kind's objects: the columns kubectl shows, live, with what the dashboard adds.

import { h, put } from '../core/dom.js';
import { follow } from '../core/api.js';
import { kinds, title } from '../core/catalog.js';
import { age, bytes, compare, cpu, quantity } from '../core/format.js';
import { gauge, isServed } from '../core/metrics.js';
import { go, here, openLink } from '../core/route.js';
import { chip, ratio } from '../parts/chip.js';
import { meter, spark } from '../parts/chart.js';
import { command } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { Table, searchBox } from '../parts/table.js';

const STATUS = new Set(['Status', 'Phase', 'Established']);
const WIDE = { Name: 200, IP: 108, 'Cluster-IP': 122, 'External-IP': 112, 'Port(s)': 130, Node: 96, Containers: 130, Images: 220, Selector: 200, Labels: 200, Message: 320, Hosts: 160, Rules: 160, Roles: 100, Role: 170, 'Internal-IP': 110, Reference: 190, Targets: 170, Schedule: 110, Provisioner: 150, Volume: 180, Claim: 180, Subjects: 160 };

/** Columns of a feed's tables, for `Table`. `extra` are put before the age. */
export function columnsOf(definitions, { withNamespace, extra = [] }) {
  const columns = definitions.map((definition) => {
    const id = definition.name;
    const { index } = definition;
    const value = (row) => row.cells[index];
    const column = {
      id, title: id, min: WIDE[id] ?? Math.max(74, id.length * 8 + 16), grow: index === 0 ? 3 : 1, rank: index === 0 ? 0 : definition.priority > 0 ? 8 + index : 1 + index / 100, value,
      cell: (row) => (isNothing(value(row)) ? h('span.muted', '–') : text(value(row))),
    };
    if (index === 0) {
      column.value = (row) => row.object.metadata.name;
    } else if (id === 'Age') {
      column.min = 64;
      column.grow = 0.6;
      column.rank = 1;
      column.value = (row) => -Date.parse(row.object.metadata.creationTimestamp);
      column.cell = (row) => h('time', { data: { since: row.object.metadata.creationTimestamp }, datetime: row.object.metadata.creationTimestamp }, age(row.object.metadata.creationTimestamp));
    } else if (STATUS.has(id)) {
      column.min = 152;
      column.rank = 0.5;
      column.cell = (row) => chip(value(row));
    } else if (id === 'Ready' || id === 'Completions') {
      column.rank = 0.6;
      // A pod that has completed is not ready, and need not be.
      column.cell = (row) => ratio(text(value(row)), row.conditions?.some((one) => one.type === 'Completed') ? 'quiet' : undefined);
    }
    return column;
  });
  const ageAt = columns.findIndex((column) => column.id === 'Age');
  columns.splice(ageAt < 0 ? columns.length : ageAt, 0, ...extra);
  if (withNamespace) {
    const value = (row) => row.object.metadata.namespace;
    columns.splice(1, 0, { id: 'Namespace', title: 'Namespace', min: 110, grow: 1, rank: 0.9, value, cell: value });
  }
  return columns;
}

const isNothing = (value) => value === '<none>' || value === '' || value === null || value === undefined;

/** Wide columns that say nothing of any row are left out. */
export function telling(definitions, rows) {
  return definitions.map((definition, index) => ({ ...definition, index })).filter(({ priority, index }) => !(priority > 0) || rows.some((row) => !isNothing(row.cells[index])));
}

function text(value) {
  return value === null || value === undefined ? '' : Array.isArray(value) ? value.join(', ') : String(value);
}

/** Usage columns of pods and nodes, where metrics are served. */
function usageColumns(kind, found) {
  if (!isServed() || !['pods', 'nodes'].includes(kind.id)) return [];
  const of = (row) => found.values.get(`${row.object.metadata.namespace ?? ''}/${row.object.metadata.name}`);
  const column = (id, name, show) => ({
    id, title: id, min: 110, grow: 0.8, rank: 2,
    value: (row) => of(row)?.[name] ?? -1,
    cell: (row) => {
      const usage = of(row);
      if (!usage) return '–';
      const room = kind.id === 'nodes' ? quantity(row.object.status?.allocatable?.[name]) : NaN;
      const picture = room > 0 ? meter(usage[name] / room, `${id} in use`) : spark(usage.history.map((point) => point[name]), `${id} lately`, { width: 44, height: 18 });
      return h('span.usage', h('span', show(usage[name])), picture);
    },
  });
  return [column('CPU', 'cpu', cpu), column('Memory', 'memory', bytes)];
}

/** Straight to what people open pods for. */
function links(kind) {
  if (kind.id !== 'pods') return [];
  const to = (row, tab, name) => h('a.plain.quick', { href: openLink(kind, row.object, tab), title: name, 'aria-label': `${name} of ${row.object.metadata.name}` }, icon(tab));
  return [{ id: 'links', title: '', min: 72, grow: 0.3, rank: 0.95, align: 'end', cell: (row) => h('span.quicks', to(row, 'logs', 'Logs'), to(row, 'shell', 'Shell')) }];
}

/** Whether a row has every word in its name, namespace, labels or cells. */
export function isFound(row, words) {
  if (!words.length) return true;
  const { name, namespace, labels } = row.object.metadata;
  const all = `${name} ${namespace ?? ''} ${Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`).join(' ')} ${row.cells.join(' ')}`.toLowerCase();
  return words.every((word) => all.includes(word));
}

export function mount(scope, root, { id }) {
  const kind = kinds.get(id);
  if (!kind) {
    put(root, h('div.page', h('div.hint', h('h2', 'This cluster does not serve that'), h('p', `There is no resource “${id}” here. It may come with a CustomResourceDefinition.`), command('kubectl api-resources'))));
    return;
  }
  let words = here.find.toLowerCase().split(/\s+/).filter(Boolean);
  const count = h('span.count');
  const state = h('div.banner', { hidden: true, role: 'status' });
  const found = gauge(scope, kind.plural === 'nodes' ? 'nodes' : 'pods', () => table.redraw());
  const table = new Table(scope, {
    label: title(kind),
    key: (row) => `${row.object.metadata.namespace ?? ''}/${row.object.metadata.name}`,
    href: (row) => openLink(kind, row.object),
    onopen: (row) => { location.hash = openLink(kind, row.object); },
    isOpen: (row) => here.open?.id === kind.id && here.open.name === row.object.metadata.name && here.open.ns === (row.object.metadata.namespace ?? ''),
    empty: () => emptiness(kind, feed, words),
    sort: kind.id.startsWith('events') ? null : { id: 'Name', isDown: false },
  });
  const search = searchBox({
    value: here.find,
    onsearch: (value) => {
      words = value.toLowerCase().split(/\s+/).filter(Boolean);
      go({ find: value }, { replace: true });
      show();
    },
  });
  put(root, h('div.page.full',
    h('header.page-head', h('h1', title(kind)), count, h('span.spring'), search),
    state, table.el));
  const feed = follow(scope, kind.path(here.ns), {}, () => show());
  let shownFor = '';
  const show = () => {
    state.hidden = !feed.error;
    if (feed.error) state.textContent = feed.state === 'refused' ? feed.error.message : `Connecting again… ${feed.error.message}`;
    const all = [...feed.rows.values()];
    const definitions = telling(feed.columns, all);
    const signature = definitions.map((column) => column.name).join();
    if (feed.columns.length && shownFor !== signature) {
      shownFor = signature;
      table.setColumns([...columnsOf(definitions, { withNamespace: kind.isNamespaced && !here.ns, extra: usageColumns(kind, found) }), ...links(kind)]);
    }
    const rows = words.length ? all.filter((row) => isFound(row, words)) : all;
    if (!table.sort) rows.sort((a, b) => compare(Date.parse(b.object.metadata.creationTimestamp), Date.parse(a.object.metadata.creationTimestamp)));
    count.textContent = feed.isLoaded ? (words.length ? `${rows.length} of ${all.length}` : all.length.toLocaleString()) : '';
    table.setRows(rows, { isLoading: !feed.isLoaded });
  };
  show();
  return { routed: () => table.draw(), focus: () => table.port.focus({ preventScroll: true }) };
}

const EXAMPLES = {
  pods: 'kubectl run web --image=nginx',
  'deployments.apps': 'kubectl create deployment web --image=nginx --replicas=2',
  services: 'kubectl expose deployment web --port=80',
  'jobs.batch': "kubectl create job hello --image=busybox -- echo hello",
  'cronjobs.batch': "kubectl create cronjob hello --image=busybox --schedule='*/1 * * * *' -- date",
  'ingresses.networking.k8s.io': 'kubectl create ingress web --rule="web.local/*=web:80"',
  configmaps: 'kubectl create configmap settings --from-literal=color=blue',
  secrets: 'kubectl create secret generic login --from-literal=password=changeme',
  'horizontalpodautoscalers.autoscaling': 'kubectl autoscale deployment web --min=1 --max=5 --cpu=50%',
  namespaces: 'kubectl create namespace team-a',
};

function emptiness(kind, feed, words) {
  if (feed?.state === 'refused') return h('div.hint', h('h2', 'Not to be seen'), h('p', feed.error?.message));
  if (words.length) return h('div.hint', h('h2', 'Nothing matches'), h('p', `No ${title(kind).toLowerCase()} match “${words.join(' ')}”.`));
  const where = kind.isNamespaced && here.ns ? ` in the namespace ${here.ns}` : '';
  const ns = kind.isNamespaced && here.ns ? ` -n ${here.ns}` : '';
  const example = EXAMPLES[kind.id];
  return h('div.hint', h('h2', `No ${title(kind).toLowerCase()}${where} yet`),
    h('p', example ? 'They appear here the moment they exist. To make one:' : 'They appear here the moment they exist. To explore what they are:'),
    command(example ? example.replace(/^kubectl/, `kubectl${ns}`) : `kubectl explain ${kind.id}`));
}

