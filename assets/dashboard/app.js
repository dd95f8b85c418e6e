// The frame around every view: way around, namespaces, theme, keys, and who may be here at all.

import { h, put, Scope } from './core/dom.js';
import { connection, follow, isOffline, request, session } from './core/api.js';
import { SECTIONS, kinds, load, title } from './core/catalog.js';
import { age } from './core/format.js';
import { changes, go, here, link } from './core/route.js';
import { create } from './parts/create.js';
import { command } from './parts/dialog.js';
import { icon, mark } from './parts/icon.js';
import { openPalette } from './parts/palette.js';
import { shortcuts } from './parts/shortcuts.js';
import { Detail } from './views/detail.js';
import * as events from './views/events.js';
import * as list from './views/list.js';
import * as overview from './views/overview.js';
import * as resources from './views/resources.js';
import * as topology from './views/topology.js';

const VIEWS = { overview, topology, events, list, resources };
const PAGES = [['overview', 'Overview', 'overview'], ['topology', 'Topology', 'topology'], ['events', 'Events', 'events']];
const FOLDED = new Set(['Access']);
const AGE_MS = 5000;
const TICKET = /[#&]ticket=([\w-]+)/;

/** A new link, opened where a page is already, changes only what stands behind the `#`: the page begins anew. */
window.addEventListener('hashchange', () => TICKET.test(location.hash) && location.reload());

/** A link's ticket becomes a cookie; its trace leaves the address bar. */
async function enter() {
  const found = TICKET.exec(location.hash);
  if (found) {
    history.replaceState(null, '', location.pathname);
    try {
      await request('/session', { method: 'POST', body: found[1], type: 'text/plain' });
    } catch (error) {
      // A link followed twice is fine as long as the browser is in.
      if (error.status !== 401) throw error;
    }
    go({ page: 'overview' }, { replace: true });
  }
  return request('/session');
}

function outside(error) {
  const isRefused = error?.status === 401;
  document.title = 'kubik';
  put(document.body, h('main.outside', mark(),
    h('h1', isRefused ? 'Open the dashboard from your terminal' : 'The cluster does not answer'),
    h('p', isRefused ? 'A link lets one browser in, once. This browser has none that is still good: the link was used before or is older than an hour, or the cluster was made anew.' : error?.message ?? ''),
    command(isRefused ? 'kubik dashboard' : 'kubik status'),
    !isRefused && h('button.button.primary', { type: 'button', onclick: () => location.reload() }, 'Try again')));
}

class Frame {
  constructor(about) {
    this.about = about;
    this.scope = null;
    this.namespaces = [];
    this.life = new Scope();
  }

  start() {
    this.nav = h('nav.nav', { id: 'nav', 'aria-label': 'Views' });
    this.main = h('main.main', { id: 'main', tabindex: '-1' });
    this.side = h('aside.detail', { hidden: true, 'aria-label': 'Details' });
    this.namespace = h('select', { 'aria-label': 'Namespace', id: 'namespace', onchange: () => go({ ns: this.namespace.value, open: null }) }, h('option', { value: '' }, 'All namespaces'));
    this.offline = h('div.offline', { role: 'status', hidden: true }, h('i.dot.wait'), 'Connecting again…');
    put(document.body,
      h('a.skip', { href: '#main', onclick: (event) => { event.preventDefault(); this.main.focus(); } }, 'To the content'),
      h('header.top',
        h('button.plain.burger', { type: 'button', 'aria-label': 'Menu', 'aria-controls': 'nav', onclick: () => document.body.classList.toggle('has-nav') }, icon('menu')),
        h('a.brand', { href: link({ page: 'overview' }) }, mark(), h('span', this.about.profile)),
        h('label.namespace', icon('namespace'), this.namespace),
        h('span.spring'), this.offline,
        h('button.button.goto', { type: 'button', onclick: () => this.palette(), title: 'Go to (Ctrl+K)' }, icon('search'), h('span.label', 'Go to…'), h('kbd', 'Ctrl K')),
        h('button.button', { type: 'button', onclick: () => create(here.ns), title: 'Apply YAML (c)', id: 'create' }, icon('plus'), h('span.label', 'Apply')),
        this.themes()),
      this.nav, this.main, this.side);
    this.detail = new Detail(this.side);
    this.drawNav();
    follow(this.life, kinds.get('namespaces').path(''), {}, (feed) => this.drawNamespaces(feed));
    changes.addEventListener('change', (event) => this.arrive(event.detail.before));
    connection.addEventListener('change', () => { this.offline.hidden = !isOffline(); });
    shortcuts({ palette: () => this.palette(), create: () => create(here.ns), focus: () => this.view?.focus?.(), close: () => this.escape() });
    const clock = () => {
      clearInterval(this.clock);
      if (!document.hidden) this.clock = setInterval(tick, AGE_MS);
    };
    document.addEventListener('visibilitychange', clock);
    clock();
    this.mount();
    this.detail.show(here.open);
  }

  palette() { openPalette(this.namespaces, here.ns); }

  escape() {
    if (document.body.classList.contains('has-nav')) document.body.classList.remove('has-nav');
    else if (here.open) go({ open: null });
  }

  themes() {
    const choices = ['system', 'light', 'dark'];
    const icons = { system: 'system', light: 'sun', dark: 'moon' };
    const button = h('button.plain', { type: 'button', id: 'theme', onclick: () => choose(choices[(choices.indexOf(current()) + 1) % choices.length]) });
    const current = () => document.documentElement.dataset.theme ?? 'system';
    const draw = () => {
      put(button, icon(icons[current()]));
      button.setAttribute('aria-label', `Theme: ${current()}`);
      button.title = `Theme: ${current()}`;
    };
    const choose = (theme) => {
      if (theme === 'system') delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      try {
        localStorage.setItem('kubik.theme', theme);
      } catch { /* it holds for this page then */ }
      draw();
    };
    draw();
    return button;
  }

  drawNav() {
    const item = (page, id, text, name) => h('a', { href: link({ page, id, ns: here.ns }), data: { page, id }, onclick: () => document.body.classList.remove('has-nav') }, name && icon(name), h('span', text));
    const listed = new Set(SECTIONS.flatMap(([, ids]) => ids));
    const custom = [...kinds.values()].filter((kind) => kind.can('list') && !listed.has(kind.id) && kind.group.includes('.') && !kind.group.endsWith('.k8s.io'));
    const section = (name, entries) => h('details', { open: !FOLDED.has(name) || entries.some((kind) => kind.id === here.id) }, h('summary', name), entries.map((kind) => item('list', kind.id, title(kind))));
    put(this.nav,
      h('div.nav-group', PAGES.map(([page, text, name]) => item(page, '', text, name))),
      SECTIONS.map(([name, ids]) => section(name, ids.map((id) => kinds.get(id)).filter((kind) => kind?.can('list')))),
      custom.length > 0 && section('Custom', custom),
      h('div.nav-group', item('resources', '', 'All resources', 'all')),
      h('div.nav-foot', `kubik ${this.about.version}`, h('button.plain', { type: 'button', title: 'Keyboard shortcuts (?)', onclick: () => dispatchEvent(new KeyboardEvent('keydown', { key: '?' })) }, '?')));
    this.mark();
  }

  mark() {
    for (const one of this.nav.querySelectorAll('a')) {
      const isHere = one.dataset.page === here.page && one.dataset.id === here.id;
      if (isHere) one.setAttribute('aria-current', 'page');
      else one.removeAttribute('aria-current');
      one.setAttribute('href', link({ page: one.dataset.page, id: one.dataset.id, ns: here.ns }));
    }
  }

  drawNamespaces(feed) {
    const names = feed.objects().map((one) => one.metadata.name).sort();
    if (here.ns && !names.includes(here.ns)) names.push(here.ns);
    this.namespaces = names;
    put(this.namespace, h('option', { value: '' }, 'All namespaces'), names.map((name) => h('option', { value: name }, name)));
    this.namespace.value = here.ns;
  }

  async arrive(before) {
    const isSame = before.page === here.page && before.id === here.id && before.ns === here.ns;
    if (!isSame) this.mount();
    else this.view?.routed?.();
    this.detail.show(here.open);
  }

  mount() {
    this.scope?.end();
    this.scope = new Scope();
    if (this.namespace.value !== here.ns) this.drawNamespaces({ objects: () => this.namespaces.map((name) => ({ metadata: { name } })) });
    const view = VIEWS[here.page] ?? overview;
    this.main.scrollTop = 0;
    this.view = view.mount(this.scope, this.main, here) ?? {};
    this.mark();
    const kind = here.page === 'list' && kinds.get(here.id);
    document.title = `${kind ? title(kind) : PAGES.find(([page]) => page === here.page)?.[1] ?? 'Resources'} – ${this.about.profile}`;
  }
}

/** Ages grow while one looks at them. */
function tick() {
  const now = Date.now();
  for (const one of document.querySelectorAll('time[data-since]')) {
    const text = age(one.dataset.since, now);
    if (one.textContent !== text) one.textContent = text;
  }
}

try {
  const about = await enter();
  await load();
  session.addEventListener('lost', () => outside({ status: 401 }));
  new Frame(about).start();
} catch (error) {
  outside(error);
}
