"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

/** Creates an element with properties and children. Strings become text nodes, never HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A name that may be broken after `/ _ - @ = : .`, rather than within a word. */
function nameElement(name) {
  const parts = name.split(/(?<=[/_\-@=:.])(?![/_\-@=:.])(?!$)/);
  return make("bdi", {}, ...parts.flatMap((part, index) => (index > 0 ? [make("wbr"), part] : [part])));
}

// ---- Number format, the same as in the template ----

const isNumber = (x) => typeof x === "number" && Number.isFinite(x);

function format(x, { like = x, sign = false } = {}) {
  if (!isNumber(x)) return "n/a";
  const size = Math.abs(isNumber(like) ? like : x);
  const places = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.1 || size === 0 ? 3 : size >= 0.001 ? 4 : 6;
  const text = Math.abs(x).toFixed(places);
  if (Number(text) === 0) return text;
  return (x < 0 ? "−" : sign ? "+" : "") + text;
}

const formatChance = (p) => (isNumber(p) && p < 0.001 ? "< 0.001" : format(p, { like: 0.5 }));

/** A corrected p-value; measures outside the family of primary ones have none. */
const corrected = (p) => (isNumber(p) ? formatChance(p) : "exploratory, not corrected");

const formatInterval = (low, high, like) =>
  isNumber(low) && isNumber(high) ? `${format(low, { like })} to ${format(high, { like })}` : "no interval";

/** Comparator of two values; undefined values come last in both directions. */
function compare(a, b, descending) {
  if (!isNumber(a) || !isNumber(b)) return isNumber(b) - isNumber(a);
  return descending ? b - a : a - b;
}

/** An object's own property, so that names such as "constructor" do not reach the prototype. */
const at = (object, key) => (object && Object.hasOwn(object, key) ? object[key] : null);

const titleOf = (name) => data.measures.find((measure) => measure.name === name).title;

// ---- Sortable tables ----

function sortTable(table, header) {
  const column = [...header.parentElement.children].indexOf(header);
  const isText = header.dataset.sort === "text";
  const before = header.getAttribute("aria-sort");
  const descending = before ? before === "ascending" : !isText;
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const value = (row) => row.children[column].dataset.value;
  const number = (row) => (value(row) === "" ? null : Number(value(row)));
  const order = isText
    ? (a, b) => value(a).localeCompare(value(b), undefined, { numeric: true }) * (descending ? -1 : 1)
    : (a, b) => compare(number(a), number(b), descending);
  body.append(...[...body.rows].sort(order));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.querySelectorAll("th[data-sort]")) {
    const button = make("button", { type: "button" });
    button.append(...[...header.childNodes].filter((node) => node.nodeName !== "SMALL"));
    button.addEventListener("click", () => sortTable(table, header));
    header.prepend(button);
  }
}

// ---- Paired comparisons ----

/** The comparison `row` minus `column`; negated if the report has the pair in the opposite order. */
function difference(row, column, measure) {
  for (const pair of data.comparisons) {
    const values = at(pair.values, measure);
    if (!values) continue;
    if (pair.a === column && pair.b === row) return values;
    if (pair.a === row && pair.b === column) {
      const turned = (v) => ({
        ...v,
        difference: isNumber(v.difference) ? -v.difference : null,
        ci_low: isNumber(v.ci_high) ? -v.ci_high : null,
        ci_high: isNumber(v.ci_low) ? -v.ci_low : null,
      });
      return {
        ...turned(values),
        cohen_dz: isNumber(values.cohen_dz) ? -values.cohen_dz : null,
        up: values.down,
        down: values.up,
        length_adjusted: values.length_adjusted && turned(values.length_adjusted),
      };
    }
  }
  return null;
}

const isCertain = (values) => isNumber(values.p_holm) && values.p_holm < 0.05 && values.difference !== 0;

