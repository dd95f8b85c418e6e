// Keys. Letters act only where nobody types.

import { h } from '../core/dom.js';
import { changes, go, here } from '../core/route.js';

const GO = {
  o: ['Overview', { page: 'overview', id: '' }], t: ['Topology', { page: 'topology', id: '' }], e: ['Events', { page: 'events', id: '' }],
  p: ['Pods', { page: 'list', id: 'pods' }], d: ['Deployments', { page: 'list', id: 'deployments.apps' }], s: ['Services', { page: 'list', id: 'services' }],
  i: ['Ingresses', { page: 'list', id: 'ingresses.networking.k8s.io' }], c: ['Config maps', { page: 'list', id: 'configmaps' }],
  v: ['Volume claims', { page: 'list', id: 'persistentvolumeclaims' }], n: ['Nodes', { page: 'list', id: 'nodes' }], j: ['Jobs', { page: 'list', id: 'jobs.batch' }],
  a: ['All resources', { page: 'resources', id: '' }],
};
const AFTER_G_MS = 1200;

export function shortcuts({ palette, create, focus, close }) {
  let pressedG = 0;
  window.addEventListener('keydown', (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      if (!document.querySelector('dialog[open]')) palette();
      return;
    }
    if (document.querySelector('dialog[open]') || event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target instanceof Element && event.target.closest('input, textarea, select, [contenteditable]');
    if (event.key === 'Escape') {
      if (!isTyping || !document.querySelector('.term.focused')) close();
      return;
    }
    if (isTyping) return;
    const isAfterG = performance.now() - pressedG < AFTER_G_MS;
    pressedG = 0;
    if (isAfterG && GO[event.key]) {
      event.preventDefault();
      const before = location.hash;
      go({ ...GO[event.key][1], open: null, find: '' });
      // Another view comes with the news of the change, after this.
      if (location.hash === before) focus();
      else changes.addEventListener('change', () => focus(), { once: true });
    } else if (event.key === 'g') {
      pressedG = performance.now();
    } else if (event.key === '/') {
      const field = document.getElementById('search');
      if (!field) return;
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === 'c') {
      event.preventDefault();
      create();
    } else if (event.key === '?') {
      help();
    } else if (here.open && 'slyq'.includes(event.key)) {
      const tab = { s: 'shell', l: 'logs', y: 'yaml' }[event.key];
      if (event.key === 'q') go({ open: null });
      else go({ open: { ...here.open, tab } });
    }
  });
}

function help() {
  const row = (keys, text) => h('div.rowline', h('span.keys', keys.map((key) => h('kbd', key))), h('span', text));
  const dialog = h('dialog', { 'aria-label': 'Keyboard shortcuts', onclose: () => dialog.remove() },
    h('form', { method: 'dialog' }, h('h2', 'Keyboard shortcuts'),
      h('div.help', row(['Ctrl', 'K'], 'Go to anything'), row(['/'], 'Filter'), row(['c'], 'Apply YAML'), row(['↑', '↓', '⏎'], 'Through a table'), row(['l', 's', 'y'], 'Logs, shell, YAML of what is open'), row(['Esc'], 'Close'),
        Object.entries(GO).map(([key, [text]]) => row(['g', key], text))),
      h('div.dialog-buttons', h('button.button.primary', { type: 'submit' }, 'Close'))));
  document.body.append(dialog);
  dialog.showModal();
}
