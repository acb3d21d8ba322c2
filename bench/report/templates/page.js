"use strict";
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- tables: sorting, copying, downloading -----------------------------------------------------
  const key = cell => cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  const compare = (a, b, sign) => {
    const x = key(a), y = key(b);
    if (x !== null && y !== null) return sign * (x - y);
    if (x !== null || y !== null) return x === null ? 1 : -1;
    return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
  };
  const sortBy = (head, down) => {
    const table = head.closest("table"), body = table.tBodies[0], index = head.cellIndex;
    $$("th[aria-sort]", table).forEach(th => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows];
    rows.forEach(row => row.classList.remove("rule"));
    rows.sort((a, b) => compare(a.cells[index], b.cells[index], down ? -1 : 1));
    body.append(...rows);
  };
  document.addEventListener("click", event => {
    const button = event.target.closest("th button");
    if (button) sortBy(button.parentElement, button.parentElement.getAttribute("aria-sort") === "ascending");
  });

  const cells = table => {
    const groups = [...table.tHead.rows].length > 1
      ? [...table.tHead.rows[0].cells].flatMap(c => Array(c.colSpan).fill(c.textContent)) : null;
    const heads = [...[...table.tHead.rows].pop().cells].map((c, i) => ((groups ? groups[i] + " " : "") + c.textContent).trim());
    return [heads, ...[...table.tBodies[0].rows].map(row => [...row.cells].map(c => c.innerText.replace(/\s+/g, " ").trim()))];
  };
  const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const asCsv = table => cells(table).map(row => row.map(quoted).join(",")).join("\n") + "\n";
  const tex = text => text.replace(/[&%#_${}]/g, "\\$&").replaceAll("\u2212", "$-$").replaceAll("±", "$\\pm$")
    .replaceAll("σ", "$\\sigma$").replaceAll("ρ", "$\\rho$").replaceAll("†", "$\\dagger$").replaceAll("≈", "$\\approx$");
  const asTex = table => {
    const [head, ...rows] = cells(table).map(row => row.map(tex).join(" & ") + " \\\\");
    const sides = [...table.tBodies[0].rows[0].cells].map(c => c.classList.contains("number") ? "r" : "l").join("");
    return [`\\begin{tabular}{${sides}}`, "\\toprule", head, "\\midrule", ...rows, "\\bottomrule", "\\end{tabular}", ""].join("\n");
  };
  const told = (button, word) => {
    const before = button.textContent;
    button.textContent = word;
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  const copy = async (button, text) => {
    try { await navigator.clipboard.writeText(text); told(button, "copied"); }
    catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      told(button, document.execCommand("copy") ? "copied" : "cannot copy");
      area.remove();
    }
  };
  document.addEventListener("click", event => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    const holder = button.closest("[data-table]"), table = $("table", holder);
    if (button.dataset.do === "csv") copy(button, asCsv(table));
    if (button.dataset.do === "tex") copy(button, asTex(table));
    if (button.dataset.do === "save") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([asCsv(table)], { type: "text/csv" }));
      link.download = `${holder.id}.csv`;
      link.click();
      URL.revokeObjectURL(link.href);
    }
  });

  // --- points that answer ------------------------------------------------------------------------
  const tip = $("#tip");
  const show = event => {
    const point = event.target.closest?.("[data-tip]");
    if (!point) { tip.style.display = "none"; return; }
    tip.textContent = point.dataset.tip;
    tip.style.display = "block";
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(6, Math.min(event.clientX + 12, innerWidth - box.width - 6)) + "px";
    tip.style.top = Math.max(6, event.clientY - box.height - 10) + "px";
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => { tip.style.display = "none"; }, { passive: true, capture: true });

  // --- where the reader is -----------------------------------------------------------------------
  const links = new Map($$(".contents a").map(a => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver(entries => entries.forEach(entry => {
    if (!entry.isIntersecting) return;
    links.forEach(a => a.removeAttribute("aria-current"));
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }), { rootMargin: "-10% 0px -80% 0px" });
  $$("main > section").forEach(section => seen.observe(section));

  // --- the explorer ------------------------------------------------------------------------------
  const holder = document.createElement("template");
  holder.innerHTML = "<svg></svg>";
  const SVG = holder.content.firstChild.namespaceURI;
  const element = (name, attributes, text = "") => {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([k, v]) => made.setAttribute(k, v));
    made.textContent = text;
    return made;
  };
  const explorer = $(".explorer");
  if (!explorer) return;
  const data = JSON.parse($("#explore-data").textContent);
  const control = Object.fromEntries($$("[data-control]", explorer).map(e => [e.dataset.control, e]));
  const state = { mode: Object.keys(data.modes)[0], model: "", sigma: "", radius: data.start, defense: "", image: -1 };
  const option = (value, text) => new Option(text, value);
  const fill = (select, options, value) => {
    select.replaceChildren(...options);
    select.value = options.some(o => o.value === String(value)) ? value : options[0].value;
    return select.value;
  };
  const mode = () => data.modes[state.mode];
  const place = () => Math.max(0, mode().radii.indexOf(state.radius));
  // Score and bounds in thousandths of the range: six digits to the base 36 for each image.
  const read = (model, name, i) => {
    const six = mode().images.said[model][name][place()].slice(6 * i, 6 * i + 6);
    return six.startsWith("-") ? null : [0, 2, 4].map(k => parseInt(six.slice(k, k + 2), 36));
  };

  const controls = () => {
    const now = mode();
    fill(control.mode, Object.keys(data.modes).map(m => option(m, m)), state.mode);
    state.model = fill(control.model, Object.entries(now.models).map(([k, v]) => option(k, v)), state.model);
    const sigmas = [...new Set(now.levels.map(l => l.sigma))].sort((a, b) => a - b);
    state.sigma = fill(control.sigma, [option("", "best for each"), ...sigmas.map(s => option(String(s), String(s)))], state.sigma);
    control.radius.max = now.radii.length - 1;
    if (!now.radii.includes(state.radius)) state.radius = now.radii[0];
    control.radius.value = place();
    control.shown.value = `ρ = ${state.radius}`;
    control.radius.setAttribute("aria-valuetext", `radius ${state.radius}`);
    state.defense = fill(control.defense, Object.entries(now.defenses).map(([k, v]) => option(k, v.title)), state.defense || "fs-iqa");
  };

  const level = name => {
    const now = mode();
    const best = now.best.find(([m, d]) => m === state.model && d === name)?.[2][place()];
    const sigma = state.sigma === "" ? best : Number(state.sigma);
    return now.levels.find(l => l.model === state.model && l.defense === name && l.sigma === sigma);
  };
  const cell = (text, kind, sort) => {
    const td = document.createElement("td");
    td.textContent = text;
    td.className = kind;
    if (sort !== undefined && sort !== null) td.dataset.sort = sort;
    return td;
  };
  const table = () => {
    const shown = $("table", explorer), at = place(), head = $("th[aria-sort]", shown);
    shown.tBodies[0].replaceChildren(...Object.entries(mode().defenses).map(([name, d]) => {
      const one = level(name), tr = document.createElement("tr");
      tr.dataset.defense = name;
      tr.append(cell(d.title + (d.proved ? "" : "†"), "text"));
      if (!one) tr.append(cell("none fits", "number"), ...Array(3).fill(0).map(() => cell("–", "number")));
      else tr.append(cell(String(one.sigma), "number", one.sigma), cell(one.srcc[1], "number", one.srcc[0]),
        cell(one.width[at][1], "number", one.width[at][0] ?? Infinity), cell(one.certified[at][1], "number", one.certified[at][0]));
      tr.append(cell(d.rigor, "text"));
      return tr;
    }));
    sortBy(head, head.getAttribute("aria-sort") === "descending");
  };

  const scatter = () => {
    const now = mode(), images = now.images, model = state.model || Object.keys(images.said)[0];
    const said = images.names.map((_, i) => read(model, state.defense, i)), human = images.human.map(h => h[0]);
    const low = Math.min(...human), span = Math.max(...human) - low || 1;
    const drawn = element("svg", { viewBox: "0 0 320 240", role: "listbox", "aria-label": "images: human score across, defended score up", tabindex: -1 });
    drawn.append(element("path", { class: "axis", d: "M36 8V208H312", fill: "none" }),
      element("text", { x: 174, y: 232, "text-anchor": "middle" }, "human score"),
      element("text", { x: 12, y: 108, transform: "rotate(-90 12 108)", "text-anchor": "middle" }, "score (share of range)"));
    const known = said.map((s, i) => [s, i]).filter(([s]) => s);
    const top = Math.max(...known.map(([s]) => s[0]), 1), bottom = Math.min(...known.map(([s]) => s[0]), top - 1);
    known.forEach(([s, i], n) => {
      const mark = element("circle", { class: "mark", r: 6, cx: 40 + 268 * (human[i] - low) / span, cy: 204 - 190 * (s[0] - bottom) / (top - bottom),
        fill: now.defenses[state.defense].color, role: "option", tabindex: n ? -1 : 0, "data-image": i, "aria-selected": i === state.image,
        "aria-label": `${images.names[i]}, human score ${images.human[i][1]}` });
      mark.dataset.tip = `${images.names[i]}: human score ${images.human[i][1]}`;
      drawn.append(mark);
    });
    $("[data-view=scatter]", explorer).replaceChildren(drawn);
    control.which.textContent = `${now.models[model]}, each defence at its best noise level for ρ = ${state.radius}`;
  };

  const detail = () => {
    const now = mode(), images = now.images, i = state.image, view = $("[data-view=detail]", explorer);
    if (i < 0 || !images.names[i]) { view.replaceChildren(Object.assign(document.createElement("p"), { className: "small", textContent: "Choose a point." })); return; }
    const model = state.model || Object.keys(images.said)[0], names = Object.keys(now.defenses);
    const drawn = element("svg", { viewBox: `0 0 320 ${30 + 22 * names.length}`, role: "img", "aria-label": "intervals of all defences on one axis" });
    const says = s => s && (s[1] > 0 || s[2] < 1000);
    const all = names.map(name => read(model, name, i)).filter(s => s), ends = all.flatMap(s => says(s) ? s : s.slice(0, 1));
    const low = Math.max(0, Math.floor((Math.min(...ends) - 5) / 10)), high = Math.min(100, Math.ceil((Math.max(...ends) + 5) / 10));
    const x = v => 114 + 196 * (v / 10 - low) / (high - low || 1);
    names.forEach((name, n) => {
      const y = 16 + 22 * n, s = read(model, name, i), d = now.defenses[name];
      drawn.append(element("text", { x: 0, y: y + 4 }, d.title + (d.proved ? "" : "†")));
      if (!s) { drawn.append(element("text", { x: 110, y: y + 4 }, "no score")); return; }
      const [from, to] = [x(s[1]), x(s[2])];
      drawn.append(element("circle", { cx: x(s[0]), cy: y, r: 3, fill: d.color }));
      if (says(s)) drawn.append(element("path", { d: `M${from} ${y - 5}V${y + 5}M${from} ${y}H${to}M${to} ${y - 5}V${y + 5}`, fill: "none", stroke: d.color, "stroke-width": 2, "stroke-dasharray": d.proved ? "none" : "3 2" }));
      else drawn.append(element("text", { x: x(s[0]) + (x(s[0]) > 212 ? -8 : 8), y: y + 4, "text-anchor": x(s[0]) > 212 ? "end" : "start", class: "none" }, "no interval"));
    });
    const y = 20 + 22 * names.length;
    if (ends.length) drawn.append(element("path", { class: "axis", d: `M114 ${y - 8}H310`, fill: "none" }), element("text", { x: 114, y: y + 6 }, `${low} %`),
      element("text", { x: 212, y: y + 6, "text-anchor": "middle" }, "share of range"), element("text", { x: 310, y: y + 6, "text-anchor": "end" }, `${high} %`));
    const title = document.createElement("p");
    const name = document.createElement("strong");
    name.textContent = images.names[i];
    title.append(name, `, human score ${images.human[i][1]}. Intervals at ρ = ${state.radius} as shares of each score's range, 100 % the best score; dashed and †: not proved.`);
    const gallery = $$("figure[data-about]").find(f => f.dataset.about === images.names[i]);
    const pictures = document.createElement("div");
    pictures.className = "gallery";
    const about = document.createElement("p");
    about.className = "small";
    if (gallery) {
      pictures.append(...$$(".gallery > div", gallery).map(d => d.cloneNode(true)));
      about.textContent = $("figcaption", gallery).textContent;
    }
    view.replaceChildren(title, drawn, pictures, about);
  };

  const permalink = () => {
    const query = new URLSearchParams({ mode: state.mode, model: state.model, sigma: state.sigma, radius: state.radius, defense: state.defense, image: state.image });
    history.replaceState(null, "", `#explore?${query}`);
  };
  const draw = () => { controls(); table(); scatter(); detail(); };
  const change = parts => { Object.assign(state, parts); draw(); permalink(); };
  control.radius.addEventListener("input", () => change({ radius: mode().radii[Number(control.radius.value)] }));
  ["mode", "model", "sigma", "defense"].forEach(name => control[name].addEventListener("change", () =>
    change({ [name]: control[name].value, ...(name === "mode" ? { model: "", sigma: "", image: -1 } : {}) })));
  const choose = mark => {
    change({ image: Number(mark.dataset.image) });
    $(`.mark[data-image="${state.image}"]`, explorer)?.focus({ preventScroll: true });
  };
  explorer.addEventListener("click", event => { const mark = event.target.closest(".mark"); if (mark) choose(mark); });
  explorer.addEventListener("keydown", event => {
    const mark = event.target.closest(".mark");
    if (!mark) return;
    const marks = $$(".mark", explorer), step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); marks[(marks.indexOf(mark) + step + marks.length) % marks.length].focus(); }
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(mark); }
  });
  const wanted = new URLSearchParams(location.hash.split("?")[1] || "");
  for (const name of ["mode", "model", "sigma", "defense"]) if (wanted.has(name)) state[name] = wanted.get(name);
  if (wanted.has("radius")) state.radius = Number(wanted.get("radius"));
  if (wanted.has("image")) state.image = Number(wanted.get("image"));
  if (!data.modes[state.mode]) state.mode = Object.keys(data.modes)[0];
  draw();
  if (wanted.size) $("#explore").scrollIntoView();
})();
