// The console's own script: keys, theme, copy buttons, dialogs, charts. Every page is whole without it.
(() => {
  const dark = () =>
    (document.documentElement.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  const toggleTheme = () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
    charts.forEach((one) => one.again());
  };

  const help = () => document.getElementById("help")?.showModal();

  // rows: j and k move, Enter opens the row's first link
  const rows = () => [...document.querySelectorAll("tr[data-row]")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement?.closest?.("tr[data-row]"));
    const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    next.tabIndex = -1;
    next.focus();
  };

  const typing = (event) =>
    event.target.closest?.("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]");

  if (window.tinykeys) {
    const act = (what) => (event) => {
      if (typing(event)) return;
      event.preventDefault();
      what();
    };
    const keys = {
      "/": act(() => document.getElementById("find")?.focus()),
      "Shift+?": act(help),
      "?": act(help), // where it needs no Shift
      j: act(() => move(1)),
      k: act(() => move(-1)),
      l: act(toggleTheme),
    };
    for (const link of document.querySelectorAll("a[data-key]"))
      if (link.dataset.key) keys[`g ${link.dataset.key}`] = act(() => link.click());
    tinykeys.tinykeys(window, keys);
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches?.("tr[data-row]"))
      event.target.querySelector("a")?.click();
  });

  document.addEventListener("click", async (event) => {
    const cancel = event.target.closest?.("dialog a[data-close-dialog]");
    if (cancel) {
      event.preventDefault();
      cancel.closest("dialog").close();
      return;
    }
    const button = event.target.closest?.("button");
    if (!button) return;
    if ("themeToggle" in button.dataset) toggleTheme();
    if ("help" in button.dataset) help();
    if ("copy" in button.dataset) {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
      button.dataset.said = button.dataset.said ?? button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = button.dataset.said), 1500);
    }
  });

  // what scrolls sideways can be reached and scrolled by keys
  const reach = () => {
    for (const box of document.querySelectorAll(".scroll, pre"))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  };
  addEventListener("resize", reach);
  document.addEventListener("htmx:after:swap", reach);
  reach();

  // what htmx puts into #act is a dialog that opens; closed, it is empty, and what it asked for comes to nothing
  const dialog = document.getElementById("act");
  dialog?.addEventListener("close", () => dialog.replaceChildren());
  document.addEventListener("htmx:before:swap", (event) => {
    const { target, sourceElement } = event.detail.ctx;
    const asked = sourceElement.isConnected && (dialog?.open || !dialog?.contains(sourceElement));
    if (target === dialog && !asked) event.preventDefault();
  });
  document.addEventListener("htmx:after:swap", (event) => {
    if (event.detail.ctx.target === dialog && dialog?.childElementCount && !dialog.open) dialog.showModal();
  });

  // charts: <div class="chart" data-chart="NAME"> is drawn from event `figures`:
  // {"times": [s, …], "charts": {"NAME": {"labels": […], "rows": [[…], …]}}}
  const colours = ["--line-1", "--line-2", "--line-3", "--line-4"];
  const clock = (at) => new Date(at * 1000).toISOString().slice(11, 19); // UTC, as all times here
  class Chart {
    constructor(box) {
      this.box = box;
      new ResizeObserver(() => this.plot?.setSize(this.size())).observe(box);
    }
    size() {
      return { width: Math.max(200, this.box.clientWidth), height: 180 };
    }
    show(times, figures) {
      this.last = [times, figures];
      const data = [times, ...figures.rows];
      if (this.plot) this.plot.setData(data);
      else this.draw(data, figures.labels);
      if (!(this.plot.cursor.left >= 0)) this.plot.setLegend({ idx: times.length - 1 }); // else what is pointed at
    }
    draw(data, labels) {
      const style = getComputedStyle(document.documentElement);
      const of = (name) => style.getPropertyValue(name).trim();
      const axis = { stroke: of("--faint"), grid: { stroke: of("--line"), width: 1 }, ticks: { show: false } };
      this.plot = new uPlot(
        {
          ...this.size(),
          cursor: { drag: { x: false, y: false } },
          scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
          axes: [{ ...axis, space: 90, values: (_, times) => times.map(clock) }, { ...axis, size: 60 }],
          series: [{ label: "UTC", value: (_, at) => (at ? clock(at) : "") }, ...labels.map((label, i) => ({ label, stroke: of(colours[i % 4]), width: 2, points: { show: false } }))],
        },
        data,
        this.box,
      );
    }
    again() {
      this.plot?.destroy();
      this.plot = undefined;
      if (this.last) this.show(...this.last);
    }
  }
  const charts = new Map();
  const live = document.querySelector("[data-live]");
  live?.addEventListener("figures", (event) => {
    if (!window.uPlot) return;
    const figures = JSON.parse(event.detail.data);
    for (const box of document.querySelectorAll("[data-chart]")) {
      const one = figures.charts[box.dataset.chart];
      if (!one) continue;
      if (!charts.has(box)) charts.set(box, new Chart(box));
      charts.get(box).show(figures.times, one);
    }
  });

  // whether what is shown still moves
  const state = document.getElementById("live-state");
  const say = (what) => state && state.textContent !== what && (state.textContent = what);
  if (live) {
    let heard = Date.now();
    const hear = () => ((heard = Date.now()), say("live"));
    document.addEventListener("htmx:sse:after:connection", hear);
    document.addEventListener("htmx:sse:after:message", hear);
    document.addEventListener("htmx:sse:error", () => say("connection lost; trying again"));
    // a first answer that is no stream (too many pages, a proxy's error) does not take the page's place
    const again = (event) => {
      if (event.target !== live) return;
      const type = event.detail.ctx?.response?.raw.headers.get("Content-Type") ?? "";
      if (type.startsWith("text/event-stream")) return;
      event.preventDefault();
      say("not live; trying again");
      setTimeout(() => htmx.trigger(live, "again"), 5000);
    };
    live.addEventListener("htmx:before:response", again);
    live.addEventListener("htmx:error", again);
    setInterval(() => Date.now() - heard > 40000 && say("nothing heard for 40 s"), 5000);
  }
})();
