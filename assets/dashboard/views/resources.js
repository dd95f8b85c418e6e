// Everything the cluster serves, by group: built-in kinds, custom resources, aggregated APIs.

import { h, put } from '../core/dom.js';
import { kinds, load } from '../core/catalog.js';
import { here, link } from '../core/route.js';
import { toast } from '../parts/dialog.js';
import { searchBox } from '../parts/table.js';

export function mount(scope, root) {
  const list = h('div.groups');
  let words = '';
  const search = searchBox({ label: 'Filter kinds', onsearch: (value) => { words = value.toLowerCase(); show(); } });
  put(root, h('div.page', h('header.page-head', h('h1', 'All resources'), h('span.spring'), search), list));
  const show = () => {
    const groups = new Map();
    for (const kind of kinds.values()) {
      if (!kind.can('list') || (words && !`${kind.id} ${kind.kind} ${kind.short.join(' ')}`.toLowerCase().includes(words))) continue;
      const name = kind.group || 'core';
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(kind);
    }
    const isBuiltIn = (name) => name === 'core' || !name.includes('.') || name.endsWith('.k8s.io');
    const names = [...groups.keys()].sort((a, b) => Number(isBuiltIn(a)) - Number(isBuiltIn(b)) || (a === 'core' ? -1 : b === 'core' ? 1 : a.localeCompare(b)));
    put(list, names.map((name) => h('section.card.panel', h('h2', name, h('span.muted', groups.get(name)[0].version)), h('div.kinds', groups.get(name).map((kind) => h('a.kind', { href: link({ page: 'list', id: kind.id, ns: here.ns }) }, h('b', kind.kind), h('span.muted', kind.short[0] ? `${kind.plural}, ${kind.short[0]}` : kind.plural)))))));
    if (!names.length) put(list, h('div.hint', h('h2', 'Nothing matches')));
  };
  show();
  // Definitions may have come since the page was opened.
  load().then(() => !scope.over && show(), (error) => toast(error.message, { isProblem: true }));
  return {};
}
