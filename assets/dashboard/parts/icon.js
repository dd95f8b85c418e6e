// Icons: strokes on a grid of 24, drawn in the color of the text.

import { s } from '../core/dom.js';

const PATHS = {
  overview: 'M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z',
  topology: 'M6 8a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM18 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM6 20a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM8 6.8l8 4M8 17.2l8-4',
  events: 'M4 5h16M4 10h16M4 15h10M4 20h7',
  workloads: 'M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5',
  network: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM3.5 9h17M3.5 15h17M12 3c3 3 3.5 6 3.5 9s-.5 6-3.5 9c-3-3-3.5-6-3.5-9S9 6 12 3',
  configuration: 'M4 7h10M18 7h2M4 12h3M11 12h9M4 17h9M17 17h3M16 5v4M9 10v4M15 15v4',
  storage: 'M4 6c0-1.7 3.6-3 8-3s8 1.3 8 3-3.6 3-8 3-8-1.3-8-3zM4 6v12c0 1.7 3.6 3 8 3s8-1.3 8-3V6M4 12c0 1.7 3.6 3 8 3s8-1.3 8-3',
  cluster: 'M4 4h16v6H4zM4 14h16v6H4zM8 7h.01M8 17h.01',
  access: 'M12 3l7 3v5c0 5-3 8-7 10-4-2-7-5-7-10V6zM9 12l2 2 4-4',
  all: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4',
  close: 'M6 6l12 12M18 6L6 18',
  back: 'M15 5l-7 7 7 7',
  next: 'M9 5l7 7-7 7',
  down: 'M6 9l6 6 6-6',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z',
  system: 'M3 5h18v12H3zM9 21h6M12 17v4',
  plus: 'M12 5v14M5 12h14',
  menu: 'M4 6h16M4 12h16M4 18h16',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 12.5l4.5 4.5L19 7',
  trash: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5',
  edit: 'M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4',
  logs: 'M5 4h14v16H5zM8 8h8M8 12h8M8 16h5',
  shell: 'M3 5h18v14H3zM7 10l3 2-3 2M12 15h5',
  scale: 'M4 20h16M6 16l4-5 4 3 5-8M15 6h4v4',
  restart: 'M20 12a8 8 0 1 1-2.5-5.8M20 4v4h-4',
  pause: 'M8 5v14M16 5v14',
  play: 'M7 4l12 8-12 8z',
  download: 'M12 4v11M7 11l5 5 5-5M4 20h16',
  wrap: 'M4 6h16M4 12h13a3 3 0 0 1 0 6h-4M15 15l-3 3 3 3M4 18h4',
  clock: 'M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2',
  eye: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7-10-7-10-7zM12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6z',
  warn: 'M12 4l9 16H3zM12 10v4M12 17h.01',
  wide: 'M4 5v14M20 5v14M8 12h8M13 9l3 3-3 3M11 15l-3-3 3-3',
  link: 'M9 15l6-6M10 6l1-1a4.2 4.2 0 0 1 6 6l-1 1M14 18l-1 1a4.2 4.2 0 0 1-6-6l1-1',
  filter: 'M4 5h16l-6 8v6l-4-2v-4z',
  drain: 'M4 6h16M7 11h10M10 16h4M12 21v-2',
  more: 'M5 11.5a.5.5 0 1 0 0 1 .5.5 0 0 0 0-1zM12 11.5a.5.5 0 1 0 0 1 .5.5 0 0 0 0-1zM19 11.5a.5.5 0 1 0 0 1 .5.5 0 0 0 0-1z',
  namespace: 'M4 8V4h4M16 4h4v4M20 16v4h-4M8 20H4v-4M9 9h6v6H9z',
  key: 'M8 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM11.5 11L21 11M17 11v4M20.5 11v3',
};

export function icon(name, label) {
  const props = { viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'stroke-width': '1.8', 'stroke-linecap': 'round', 'stroke-linejoin': 'round' };
  const about = label ? { role: 'img', 'aria-label': label } : { 'aria-hidden': 'true' };
  return s('svg.icon', { ...props, ...about }, s('path', { d: PATHS[name] ?? PATHS.all }));
}

/** The cube: kubik's mark. */
export function mark() {
  const side = (d, opacity, fill) => s('path', { d, fill, 'fill-opacity': opacity });
  return s('svg.mark', { viewBox: '0 0 32 32', 'aria-hidden': 'true' },
    side('M16 2l12.5 7v14L16 30 3.5 23V9z', '1', 'var(--accent)'),
    side('M16 6.2l8.6 4.8L16 15.8 7.4 11z', '.95', '#fff'),
    side('M6.6 13.2L15 18v8.6l-8.4-4.7z', '.55', '#fff'),
    side('M25.4 13.2L17 18v8.6l8.4-4.7z', '.3', '#fff'));
}
