// Events: what happened, newest first; warnings stand out.

import { h, paced, put } from '../core/dom.js';
import { follow } from '../core/api.js';
import { kindOf, kinds } from '../core/catalog.js';
import { age } from '../core/format.js';
import { go, here, openLink } from '../core/route.js';
import { command } from '../parts/dialog.js';
import { icon } from '../parts/icon.js';
import { searchBox } from '../parts/table.js';

const SHOWN_MAX = 500;

export function timeOf(event) {
  return event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;
}

/** Within a second, which is all that most events tell, by the order in which the server took them. */
export function newestFirst(events) {
  const second = (event) => (timeOf(event) ?? '').slice(0, 19);
  const version = (event) => Number(event.metadata.resourceVersion);
  return [...events].sort((a, b) => second(b).localeCompare(second(a)) || version(b) - version(a));
}

/** One event as a line. */
export function eventLine(event, { withObject = true } = {}) {
  const about = event.involvedObject ?? {};
  const kind = kindOf(about.apiVersion, about.kind);
  const name = `${about.kind}/${about.name}`;
  const count = event.series?.count ?? event.count ?? 1;
  const isWarning = event.type === 'Warning';
  const time = timeOf(event);
  return h('div', { class: `event ${isWarning ? 'warning' : ''}` },
    h('span.event-mark', isWarning ? icon('warn', 'Warning') : h('i.dot', { 'aria-hidden': 'true' })),
    h('div.event-body',
      h('div.event-head', h('b', event.reason), count > 1 && h('span.badge', { title: `${count} times` }, `×${count}`),
        withObject && (kind ? h('a', { href: openLink(kind, { namespace: about.namespace, name: about.name }) }, name) : h('span', name)),
        withObject && about.namespace && !here.ns && h('span.muted', about.namespace)),
      h('div.event-text', event.message)),
    h('time', { data: { since: time }, datetime: time, title: time }, age(time)));
}

/** The events of one object. */
export function eventList(scope, object) {
  const list = h('div.events');
  const el = h('div.pane-body', list);
  const { uid, namespace, name } = object.metadata;
  const query = uid ? { fieldSelector: `involvedObject.uid=${uid}` } : { fieldSelector: `involvedObject.name=${name}` };
  // Nodes are known to their events by name.
  if (object.kind === 'Node') query.fieldSelector = `involvedObject.kind=Node,involvedObject.name=${name}`;
  const feed = follow(scope, kinds.get('events').path(namespace ?? ''), query, paced(() => !scope.over && show()));
  const show = () => {
    const events = newestFirst(feed.objects());
    if (!feed.isLoaded) put(list, h('div.loading', 'Loading…'));
    else if (!events.length) put(list, h('div.hint', h('h2', 'Nothing happened lately'), h('p', 'Events are kept for an hour.'), command(`kubectl events --for ${object.kind.toLowerCase()}/${name}${namespace ? ` -n ${namespace}` : ''}`)));
    else put(list, events.map((event) => eventLine(event, { withObject: false })));
  };
  show();
  return { el };
}

export function mount(scope, root) {
  const list = h('div.events.card');
  const count = h('span.count');
  let words = here.find.toLowerCase();
  let onlyWarnings = false;
  const toggle = h('button.button.toggle', {
    type: 'button', 'aria-pressed': 'false',
    onclick: () => {
      onlyWarnings = !onlyWarnings;
      toggle.setAttribute('aria-pressed', String(onlyWarnings));
      show();
    },
  }, icon('warn'), 'Warnings only');
  const search = searchBox({
    value: here.find, label: 'Filter events',
    onsearch: (value) => {
      words = value.toLowerCase();
      go({ find: value }, { replace: true });
      show();
    },
  });
  put(root, h('div.page', h('header.page-head', h('h1', 'Events'), count, h('span.spring'), toggle, search), list));
  const feed = follow(scope, kinds.get('events').path(here.ns), {}, paced(() => !scope.over && show()));
  const show = () => {
    const all = newestFirst(feed.objects());
    const found = all.filter((event) => (!onlyWarnings || event.type === 'Warning')
      && (!words || `${event.reason} ${event.message} ${event.involvedObject?.kind}/${event.involvedObject?.name} ${event.metadata.namespace}`.toLowerCase().includes(words)));
    count.textContent = feed.isLoaded ? (found.length === all.length ? String(all.length) : `${found.length} of ${all.length}`) : '';
    if (!feed.isLoaded) put(list, h('div.loading', 'Loading…'));
    else if (!found.length) put(list, h('div.hint', h('h2', all.length ? 'Nothing matches' : 'Nothing happened lately'), h('p', 'Events are kept for an hour, and appear here as they come.'), command('kubectl events -A --watch')));
    else put(list, found.slice(0, SHOWN_MAX).map((event) => eventLine(event)));
  };
  show();
  return {};
}
