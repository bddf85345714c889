// What the page does beyond HTML: live updates, keys, copying, charts. Every page can be read, and every action done, without this file.
(() => {
  "use strict";
  const root = document.documentElement;
  const base = root.dataset.base;
  const told = document.getElementById("told");
  const live = document.getElementById("live");
  const liveText = document.getElementById("live-text");
  const kept = {
    get(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
    set(name, value) { try { sessionStorage.setItem(name, value); } catch { /* storage can be forbidden */ } },
  };

  const tell = (text) => {
    told.textContent = text;
    told.classList.add("on");
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => told.classList.remove("on"), 2000);
  };

  // ---------------------------------------------------------------- live updates
  // The server says when this page has changed. Then the page is fetched again, and only what differs is changed in place.
  let source = null;
  let isPaused = kept.get("pgqueue-paused") === "yes";
  let isFetching = false;
  let isStale = false;

  const showLive = () => {
    live.setAttribute("aria-pressed", String(!isPaused));
    liveText.textContent = isPaused ? "Paused" : "Live";
  };
  const isBusy = () => {
    const page = document.getElementById("page");
    const focused = document.activeElement;
    const isWriting = focused && page.contains(focused) && focused.matches("input:not([type=checkbox]), textarea, select");
    return isWriting || page.querySelector("input[type=checkbox]:checked")
      || String(getSelection()) !== "";
  };
  const update = async () => {
    if (isFetching || isBusy()) { isStale = true; return; }
    isFetching = true;
    isStale = false;
    try {
      const open = [...document.querySelectorAll("#page details")].map((one) => one.open);
      await htmx.ajax("GET", location.href, { target: "#page", select: "#page", swap: "outerMorph", headers: { "X-Live": "1" } });
      const now = [...document.querySelectorAll("#page details")];
      if (now.length === open.length) now.forEach((one, at) => { one.open = open[at]; });
      dress();
    } finally { isFetching = false; }
  };
  const connect = () => {
    if (!root.dataset.live || isPaused || document.hidden || source) return;
    source = new EventSource(root.dataset.live);
    source.addEventListener("changed", update);
    source.onopen = () => live.classList.remove("lost");
    source.onerror = () => {
      live.classList.add("lost");
      // A browser comes back by itself after a break, but not after an answer that refuses.
      if (source && source.readyState === EventSource.CLOSED) { source = null; setTimeout(connect, 30000); }
    };
  };
  const disconnect = () => { if (source) { source.close(); source = null; } };
  live.addEventListener("click", () => {
    isPaused = !isPaused;
    kept.set("pgqueue-paused", isPaused ? "yes" : "no");
    showLive();
    if (isPaused) disconnect(); else { connect(); update(); }
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else { const was = source; connect(); if (!was && !isPaused && root.dataset.live) update(); } });
  addEventListener("pagehide", disconnect);
  setInterval(() => { if (isStale && !isPaused && !document.hidden) update(); }, 1000);

  // ---------------------------------------------------------------- relative times
  const units = [["d", 86400, 172800], ["h", 3600, 7200], ["m", 60, 59.5], ["s", 1, 9.95]];
  const span = (seconds) => {
    for (const [unit, size, from] of units) if (seconds >= from) return `${Math.round(seconds / size).toLocaleString("en")} ${unit}`;
    return `${Math.round(seconds * 10) / 10} s`;
  };
  const tick = () => {
    for (const one of document.querySelectorAll("#page time[datetime]")) {
      const seconds = (Date.now() - Date.parse(one.dateTime)) / 1000;
      one.textContent = seconds < 0 ? `in ${span(-seconds)}` : `${span(seconds)} ago`;
    }
  };
  setInterval(() => { if (!document.hidden) tick(); }, 5000);

  // ---------------------------------------------------------------- theme
  const theme = document.getElementById("theme");
  const turn = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = root.dataset.theme || (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    try { localStorage.setItem("pgqueue-theme", next); } catch { /* storage can be forbidden */ }
    draw(true);
  };
  theme.addEventListener("click", turn);

  // ---------------------------------------------------------------- copying
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // outside a secure context there is no clipboard
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    tell("Copied");
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const kind = button.dataset.copy;
    if (kind === "sql") copy(button.closest(".query").querySelector("pre").textContent);
    else if (kind === "curl") copy(`curl -s -H 'Accept: application/json' '${location.href.replaceAll("'", "%27")}'`);
    else copy(kind);
  });

  // ---------------------------------------------------------------- ticks
  const count = () => {
    for (const card of document.querySelectorAll(".card:has([data-bulk])")) {
      const boxes = [...card.querySelectorAll("td.tick input")];
      const ticked = boxes.filter((box) => box.checked).length;
      card.querySelector(".bulk-count").textContent = ticked ? `${ticked} ticked` : "";
      for (const button of card.querySelectorAll("[data-bulk] button")) button.disabled = !ticked;
      const all = card.querySelector("[data-all]");
      all.checked = ticked > 0 && ticked === boxes.length;
      all.indeterminate = ticked > 0 && ticked < boxes.length;
    }
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-all]")) {
      for (const box of event.target.closest(".card").querySelectorAll("td.tick input")) box.checked = event.target.checked;
    }
    if (event.target.closest(".tick")) count();
  });

  // ---------------------------------------------------------------- charts
  const plots = new Map();
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const pad = (number) => String(number).padStart(2, "0");
  const clock = (seconds, withDate) => {
    const at = new Date(seconds * 1000);
    const time = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
    const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
    return withDate ? (time === "00:00" ? date.slice(5) : `${date.slice(5)} ${time}`) : time;
  };
  const compact = (value, unit) => {
    if (unit.startsWith("seconds") && value > 0 && value < 1) return `${+(value * 1000).toPrecision(2)} ms`;
    const text = Math.abs(value) >= 10000 ? Intl.NumberFormat("en", { notation: "compact" }).format(value) : String(+value.toPrecision(3));
    return unit.startsWith("seconds") ? `${text} s` : text;
  };
  const plot = (figure) => {
    const data = JSON.parse(figure.dataset.chart);
    const place = figure.querySelector(".plot");
    const axis = { stroke: colour("dim"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    const options = {
      width: place.clientWidth, height: 176, cursor: { y: false }, padding: [8, 8, 0, 0],
      scales: { y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, space: 72, values: (_plot, splits, _axis, _space, step) => splits.map((at) => clock(at, step >= 86400)) },
        { ...axis, size: 56, values: (_plot, splits) => splits.map((value) => compact(value, data.unit)) }],
      series: [{ label: "time", value: (_plot, at) => at === null ? "–" : clock(at, data.times.length > 1 && data.times.at(-1) - data.times[0] > 86400) },
        ...data.series.map((line) => ({
        label: line.name, value: (_plot, value) => value === null || value === undefined ? "–" : compact(value, data.unit), stroke: colour(line.state || "accent"), width: 1.75, points: { show: false }, spanGaps: true,
        fill: data.series.length === 1 ? `color-mix(in srgb, ${colour(line.state || "accent")} 12%, transparent)` : undefined,
      }))],
    };
    return new uPlot(options, [data.times, ...data.series.map((line) => line.values)], place);
  };
  const draw = (anew = false) => {
    if (typeof uPlot === "undefined") return;
    const figures = new Set(document.querySelectorAll("figure[data-chart]"));
    for (const [figure, known] of plots) {
      if (figures.has(figure) && figure.querySelector(".uplot") && !anew) continue;
      known.plot.destroy();
      plots.delete(figure);
    }
    for (const figure of figures) {
      const known = plots.get(figure);
      if (!known) { plots.set(figure, { plot: plot(figure), data: figure.dataset.chart }); continue; }
      if (known.data !== figure.dataset.chart) {
        const data = JSON.parse(figure.dataset.chart);
        known.plot.setData([data.times, ...data.series.map((line) => line.values)]);
        known.data = figure.dataset.chart;
      }
    }
  };
  addEventListener("resize", () => {
    for (const [figure, known] of plots) known.plot.setSize({ width: figure.querySelector(".plot").clientWidth, height: 176 });
  });

  // ---------------------------------------------------------------- keys
  const keys = document.getElementById("keys");
  let afterG = 0;
  const rows = () => [...document.querySelectorAll("#page table:not(.plain) tbody tr")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.classList.contains("at"));
    const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    all[at]?.classList.remove("at");
    next.classList.add("at");
    next.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) {
      if (event.key === "Escape") event.target.blur?.();
      return;
    }
    const row = document.querySelector("#page tr.at");
    if (Date.now() - afterG < 1500) {
      afterG = 0;
      const link = document.querySelector(`.menu a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const known = {
      "/": () => document.querySelector(".search input").focus(), "?": () => keys.showModal(), g: () => { afterG = Date.now(); },
      j: () => move(1), k: () => move(-1), p: () => live.click(), d: turn,
      x: () => { const box = row?.querySelector(".tick input"); if (box) { box.checked = !box.checked; count(); } },
      Enter: () => event.target === document.body && row?.querySelector("a")?.click(),
    };
    if (known[event.key]) { if (event.key !== "Enter") event.preventDefault(); known[event.key](); }
  });

  const dress = () => { tick(); count(); draw(); };
  showLive();
  if (!root.dataset.live) live.hidden = true;
  const fold = document.querySelector(".menu-fold");
  if (matchMedia("(max-width: 760px)").matches) fold.open = false;
  dress();
  connect();
})();
