// What the pages show, decided without a browser: numbers, texts, the traffic's graph.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, compare, cpu, decode64, duration, matches, quantity, selector } from '../../assets/dashboard/core/format.js';
import { graph, ownerOf, podState, stack } from '../../assets/dashboard/core/graph.js';
import { line } from '../../assets/dashboard/parts/chart.js';
import { Lines, colors, documents, styled, withoutBookkeeping } from '../../assets/dashboard/core/text.js';

function table(name, work, cases) {
  test(name, () => cases.forEach(([input, expected]) => assert.deepEqual(work(input), expected, JSON.stringify(input))));
}

table('quantities have values', quantity, [['500m', 0.5], ['1', 1], ['2Gi', 2147483648], ['128Mi', 134217728], ['1e3', 1000], ['1.5k', 1500], ['x', NaN], ['', NaN], [undefined, NaN]]);
table('CPU as people read it', cpu, [[0, '0m'], [0.0004, '1m'], [0.05, '50m'], [0.25, '0.25'], [1, '1'], [2.5, '2.5'], [12.4, '12'], [NaN, '–']]);
table('bytes as people read them', bytes, [[0, '0 B'], [1023, '1023 B'], [1536, '1.5 Ki'], [134217728, '128 Mi'], [NaN, '–']]);
table('ages are kubectl\'s', duration, [[0, '0s'], [119, '119s'], [120, '2m'], [200, '3m20s'], [660, '11m'], [10800, '3h'], [12000, '3h20m'], [36000, '10h'], [180000, '2d2h'], [86400 * 9, '9d'], [86400 * 800, '2y']]);
table('selectors are queries', selector, [[undefined, ''], [{ matchLabels: { a: 'b', c: 'd' } }, 'a=b,c=d'], [{ matchExpressions: [{ key: 'a', operator: 'In', values: ['x', 'y'] }, { key: 'b', operator: 'DoesNotExist' }] }, 'a in (x,y),!b']]);

test('names are ordered as people count', () => {
  assert.deepEqual(['web-10', 'web-2', 'api'].sort(compare), ['api', 'web-2', 'web-10']);
  assert.ok(!matches({ a: 'b' }, {}) && matches({ a: 'b', c: 'd' }, { a: 'b' }) && !matches(undefined, { a: 'b' }));
});

test('secrets are text or are not', () => {
  assert.equal(decode64(Buffer.from('비밀번호').toString('base64')), '비밀번호');
  assert.equal(decode64(Buffer.from([0xff, 0xfe]).toString('base64')), null);
  assert.equal(decode64('%'), null);
});

test('bookkeeping is left out of the text', () => {
  const text = 'apiVersion: v1\nmetadata:\n  labels:\n    a: b\n  managedFields:\n  - apiVersion: v1\n    fieldsV1:\n      f:data: {}\n    manager: kubectl\n  - manager: other\n  name: x\ndata:\n  managedFields: "mine"\n';
  assert.equal(withoutBookkeeping(text), 'apiVersion: v1\nmetadata:\n  labels:\n    a: b\n  name: x\ndata:\n  managedFields: "mine"\n');
});

table('lines of YAML are colored', colors, [
  ['  name: web', [['', '  '], ['k', 'name'], ['', ': '], ['v', 'web']]],
  ['- image: nginx:1.2', [['', '- '], ['k', 'image'], ['', ': '], ['v', 'nginx:1.2']]],
  ['replicas: 3', [['k', 'replicas'], ['', ': '], ['n', '3']]],
  ['on: true', [['k', 'on'], ['', ': '], ['b', 'true']]],
  ['# note: x', [['c', '# note: x']]],
  ['- "a: b"', [['', '- '], ['q', '"a: b"']]],
  ['spec:', [['k', 'spec'], ['', ':']]],
  ['', []],
]);

test('every character of a line is kept', () => {
  for (const line of ['a: b: c', "'x': 'y'", '  - - a', 'url: http://x:80/#y', ': odd', 'a:b', '"q": 1', '\tk: v', '- |-', 'k: >']) {
    assert.equal(colors(line).map(([, text]) => text).join(''), line);
  }
});

table('documents say where they go', (text) => documents(text).map(({ apiVersion, kind, name, namespace }) => [apiVersion, kind, name, namespace].join(' ')), [
  ['', []],
  ['# nothing\n---\n', []],
  ['apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n', ['v1 Pod a ']],
  ['---\napiVersion: apps/v1 # as of 1.9\nkind: "Deployment"\nmetadata:\n    labels:\n        name: not\n    name: \'b\'\n    namespace: shop\nspec:\n  template:\n    metadata:\n      name: c\n--- # next\nkind: ConfigMap\napiVersion: v1\nmetadata: # here\n  name: d', ['apps/v1 Deployment b shop', 'v1 ConfigMap d ']],
]);

test('logs come in pieces and show colors', () => {
  const lines = new Lines();
  assert.deepEqual([lines.push('a\nb'), lines.push('c\n\n'), lines.push('d')], [['a'], ['bc', ''], []]);
  assert.deepEqual(styled('a\x1b[31mred\x1b[0m b\x1b[K').map(([text, style]) => [text, style.fg]), [['a', null], ['red', 1], [' b', null]]);
});