function showComparison(row, column, measure) {
  const v = difference(row, column, measure);
  const equal = v.length_adjusted;
  const facts = [
    ["Difference", format(v.difference, { sign: true }), formatInterval(v.ci_low, v.ci_high, v.difference)],
    ["At equal length", ...(equal ? [format(equal.difference, { sign: true }), formatInterval(equal.ci_low, equal.ci_high, equal.difference)] : ["n/a"])],
    ["Effect size dz", format(v.cohen_dz, { like: 0.5, sign: true })],
    ["Prompts", `${v.prompts}: ${v.up} higher, ${v.down} lower, ${v.ties} the same`],
    ["p, sign test", formatChance(v.p_sign)],
    ["p, Wilcoxon", formatChance(v.p_wilcoxon)],
    ["p, permutation", formatChance(v.p_permutation)],
    ...(isNumber(v.p_runs) ? [["p, runs and prompts", formatChance(v.p_runs)]] : []),
    ["p after Holm", corrected(v.p_holm)],
    ["p after Benjamini–Hochberg", corrected(v.p_bh)],
  ];
  const entry = ([name, value, under]) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, value, ...(under ? [make("small", {}, under)] : [])));
  byId("comparison-detail").replaceChildren(
    make("h3", {}, `${titleOf(measure)}: `, nameElement(row), " minus ", nameElement(column)),
    make("dl", {}, ...facts.map(entry)),
  );
}

function comparisonCell(row, column, measure) {
  if (row === column) return make("td", { className: "none" }, "·");
  const values = difference(row, column, measure);
  if (!values) return make("td", { className: "none", title: "undefined: there is no such number" }, "n/a");
  const certain = isCertain(values);
  const text = format(values.difference, { sign: true }) + (certain ? " *" : "");
  const interval = formatInterval(values.ci_low, values.ci_high, values.difference);
  const button = make("button", { type: "button", "aria-pressed": "false" }, text, make("small", {}, interval));
  button.setAttribute("aria-label", `${row} minus ${column}: ${text}, ${interval}`);
  button.addEventListener("click", () => {
    for (const pressed of document.querySelectorAll("#comparison-matrix [aria-pressed=true]")) pressed.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", "true");
    showComparison(row, column, measure);
  });
  return make("td", { className: certain ? (values.difference > 0 ? "more" : "less") : "" }, button);
}

function showMatrix() {
  const measure = byId("comparison-measure").value;
  const name = (model, scope) => make("th", { scope }, nameElement(model));
  byId("comparison-matrix").replaceChildren(
    make("caption", {}, "The row’s model minus the column’s"),
    make("thead", {}, make("tr", {}, make("td"), ...data.models.map((model) => name(model, "col")))),
    make("tbody", {}, ...data.models.map((row) =>
      make("tr", {}, name(row, "row"), ...data.models.map((column) => comparisonCell(row, column, measure))))),
  );
  byId("comparison-detail").replaceChildren();
}

if (byId("comparison-measure") && data.comparisons.length > 0) {
  const known = data.measures.filter((measure) => data.comparisons.some((pair) => at(pair.values, measure.name)));
  byId("comparison-measure").append(...known.map((measure) => new Option(measure.title + (measure.exploratory ? " (exploratory)" : ""), measure.name)));
  byId("comparison-measure").addEventListener("change", showMatrix);
  byId("comparison-tools").hidden = known.length === 0;
  if (known.length > 0) showMatrix();
}

// ---- The list of prompts ----

const PAGE = 50;
const START = 160;
const list = { prompts: data.prompts, page: 0 };
const haystacks = new Map(data.prompts.map((prompt) => [prompt, `${prompt.id}\n${prompt.prompt}`.toLowerCase()]));

/** The first `length` UTF-16 code units, without half a surrogate pair at the end. */
function start(text, length) {
  const end = text.charCodeAt(length - 1) >= 0xd800 && text.charCodeAt(length - 1) < 0xdc00 ? length - 1 : length;
  return text.slice(0, end);
}

