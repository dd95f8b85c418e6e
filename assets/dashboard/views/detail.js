// One object, above the view it was opened from: what it is, what happened to it, its text, its logs and a shell.

import { h, put, Scope } from '../core/dom.js';
import { ACTIONS, kubectl } from '../core/actions.js';
import { follow } from '../core/api.js';
import { kinds } from '../core/catalog.js';
import { selector } from '../core/format.js';
import { here, go, link } from '../core/route.js';
import { icon } from '../parts/icon.js';
import { LogView, groupLogs } from '../parts/logs.js';
import { TerminalView } from '../parts/terminal.js';
import { YamlView } from '../parts/yaml.js';
import { command } from '../parts/dialog.js';
import { statusOf, summary } from './summary.js';
import { eventList } from './events.js';

/** Kinds whose pods' logs are read together. */
const GROUPS = new Set(['deployments.apps', 'statefulsets.apps', 'daemonsets.apps', 'replicasets.apps', 'jobs.batch', 'services']);

const TABS = [
  { id: 'summary', label: 'Summary', isFor: () => true },
  { id: 'logs', label: 'Logs', isFor: (kind) => kind.id === 'pods' || GROUPS.has(kind.id) },
  { id: 'shell', label: 'Shell', isFor: (kind) => kind.id === 'pods' },
  { id: 'events', label: 'Events', isFor: (kind) => !kind.plural.startsWith('events') },
  { id: 'yaml', label: 'YAML', isFor: () => true },
];

/** Shown beside the title; the others are behind “more”. */
const QUICK = new Set(['scale', 'restart', 'trigger', 'cordon', 'uncordon', 'delete']);

export class Detail {
  constructor(root) {
    this.root = root;
    this.scope = null;
    this.key = '';
  }

  get isOpen() { return this.scope !== null; }

  /** Follows the route. */
  show(open) {
    const kind = open && kinds.get(open.id);
    if (!open || !kind) return this.close();
    const key = `${open.id}/${open.ns}/${open.name}`;
    if (key !== this.key) {
      this.close();
      this.key = key;
      this.before = document.activeElement;
      this.mount(kind, open);
    } else {
      this.select(open.tab || 'summary');
    }
    return undefined;
  }

  close() {
    if (!this.scope) return;
    this.scope.end();
    this.tab?.end();
    this.tab = null;
    this.scope = null;
    this.key = '';
    this.shown = '';
    this.object = null;
    put(this.root);
    this.root.hidden = true;
    document.body.classList.remove('has-detail');
    if (this.before?.isConnected) this.before.focus({ preventScroll: true });
  }

  mount(kind, open) {
    this.kind = kind;
    this.open = open;
    this.scope = new Scope();
    this.root.hidden = false;
    document.body.classList.add('has-detail');
    this.status = h('span');
    this.buttons = h('div.detail-actions');
    this.tabs = h('div.tabs', { role: 'tablist', 'aria-label': 'Parts' });
    this.pane = h('div.detail-pane', { role: 'tabpanel', tabindex: '-1' });
    this.heading = h('h2', { tabindex: '-1' }, open.name);
    put(this.root,
      h('header.detail-head',
        h('div.detail-title',
          h('div.crumbs', h('span', kind.kind), open.ns && h('span', '·'), open.ns && h('a', { href: link({ page: 'list', id: 'pods', ns: open.ns }) }, open.ns)),
          h('div.detail-name', this.heading, this.status)),
        this.buttons,
        h('div.detail-window',
          h('button.plain', { type: 'button', title: 'Wider', 'aria-label': 'Wider', onclick: () => this.widen() }, icon('wide')),
          h('button.plain', { type: 'button', title: 'Close (Esc)', 'aria-label': 'Close', onclick: () => go({ open: null }) }, icon('close')))),
      this.tabs, this.pane);
    const query = { fieldSelector: `metadata.name=${open.name}` };
    this.feed = follow(this.scope, kind.path(open.ns), query, (feed) => this.changed(feed));
    this.drawTabs(open.tab || 'summary');
    this.heading.focus({ preventScroll: true });
  }

  widen() {
    document.body.classList.toggle('wide-detail');
  }