const pod = (name, labels, more = {}) => ({
  metadata: { name, namespace: 'n', labels, ownerReferences: more.owner && [{ ...more.owner, controller: true }] },
  spec: { containers: [{ name: 'c', ports: [{ containerPort: 80 }] }] },
  status: { phase: 'Running', conditions: [{ type: 'Ready', status: more.ready === false ? 'False' : 'True' }], containerStatuses: more.statuses },
});

test('pods belong to what people made', () => {
  const set = { kind: 'ReplicaSet', name: 'web-5d4f' };
  assert.deepEqual(ownerOf(pod('web-5d4f-x', { 'pod-template-hash': '5d4f' }, { owner: set })), { kind: 'Deployment', name: 'web' });
  assert.deepEqual(ownerOf(pod('x', {}, { owner: set })), { kind: 'ReplicaSet', name: 'web-5d4f' });
  assert.deepEqual(ownerOf(pod('alone')), { kind: 'Pod', name: 'alone' });
});

test('pods are ready, starting, failing or done', () => {
  const waiting = (reason) => podState(pod('p', {}, { ready: false, statuses: [{ state: { waiting: { reason } } }] }));
  assert.equal(podState(pod('p')), 'ready');
  assert.equal(waiting('ContainerCreating'), 'waiting');
  assert.equal(waiting('CrashLoopBackOff'), 'failed');
  assert.equal(waiting('ImagePullBackOff'), 'failed');
  assert.equal(podState({ status: { phase: 'Succeeded' } }), 'done');
  assert.equal(podState({ status: { phase: 'Failed' } }), 'failed');
});

test('traffic goes from ingress to service to pods', () => {
  const owner = { kind: 'ReplicaSet', name: 'web-1' };
  const labels = { app: 'web', 'pod-template-hash': '1' };
  const pods = [pod('web-1-a', labels, { owner }), pod('web-1-b', labels, { owner, ready: false })];
  const services = [
    { metadata: { name: 'web', namespace: 'n' }, spec: { type: 'NodePort', selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }, { port: 53, protocol: 'UDP' }] } },
    { metadata: { name: 'empty', namespace: 'n' }, spec: { selector: { app: 'none' }, clusterIP: 'None', ports: [] } },
  ];
  const endpoint = (name, ready) => ({ addresses: [name], conditions: { ready }, targetRef: { kind: 'Pod', name } });
  const slices = [{ metadata: { name: 's', namespace: 'n', labels: { 'kubernetes.io/service-name': 'web' } }, endpoints: [endpoint('web-1-a', true), endpoint('web-1-b', false)] }];
  const backend = (name) => ({ service: { name, port: { number: 80 } } });
  const ingresses = [{ metadata: { name: 'i', namespace: 'n' }, spec: { tls: [{}], rules: [{ host: 'a.b', http: { paths: [{ path: '/', backend: backend('web') }, { path: '/x', backend: backend('gone') }] } }] } }];
  const { nodes, edges } = graph({ ingresses, services, slices, pods });
  const lines = edges.map(({ from, to, ready, total }) => `${from} > ${to} ${ready}/${total}`).sort();
  assert.deepEqual(lines, ['Ingress/n/i > Service/n/gone 0/1', 'Ingress/n/i > Service/n/web 1/2', 'Service/n/web > Deployment/n/web 1/2']);
  const at = Object.fromEntries(nodes.map((node) => [node.id, node]));
  assert.deepEqual(at['Service/n/web'].ports, ['80:30080→8080', '53/UDP']);
  assert.ok(at['Service/n/gone'].isMissing && at['Service/n/empty'].isHeadless && at['Ingress/n/i'].tls);
  assert.deepEqual(at['Deployment/n/web'].pods.map((one) => one.state), ['ready', 'waiting']);
  // Who is connected stands above who is not.
  const column = nodes.filter((node) => node.column === 1).map((node) => node.name);
  assert.equal(column.at(-1), 'empty');
});

test('a selected pod that is no endpoint yet still shows its way', () => {
  const services = [{ metadata: { name: 'web', namespace: 'n' }, spec: { selector: { app: 'web' } } }];
  const { edges } = graph({ services, pods: [pod('p', { app: 'web' }, { ready: false })] });
  assert.deepEqual(edges.map(({ to, ready, total }) => [to, ready, total]), [['Pod/n/p', 0, 1]]);
});

test('cards stand beside what they lead to and do not touch', () => {
  assert.deepEqual(stack([20, 20, 20], [100, 105, NaN], 10), [90, 120, 150]);
  assert.deepEqual(stack([20], [5], 10), [0]);
});

test('lines go from left to right and stay in their box', () => {
  assert.equal(line([], 10, 10), '');
  assert.equal(line([5], 10, 10), '0.0,1.0 10.0,1.0');
  assert.equal(line([0, 4, 2], 10, 10), '0.0,9.0 5.0,1.0 10.0,5.0');
  assert.equal(line([0, 0], 10, 10), '0.0,9.0 10.0,9.0');
});

test('what has completed is no part of the traffic', () => {
  const done = { ...pod('job-x', {}, { owner: { kind: 'Job', name: 'job' } }), status: { phase: 'Succeeded' } };
  assert.deepEqual(graph({ pods: [done] }).nodes, []);
  assert.deepEqual(graph({ pods: [done, pod('p')] }).nodes.map((node) => node.name), ['p']);
});