function valueOf(prompt, model, measure) {
  const values = at(at(prompt.models, model), "values");
  const value = at(values, measure);
  return isNumber(value) ? value : null;
}

/** The sort key of a prompt: the value of a model, or the difference of two models. Null keeps the order of the file. */
function sortKey() {
  const [measure, model, minus] = ["prompt-sort", "prompt-model", "prompt-minus"].map((id) => byId(id).value);
  if (measure === "") return null;
  const value = (prompt, index) => valueOf(prompt, data.models[index], measure);
  if (minus === "") return (prompt) => value(prompt, model);
  return (prompt) => {
    const [a, b] = [value(prompt, model), value(prompt, minus)];
    return a === null || b === null ? null : a - b;
  };
}

function arrange() {
  const query = byId("prompt-filter").value.trim().toLowerCase();
  const key = sortKey();
  list.prompts = data.prompts.filter((prompt) => haystacks.get(prompt).includes(query));
  if (key) {
    const descending = byId("prompt-order").value === "descending";
    const keys = new Map(list.prompts.map((prompt) => [prompt, key(prompt)]));
    list.prompts.sort((a, b) => compare(keys.get(a), keys.get(b), descending));
  }
  for (const id of ["prompt-model", "prompt-minus", "prompt-order"]) byId(id).disabled = key === null;
  list.page = 0;
  showPage();
}

function showPage() {
  const key = sortKey();
  const signed = byId("prompt-minus").value !== "";
  const first = list.page * PAGE;
  const shown = list.prompts.slice(first, first + PAGE);
  byId("prompt-list").replaceChildren(...shown.map((prompt, offset) => {
    const button = make("button", { type: "button" },
      make("span", { className: "id", dir: "auto" }, start(prompt.id, START)),
      make("span", { className: "start", dir: "auto" }, start(prompt.prompt.trim(), START) + (prompt.prompt.length > START ? "…" : "")),
      make("span", { className: "value" }, key ? format(key(prompt), { sign: signed }) : ""));
    button.dataset.prompt = prompt.id;
    button.addEventListener("click", () => openReader(first + offset));
    return make("li", {}, button);
  }));
  const range = shown.length > 0 ? `, ${first + 1} to ${first + shown.length} shown` : "";
  byId("prompt-count").textContent = `${list.prompts.length} of ${data.prompts.length} prompts${range}`;
  byId("prompt-page-back").disabled = first === 0;
  byId("prompt-page-on").disabled = first + PAGE >= list.prompts.length;
  byId("prompt-page-back").parentElement.hidden = list.prompts.length <= PAGE;
}

function turnPage(step) {
  list.page += step;
  showPage();
  byId("prompt-list").querySelector("button").focus();
}

// ---- One prompt: the models' stories side by side ----

const MAX_SHOWN = 3000;
const reader = byId("reader");
let reading = 0;

function longText(element, text, what) {
  const body = make("p", {}, start(text, MAX_SHOWN));
  element.replaceChildren(body);
  if (text.length <= MAX_SHOWN) return element;
  body.append("…");
  const showAll = make("button", { type: "button" }, `Show the whole ${what} (${text.length.toLocaleString("en")} characters)`);
  showAll.addEventListener("click", () => {
    body.textContent = text;
    body.tabIndex = -1;
    body.focus({ preventScroll: true });
    showAll.remove();
  });
  element.append(showAll);
  return element;
}

/** The marks of a model's most and least deviant stories, by semantic deviation if available, else by style deviation. */
function marksOf(responses) {
  for (const [space, how] of [["semantic", "in meaning"], ["style", "in style"]]) {
    const defined = responses.filter((response) => isNumber(response[space])).sort((a, b) => b[space] - a[space]);
    if (defined.length > 1 && defined[0][space] > defined.at(-1)[space]) {
      return new Map([
        [defined[0], { kind: "most", text: `most deviant of this model, ${how}` }],
        [defined.at(-1), { kind: "least", text: `least deviant of this model, ${how}` }],
      ]);
    }
  }
  return new Map();
}

