"use strict";
(async () => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const fine = matchMedia("(pointer: fine)").matches;
  const off = new Set();
  const drawn = new Set();

  // "@3/0.15": the palette's fourth colour, seen through; "@ink": that of text.
  function paint(token) {
    const [name, opacity] = token.slice(1).split("/");
    const hex = page.colors[dark.matches ? "dark" : "light"][name] ??
      getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
    return opacity ? hex + Math.round(255 * opacity).toString(16).padStart(2, "0") : hex;
  }
  function painted(value) {
    if (typeof value === "string") return /^@[a-z0-9]+(\/[\d.]+)?$/.test(value) ? paint(value) : value;
    if (Array.isArray(value)) return value.map(painted);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
    }
    return value;
  }

  function draw(element) {
    const chart = page.charts[element.id];
    const axis = {
      gridcolor: "@line", linecolor: "@line", zeroline: false, automargin: true, showline: true, ticks: "",
      title: { font: { size: 12 }, standoff: 6 },
    };
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
      font: { color: "@ink", size: 12, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 48, r: 14, t: 8, b: 40 }, dragmode: fine ? "zoom" : false,
      hoverlabel: { bgcolor: "@soft", bordercolor: "@line", font: { color: "@ink" }, namelength: -1, align: "left" },
      ...chart.layout,
      xaxis: { ...axis, ...chart.layout.xaxis }, yaxis: { ...axis, ...chart.layout.yaxis },
    };
    for (const name of ["xaxis", "yaxis"]) layout[name].title = { ...axis.title, ...chart.layout[name]?.title };
    const traces = chart.traces.map((trace) => ({ ...trace, visible: !off.has(trace.legendgroup) }));
    drawn.add(element);
    return Plotly.react(element, painted(traces), painted(layout), { displayModeBar: false, responsive: true });
  }

  // On a phone the answer, its tables and scores come first; all else is folded.
  const narrow = matchMedia("(max-width: 40rem)");
  const fold = () => document.querySelectorAll(".more").forEach((details) => { details.open = !narrow.matches; });
  fold();
  narrow.addEventListener("change", fold);

  const seen = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) { seen.unobserve(target); draw(target); }
    }
  }, { rootMargin: "800px" });
  const charts = [...document.querySelectorAll(".chart")];
  charts.forEach((element) => seen.observe(element));
  addEventListener("beforeprint", () => charts.forEach((element) => drawn.has(element) || draw(element)));
  dark.addEventListener("change", () => drawn.forEach(draw));

  function show() {
    for (const button of document.querySelectorAll(".switches button")) {
      button.setAttribute("aria-pressed", String(!off.has(`g${button.dataset.group}`)));
    }
    for (const panel of document.querySelectorAll(".panel[data-group]")) {
      panel.hidden = off.has(`g${panel.dataset.group}`);
    }
    drawn.forEach(draw);
  }
  const all = [...document.querySelectorAll(".switches button")].map((button) => `g${button.dataset.group}`);
  for (const button of document.querySelectorAll(".switches button")) {
    const group = `g${button.dataset.group}`;
    button.addEventListener("click", () => { off.delete(group) || off.add(group); show(); });
    // A double click shows this group alone, or all again.
    button.addEventListener("dblclick", () => {
      const alone = all.every((other) => other === group || off.has(other));
      off.clear();
      if (!alone) all.filter((other) => other !== group).forEach((other) => off.add(other));
      show();
    });
  }
  document.documentElement.dataset.ready = "true";
})();
