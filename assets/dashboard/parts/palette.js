// One field that goes anywhere: kinds, pages, namespaces, and objects whose lists are open.

import { h, put } from '../core/dom.js';
import { kinds, title } from '../core/catalog.js';
import { link } from '../core/route.js';
import { icon } from './icon.js';

const SHOWN_MAX = 12;

/** How well a text fits what was typed: 0 is not at all. Pure. */
export function fitness(text, typed) {
  const lower = text.toLowerCase();
  if (lower === typed) return 100;
  if (lower.startsWith(typed)) return 80 - lower.length / 100;
  const at = lower.indexOf(typed);
  if (at >= 0) return 60 - at / 10 - lower.length / 100;
  let from = 0;
  for (const char of typed) {
    from = lower.indexOf(char, from) + 1;
    if (!from) return 0;
  }
  return 20 - lower.length / 100;
}

/** Every place: `{text, note, href, names}`. */
function places(namespaces, ns) {
  const pages = [['overview', 'Overview'], ['topology', 'Topology'], ['events', 'Events'], ['resources', 'All resources']].map(([page, text]) => ({ text, note: 'page', href: link({ page, ns }), names: [text] }));
  const lists = [...kinds.values()].filter((kind) => kind.can('list')).map((kind) => ({ text: title(kind), note: kind.group || 'core', href: link({ page: 'list', id: kind.id, ns }), names: [title(kind), kind.plural, ...kind.short] }));
  const spaces = namespaces.map((name) => ({ text: name, note: 'namespace', href: link({ page: 'overview', ns: name }), names: [name] }));
  return [...pages, ...lists, ...spaces];
}

export function openPalette(namespaces, ns) {
  const all = places(namespaces, ns);
  let chosen = 0;
  let shown = [];
  const list = h('div.palette-list', { role: 'listbox', id: 'palette-list' });
  const input = h('input', {
    type: 'text', placeholder: 'Go to…', 'aria-label': 'Go to', role: 'combobox', 'aria-expanded': 'true', 'aria-controls': 'palette-list', spellcheck: 'false', autocomplete: 'off',
    oninput: () => { chosen = 0; draw(); },
    onkeydown: (event) => {
      if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        event.preventDefault();
        chosen = (chosen + (event.key === 'ArrowDown' ? 1 : -1) + shown.length) % Math.max(1, shown.length);
        draw();
      } else if (event.key === 'Enter' && shown[chosen]) {
        event.preventDefault();
        close();
        location.hash = shown[chosen].href;
      }
    },
  });
  const dialog = h('dialog.palette', { 'aria-label': 'Go to', onclick: (event) => event.target === dialog && close(), oncancel: (event) => { event.preventDefault(); close(); } }, h('label.palette-field', icon('search'), input), list);
  const close = () => {
    dialog.close();
    dialog.remove();
  };
  const draw = () => {
    const typed = input.value.trim().toLowerCase();
    const fit = (place) => Math.max(...place.names.map((name) => fitness(name, typed)));
    shown = typed ? all.map((place) => [fit(place), place]).filter(([score]) => score > 0).sort(([a], [b]) => b - a).map(([, place]) => place) : all;
    shown = shown.slice(0, SHOWN_MAX);
    put(list, shown.length ? shown.map((place, i) => h('a', { href: place.href, role: 'option', 'aria-selected': String(i === chosen), class: i === chosen ? 'chosen' : '', tabindex: '-1', onclick: close }, h('span', place.text), h('span.muted', place.note))) : h('p.muted', 'Nothing like that.'));
  };
  document.body.append(dialog);
  dialog.showModal();
  draw();
  input.focus();
}
