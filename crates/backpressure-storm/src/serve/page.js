"use strict";
// Draws what /state tells twice a second, and sends what the controls say to /settings.
const POINTS = 240, LEFT = 90, NS = "http://www.w3.org/2000/svg";
const by = id => document.getElementById(id);
const inputs = ["load", "delay_ms", "polite", "layers"].map(by);
const points = [];
let settings = null, sending = null;

const asks = {
  load: v => `${v} requests a second`,
  delay_ms: v => `${v} ms: ${Math.round(4000 / v)} queries a second`,
  polite: v => `${v} %`,
  layers: on => on ? "on" : "off",
};

function show(now) {
  settings = now;
  by("load").value = now.load;
  by("delay_ms").value = now.delay_ms;
  by("polite").value = Math.round(now.polite * 100);
  by("layers").checked = now.layers;
  label();
}

function label() {
  for (const input of inputs) {
    const value = input.type === "checkbox" ? input.checked : input.value;
    input.parentElement.querySelector("output").textContent = asks[input.id](value);
  }
}

function send() {
  label();
  clearTimeout(sending);
  sending = setTimeout(async () => {
    const body = JSON.stringify({ load: +by("load").value, delay_ms: +by("delay_ms").value, polite: by("polite").value / 100, layers: by("layers").checked });
    try {
      settings = await (await fetch("settings", { method: "POST", headers: { "content-type": "application/json" }, body })).json();
    } catch { /* the next look at the state says that the connection is lost */ }
    sending = null;
  }, 80);
}

for (const input of inputs) input.addEventListener("input", send);

by("brown-out").addEventListener("click", event => {
  const button = event.target, slider = by("delay_ms"), usual = slider.value;
  button.disabled = true;
  slider.value = Math.min(500, usual * 8);
  send();
  let left = 10;
  const count = () => {
    button.textContent = left > 0 ? `Slow for ${left} s more` : "Slow the database for ten seconds";
    if (left-- > 0) return void setTimeout(count, 1000);
    button.disabled = false;
    slider.value = usual;
    send();
  };
  count();
});

function element(parent, name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.appendChild(made);
  return made;
}

function ceiling(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 10)));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= most) ?? 10 * power;
}

function frame(svg, most) {
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const top = ceiling(most), floor = height - 10;
  svg.replaceChildren();
  for (const share of [0, 0.5, 1]) {
    const y = floor - share * (floor - 14);
    element(svg, "line", { class: "grid", x1: LEFT, x2: width, y1: y, y2: y });
    element(svg, "text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, Math.round(top * share));
  }
  const first = POINTS - points.length;
  return { x: i => LEFT + (first + i) / (POINTS - 1) * (width - LEFT), y: v => floor - Math.min(v / top, 1) * (floor - 14) };
}

function line(svg, scale, key) {
  const path = points.map((point, i) => point[key] === null ? null : `${scale.x(i).toFixed(1)},${scale.y(point[key]).toFixed(1)}`);
  for (const part of path.join(" ").split(/ {2,}/).filter(Boolean)) element(svg, "polyline", { class: `line ${key.replace("_ms", "")}`, points: part.trim() });
}

function area(svg, scale, name, low, high) {
  const edge = (of, i) => `${scale.x(i).toFixed(1)},${scale.y(of(points[i])).toFixed(1)}`;
  const there = points.map((_, i) => edge(high, i)), back = points.map((_, i) => edge(low, i)).reverse();
  element(svg, "polygon", { class: name, points: [...there, ...back].join(" ") });
}

function draw() {
  const most = of => Math.max(1, ...points.map(of));
  const ended = point => point.goodput + point.refused + point.late + point.broken;
  let svg = by("goodput"), scale = frame(svg, most(point => Math.max(point.offered, point.goodput)));
  line(svg, scale, "offered");
  line(svg, scale, "goodput");
  svg = by("attempts");
  scale = frame(svg, most(ended));
  area(svg, scale, "good", () => 0, point => point.goodput);
  area(svg, scale, "refused", point => point.goodput, point => point.goodput + point.refused);
  area(svg, scale, "lost", point => point.goodput + point.refused, ended);
  svg = by("latency");
  scale = frame(svg, most(point => point.p99_ms ?? 0));
  line(svg, scale, "p50_ms");
  line(svg, scale, "p99_ms");
}

function say() {
  const recent = points.slice(-6), mean = key => recent.reduce((sum, point) => sum + point[key], 0) / Math.max(recent.length, 1);
  const [offered, goodput, attempts, refused] = ["offered", "goodput", "attempts", "refused"].map(mean);
  if (offered < 1) return "No load.";
  const capacity = 4000 / settings.delay_ms, share = goodput / offered;
  const numbers = `${Math.round(goodput)} of ${Math.round(offered)} requests a second are answered in time, with ${(attempts / offered).toFixed(1)} attempts each.`;
  if (offered > capacity * 1.02) return `Overload: the database can do ${Math.round(capacity)} a second. ${numbers}` + (refused > 1 ? " The rest is told when to come back." : "");
  if (share < 0.5) return `Down without a reason: the database could do ${Math.round(capacity)} a second, and retries of requests that came too late keep it busy. ${numbers}`;
  return `${share > 0.9 ? "Well" : "On its way"}: ${numbers}`;
}

async function look() {
  try {
    const since = points.length ? `?since=${points[points.length - 1].number}` : "";
    const state = await (await fetch(`state${since}`, { signal: AbortSignal.timeout(3000) })).json();
    const editing = sending !== null || inputs.includes(document.activeElement) && document.activeElement.matches(":active");
    if (!editing) show(state.settings);
    points.push(...state.points);
    points.splice(0, points.length - POINTS);
    draw();
    by("says").textContent = say();
  } catch {
    points.length = 0;
    by("says").textContent = "No connection: is `cargo run --release -- serve` still running?";
  }
  setTimeout(look, 500);
}

look();
