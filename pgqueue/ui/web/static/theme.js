// Sets the theme before the first paint, so that the page does not flash. Without a choice, the theme of the system is used.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("pgqueue-theme"); } catch { /* storage can be forbidden */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  document.documentElement.classList.add("js");
})();