function storyElement(response, index, mark) {
  const facts = [
    ...(response.run === null ? [] : [`run ${response.run}`]),
    `${response.words} words`,
    `reward ${format(response.score)}`,
    `deviation in meaning ${format(response.semantic)}, in style ${format(response.style)}`,
  ];
  const element = make("article", {}, make("h4", {}, `Story ${index + 1}`), make("p", { className: "facts" }, facts.join(" · ")));
  if (mark) element.append(make("p", { className: `mark ${mark.kind}` }, mark.text));
  element.append(longText(make("div", { className: "story", dir: "auto" }), response.text, "story"));
  return element;
}

function modelElement(prompt, model, index) {
  const heading = make("h3", { id: `reader-model-${index}` }, make("span", { className: `swatch m${index % 10}` }), nameElement(model));
  const column = make("div", { className: "model", tabIndex: 0, role: "region", "aria-labelledby": heading.id }, heading);
  const entry = at(prompt.models, model);
  if (!entry || entry.responses.length === 0) {
    column.append(make("p", {}, "No story to this prompt."));
    return column;
  }
  const values = data.measures.map((measure) =>
    make("div", {}, make("dt", {}, measure.title), make("dd", {}, format(valueOf(prompt, model, measure.name)))));
  column.append(make("details", {}, make("summary", {}, "Measures at this prompt"), make("dl", { className: "values" }, ...values)));
  const marks = marksOf(entry.responses);
  column.append(...entry.responses.map((response, i) => storyElement(response, i, marks.get(response))));
  return column;
}

function showPrompt(index) {
  reading = index;
  const prompt = list.prompts[index];
  byId("reader-title").textContent = `${start(prompt.id, START)} (${index + 1} of ${list.prompts.length})`;
  longText(byId("reader-prompt"), prompt.prompt, "prompt").scrollTop = 0;
  byId("reader-models").replaceChildren(...data.models.map((model, i) => modelElement(prompt, model, i)));
  byId("reader-models").scrollLeft = 0;
  byId("reader-back").disabled = index === 0;
  byId("reader-on").disabled = index === list.prompts.length - 1;
}

function openReader(index) {
  showPrompt(index);
  reader.showModal();
  byId("reader-title").focus();
}

function step(by) {
  const index = reading + by;
  if (index < 0 || index >= list.prompts.length) return;
  showPrompt(index);
  byId("reader-title").focus();
}

byId("prompt-sort").append(new Option("order of the file", ""), ...data.measures.map((measure) => new Option(measure.title, measure.name)));
byId("prompt-model").append(...data.models.map((model, index) => new Option(model, index)));
byId("prompt-minus").append(new Option("nothing", ""), ...data.models.map((model, index) => new Option(model, index)));
byId("prompt-filter").addEventListener("input", arrange);
for (const id of ["prompt-sort", "prompt-model", "prompt-minus", "prompt-order"]) byId(id).addEventListener("change", arrange);
byId("prompt-page-back").addEventListener("click", () => turnPage(-1));
byId("prompt-page-on").addEventListener("click", () => turnPage(1));
byId("reader-back").addEventListener("click", () => step(-1));
byId("reader-on").addEventListener("click", () => step(1));
byId("reader-close").addEventListener("click", () => reader.close());
reader.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
  event.preventDefault();
  step(event.key === "ArrowLeft" ? -1 : 1);
});
reader.addEventListener("close", () => {
  byId("reader-models").replaceChildren();
  list.page = Math.floor(reading / PAGE);
  showPage();
  byId("prompt-list").children[reading % PAGE].firstElementChild.focus();
});
byId("prompt-tools").hidden = false;
arrange();