  changed(feed) {
    const row = [...feed.rows.values()][0];
    if (!row) {
      if (this.object) {
        put(this.status, h('span.chip.bad', h('i.dot'), 'Deleted'));
        put(this.buttons);
        this.root.classList.add('gone');
      } else if (feed.isLoaded) {
        put(this.pane, h('div.hint', h('h2', feed.error ? 'Not to be seen' : 'It is not there'), h('p', feed.error?.message ?? `There is no ${this.kind.kind} “${this.open.name}”${this.open.ns ? ` in ${this.open.ns}` : ''} (any more).`), command(kubectl('get', this.kind, { metadata: { name: this.open.name, namespace: this.open.ns } }))));
      }
      return;
    }
    this.root.classList.remove('gone');
    const isFirst = !this.object || this.object.metadata.uid !== row.object.metadata.uid;
    this.object = row.object;
    this.row = row;
    put(this.status, statusOf(this.kind, row, feed.columns));
    this.drawActions();
    if (isFirst) {
      this.shown = '';
      this.select(here.open?.tab || 'summary');
    } else {
      this.content?.moved?.(this.object, row);
    }
  }

  drawActions() {
    const all = ACTIONS.filter((action) => action.isFor(this.kind, this.object));
    const signature = all.map((action) => action.id).join();
    if (signature === this.actions && this.buttons.childElementCount) return;
    this.actions = signature;
    const button = (action) => h('button', {
      type: 'button', class: `button ${action.isDanger ? 'danger-quiet' : ''}`, data: { action: action.id },
      onclick: () => action.run(this.kind, this.object),
    }, icon(action.icon), h('span.label', action.label));
    const more = all.filter((action) => !QUICK.has(action.id));
    put(this.buttons, all.filter((action) => QUICK.has(action.id)).map(button), more.length && this.menu(more));
  }

  menu(actions) {
    const list = h('div.menu', { popover: 'auto', role: 'menu' }, actions.map((action) => h('button', {
      type: 'button', role: 'menuitem', data: { action: action.id },
      onclick: () => { list.hidePopover(); action.run(this.kind, this.object); },
    }, icon(action.icon), action.label)));
    const opener = h('button.button', {
      type: 'button', title: 'More', 'aria-label': 'More actions', 'aria-haspopup': 'menu',
      onclick: () => {
        const at = opener.getBoundingClientRect();
        list.style.setProperty('top', `${at.bottom + 4}px`);
        list.style.setProperty('right', `${Math.max(8, innerWidth - at.right)}px`);
        list.togglePopover();
      },
    }, icon('more'));
    return [opener, list];
  }

  drawTabs(current) {
    const tabs = TABS.filter((tab) => tab.isFor(this.kind));
    put(this.tabs, tabs.map((tab) => h('a.tab', {
      role: 'tab', href: link({ ...here, open: { ...this.open, tab: tab.id === 'summary' ? '' : tab.id } }), 'aria-selected': String(tab.id === current), data: { tab: tab.id },
    }, tab.label)));
  }

  select(id) {
    this.drawTabs(id);
    if (!this.object || this.shown === id) return;
    this.shown = id;
    this.tab?.end();
    this.tab = new Scope();
    const { metadata } = this.object;
    const about = { kind: this.kind, object: this.object, row: this.row, pod: this.object, path: this.kind.object(metadata.namespace, metadata.name) };
    this.content = this.make(id, about);
    this.pane.dataset.tab = id;
    put(this.pane, this.content.el);
  }

  group(object) {
    const wanted = object.spec?.selector;
    const text = selector(wanted?.matchLabels || wanted?.matchExpressions ? wanted : wanted && { matchLabels: wanted });
    if (!text) return { el: h('div.hint', h('h2', 'No pods of its own'), h('p', 'It selects no pods, so there are no logs to show.')) };
    const view = groupLogs(this.tab, kinds.get('pods'), object.metadata.namespace, text);
    return { el: view.el };
  }

  make(id, about) {
    if (id === 'logs' && about.kind.id === 'pods') return new LogView(this.tab, { sources: [about] });
    if (id === 'logs') return this.group(about.object);
    if (id === 'shell') return new TerminalView(this.tab, about);
    if (id === 'yaml') return new YamlView(this.tab, about);
    if (id === 'events') return eventList(this.tab, about.object);
    return summary(this.tab, about);
  }
}
