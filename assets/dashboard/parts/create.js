// Objects from YAML: every document is sent to the server as it is typed; the server says what is wrong with it.

import { h } from '../core/dom.js';
import { request } from '../core/api.js';
import { kindOf } from '../core/catalog.js';
import { documents } from '../core/text.js';
import { ask, toast } from './dialog.js';

const EXAMPLE = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: web
        image: nginx
`;

/** Server-side apply, as `kubectl apply --server-side` does it. */
async function apply(text, namespace) {
  const made = [];
  for (const one of documents(text)) {
    const kind = kindOf(one.apiVersion, one.kind);
    if (!one.kind || !one.name) throw new Error('Every document needs apiVersion, kind and metadata.name.');
    if (!kind) throw new Error(`This cluster does not serve ${one.kind} of ${one.apiVersion}.`);
    const path = kind.object(one.namespace || namespace || 'default', one.name);
    await request(`${path}?fieldManager=kubik-dashboard`, { method: 'PATCH', body: one.text, type: 'application/apply-patch+yaml' });
    made.push(`${one.kind} ${one.name}`);
  }
  if (!made.length) throw new Error('There is nothing to apply.');
  return made;
}

export function create(namespace) {
  const input = h('textarea.yaml-plain', { spellcheck: 'false', autofocus: true, rows: '18', 'aria-label': 'YAML', value: EXAMPLE });
  let made = [];
  return ask({
    title: 'Apply YAML', wide: true, confirm: 'Apply', body: input,
    text: `One or more documents. Without a namespace of their own they go to “${namespace || 'default'}”, as with: kubectl apply --server-side -f -`,
    act: async () => { made = await apply(input.value, namespace); },
  }).then((done) => done && toast(made.length > 3 ? `${made.length} objects applied` : `${made.join(', ')} applied`));
}
