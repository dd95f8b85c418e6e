// Runs before the first paint, so that nobody who chose the other theme sees a flash of this one.
// It is no module because modules run later.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem('kubik.theme'); } catch { /* storage is switched off: follow the system */ }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
