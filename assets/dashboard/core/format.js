// Numbers, times and quantities as people read them. Pure.

const SUFFIX = {
  n: 1e-9, u: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
};

/** A quantity's value: `500m` is 0.5. NaN for what is none. */
export function quantity(text) {
  if (typeof text === 'number') return text;
  const found = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkMGTPE]i?|Ki|)$/.exec(text ?? '');
  return found && found[2] in SUFFIX ? Number(found[1]) * SUFFIX[found[2]] : NaN;
}

export function cpu(cores) {
  if (!Number.isFinite(cores)) return '–';
  if (cores === 0) return '0m';
  if (cores < 0.0995) return `${Math.max(1, Math.round(cores * 1000))}m`;
  return cores < 10 ? cores.toFixed(2).replace(/\.?0+$/, '') : String(Math.round(cores));
}

export function bytes(count) {
  if (!Number.isFinite(count)) return '–';
  const units = ['B', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  const text = count < 10 && unit > 0 ? count.toFixed(1).replace(/\.0$/, '') : String(Math.round(count));
  return unit === 0 ? `${text} B` : `${text} ${units[unit]}`;
}

/** Seconds as kubectl shows ages: `45s`, `3m20s`, `5h`, `12d`. */
export function duration(seconds) {
  seconds = Math.max(0, Math.floor(seconds));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 ? `${minutes}m${seconds % 60}s` : `${minutes}m`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 ? `${hours}h${minutes % 60}m` : `${hours}h`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return hours % 24 ? `${days}d${hours % 24}h` : `${days}d`;
  if (days < 730) return `${days}d`;
  return `${Math.floor(days / 365)}y`;
}

export function age(timestamp, now = Date.now()) {
  const then = Date.parse(timestamp ?? '');
  return Number.isNaN(then) ? '–' : duration((now - then) / 1000);
}

export function moment(timestamp) {
  const then = new Date(timestamp ?? '');
  return Number.isNaN(then.getTime()) ? '–' : then.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

export function plural(count, word) {
  return `${count.toLocaleString()} ${word}${count === 1 ? '' : 's'}`;
}

/** Names with numbers in counting order: `web-2` before `web-10`. */
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });
export const compare = (a, b) => {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return collator.compare(String(a ?? ''), String(b ?? ''));
};

/** A label selector object as text for a query. */
export function selector(wanted) {
  if (!wanted) return '';
  const parts = Object.entries(wanted.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  for (const rule of wanted.matchExpressions ?? []) {
    const values = (rule.values ?? []).join(',');
    if (rule.operator === 'In') parts.push(`${rule.key} in (${values})`);
    else if (rule.operator === 'NotIn') parts.push(`${rule.key} notin (${values})`);
    else if (rule.operator === 'Exists') parts.push(rule.key);
    else if (rule.operator === 'DoesNotExist') parts.push(`!${rule.key}`);
  }
  return parts.join(',');
}

export function matches(labels, wanted) {
  const entries = Object.entries(wanted ?? {});
  return entries.length > 0 && entries.every(([key, value]) => labels?.[key] === value);
}

/** UTF-8 text of base64, or null when it is not text. */
export function decode64(text) {
  try {
    const raw = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
    return new TextDecoder('utf-8', { fatal: true }).decode(raw);
  } catch {
    return null;
  }
}
