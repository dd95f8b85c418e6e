// The API: requests, and lists that stay true by watching.
//
// A Feed lists once and then watches over a WebSocket from the list's resourceVersion on; bookmarks move it forward,
// a 410 lists again, a lost connection is taken up where it was. Nothing is asked for twice, and while the page is
// hidden no connection is open. Rows are the server's Tables: the cells are those that kubectl shows.

const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';
const PAGE = 1000;
/** How long a feed outlives its last reader: views change faster. */
const LINGER_MS = 4000;
const HIDDEN_GRACE_MS = 2000;
const RETRY_MS = [300, 1000, 2500, 5000];

export class Refusal extends Error {
  constructor(status, document, text) {
    super(document?.message || text || `the server answered ${status}`);
    this.status = status;
    this.reason = document?.reason ?? '';
  }
}

export const session = new EventTarget();

export async function request(path, { method = 'GET', body, type, accept = 'application/json', signal } = {}) {
  const headers = { accept };
  if (body !== undefined) headers['content-type'] = type ?? 'application/json';
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: text, signal, cache: 'no-store' });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refusal(0, null, 'The cluster does not answer. Is it running? (kubik status)');
  }
  const content = await answer.text();
  if (answer.ok) {
    const isJson = answer.headers.get('content-type')?.startsWith('application/json');
    return isJson ? JSON.parse(content) : content;
  }
  let document = null;
  try {
    document = JSON.parse(content);
  } catch { /* not every refusal is a Status */ }
  if (answer.status === 401) session.dispatchEvent(new Event('lost'));
  throw new Refusal(answer.status, document, content.trim());
}

/** A WebSocket below our origin. */
export function socket(path, protocols) {
  const opened = new WebSocket(`ws://${location.host}${path}`, protocols);
  opened.binaryType = 'arraybuffer';
  return opened;
}

export function rowKey(object) {
  const { namespace, name } = object?.metadata ?? {};
  return `${namespace ?? ''}/${name ?? ''}`;
}

class Feed {
  constructor(path, query) {
    this.path = path;
    this.query = query;
    this.rows = new Map();
    this.columns = [];
    /** `loading`, `live`, `offline` or `refused`. */
    this.state = 'loading';
    this.error = null;
    this.version = '';
    this.readers = new Set();
    this.attempt = 0;
    this.generation = 0;
    this.announced = 0;
  }

  get isLoaded() { return this.version !== '' || this.state === 'refused'; }

  objects() { return Array.from(this.rows.values(), (row) => row.object); }

  url(extra) {
    const query = new URLSearchParams({ ...this.query, includeObject: 'Object', ...extra });
    return `${this.path}?${query}`;
  }

  resume() {
    if (this.running || document.hidden) return;
    this.running = true;
    if (this.version) this.watch();
    else this.list();
  }

  pause() {
    this.running = false;
    this.generation += 1;
    clearTimeout(this.timer);
    this.socket?.close();
    this.socket = null;
    this.abort?.abort();
  }

  async list() {
    const generation = ++this.generation;
    this.abort = new AbortController();
    const rows = new Map();
    try {
      let next = '';
      let table;
      do {
        const page = next ? { limit: PAGE, continue: next } : { limit: PAGE };
        table = await request(this.url(page), { accept: TABLE, signal: this.abort.signal });
        if (generation !== this.generation) return;
        if (table.columnDefinitions) this.columns = table.columnDefinitions;
        for (const row of table.rows ?? []) rows.set(rowKey(row.object), row);
        next = table.metadata?.continue ?? '';
      } while (next);
      this.rows = rows;
      this.version = table.metadata?.resourceVersion ?? '';
      this.attempt = 0;
      this.become('live');
      if (this.version) this.watch();
    } catch (error) {
      if (generation !== this.generation) return;
      const isFinal = error.status >= 400 && error.status < 500 && error.status !== 410 && error.status !== 429;
      this.error = error;
      if (isFinal) this.become('refused');
      else this.retry(() => this.list());
    }
  }

  watch() {
    const generation = ++this.generation;
    const options = { watch: '1', allowWatchBookmarks: 'true', resourceVersion: this.version, accept: TABLE };
    const opened = socket(this.url(options));
    this.socket = opened;
    let isOpen = false;
    opened.onopen = () => {
      isOpen = true;
      if (generation !== this.generation) return;
      this.attempt = 0;
      this.become('live');
    };
    opened.onmessage = (message) => {
      if (generation === this.generation) this.take(JSON.parse(message.data));
    };
    opened.onclose = (event) => {
      if (generation !== this.generation) return;
      this.socket = null;
      // A watch that ends in good order has lasted its time.
      if (event.code === 1000) this.watch();
      // One that was refused does not say why; a list does.
      else this.retry(() => (isOpen ? this.watch() : this.list()));
    };
  }

  take({ type, object }) {
    if (type === 'ERROR') {
      // Too old, or worse: what we have may be wrong. Begin anew.
      this.version = '';
      this.socket?.close();
      this.retry(() => this.list());
      return;
    }
    const row = object.kind === 'Table' ? object.rows?.[0] : { cells: [], object };
    const version = row?.object?.metadata?.resourceVersion ?? object.metadata?.resourceVersion;
    if (version) this.version = version;
    if (type === 'BOOKMARK' || !row?.object) return;
    const key = rowKey(row.object);
    if (type === 'DELETED') this.rows.delete(key);
    else this.rows.set(key, row);
    this.announce();
  }

  retry(again) {
    const pause = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)];
    this.attempt += 1;
    this.generation += 1;
    if (this.attempt > 1) this.become('offline');
    clearTimeout(this.timer);
    this.timer = setTimeout(again, pause * (0.75 + Math.random() / 2));
  }

  become(state) {
    this.state = state;
    if (state === 'live') this.error = null;
    this.announce();
    connection.dispatchEvent(new Event('change'));
  }

  /** Many events of one moment are told once. */
  announce() {
    if (this.announced) return;
    this.announced = requestAnimationFrame(() => {
      this.announced = 0;
      for (const reader of [...this.readers]) reader(this);
    });
  }
}

const feeds = new Map();
/** Tells when the connection of any feed changes. */
export const connection = new EventTarget();

export function isOffline() {
  return [...feeds.values()].some((feed) => feed.state === 'offline');
}

/** Calls `reader` with the feed now (if it has rows) and after every change, until `scope` ends. */
export function follow(scope, path, query, reader) {
  const key = `${path}?${new URLSearchParams(query)}`;
  let feed = feeds.get(key);
  if (!feed) {
    feed = new Feed(path, query);
    feeds.set(key, feed);
  }
  clearTimeout(feed.lingering);
  feed.readers.add(reader);
  feed.resume();
  if (feed.isLoaded) feed.announce();
  scope.add(() => {
    feed.readers.delete(reader);
    if (feed.readers.size) return;
    feed.lingering = setTimeout(() => {
      feed.pause();
      feeds.delete(key);
    }, LINGER_MS);
  });
  return feed;
}

let hiding = 0;
document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding);
  if (document.hidden) {
    hiding = setTimeout(() => feeds.forEach((feed) => feed.pause()), HIDDEN_GRACE_MS);
  } else {
    feeds.forEach((feed) => feed.resume());
  }
});
