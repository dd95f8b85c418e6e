// Where we are, in the URL's fragment: every view and every open object is a link that can be kept.
//
//   #/list/pods?ns=default&open=pods/default/web-1/logs

export const changes = new EventTarget();

export function parse(hash) {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split('?');
  const words = path.split('/').map(decodeURIComponent).filter(Boolean);
  const options = new URLSearchParams(query);
  const open = options.get('open')?.split('/') ?? [];
  return {
    page: words[0] ?? 'overview',
    id: words[1] ?? '',
    ns: options.get('ns') ?? '',
    find: options.get('find') ?? '',
    open: open.length >= 3 ? { id: open[0], ns: open[1] === '-' ? '' : open[1], name: open[2], tab: open[3] ?? '' } : null,
  };
}

export function link({ page, id, ns, open, find }) {
  const options = new URLSearchParams();
  if (ns) options.set('ns', ns);
  if (find) options.set('find', find);
  if (open) options.set('open', [open.id, open.ns || '-', open.name, ...(open.tab ? [open.tab] : [])].join('/'));
  // Slashes and colons are readable as they are, and allowed there.
  const query = options.toString().replaceAll('%2F', '/').replaceAll('%3A', ':');
  return `#/${page}${id ? `/${id}` : ''}${query ? `?${query}` : ''}`;
}

export let here = parse(location.hash);

/** Changes part of where we are. `replace` leaves no step in the history. */
export function go(part, { replace = false } = {}) {
  const hash = link({ ...here, ...part });
  if (hash === location.hash) return;
  if (replace) {
    history.replaceState(null, '', hash);
    arrive();
  } else {
    location.hash = hash;
  }
}

/** A link to an object's details above the present page. */
export function openLink(kind, object, tab) {
  const { namespace, name } = object.metadata ?? object;
  return link({ ...here, open: { id: kind.id, ns: namespace ?? '', name, tab } });
}

function arrive() {
  const before = here;
  here = parse(location.hash);
  changes.dispatchEvent(new CustomEvent('change', { detail: { before } }));
}

window.addEventListener('hashchange', arrive);
