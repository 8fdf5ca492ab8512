
"use strict";
(() => {
  const base = location.pathname.replace(/\/$/, "");
  const byId = (id) => document.getElementById(id);
  const SAMPLES = 300;
  const STALE_AFTER_MS = 3500;
  // A connection that died while the computer slept says nothing and does not end: after so long the page opens another.
  const RECONNECT_AFTER_MS = 8000;
  const KINDS = {
    admission: "Admission", bulkhead: "Bulkhead", compartment: "Compartment", queue: "Queue", quota: "Quota",
    retry: "Retries", "origin-limit": "Limits per origin", cooldown: "Cool-down", breaker: "Breaker", throttle: "Throttle",
  };
  const STATUS = {
    idle: ["○", "no requests"], ok: ["●", "ok"], queueing: ["◐", "queueing"], rejecting: ["▲", "rejecting"],
    paused: ["❚❚", "paused"], draining: ["▽", "draining"], stopped: ["■", "stopped"],
  };
  const WORST = ["idle", "ok", "queueing", "rejecting", "paused", "draining", "stopped"];
  const REASONS = {
    limit: "limit reached, no queue", "queue-full": "queue full", "queue-timeout": "waited too long", displaced: "gave way to another",
    deadline: "deadline would pass", cooldown: "origin said to wait", throttle: "origin rejects most", breaker: "origin does not work",
    stopped: "stopped by an operator", streams: "too many streams", quota: "over its quota", "tenant-share": "over its fair share",
  };
  // The same word means opposite things for a breaker and for a cool-down.
  const STATES = {
    breaker: { closed: "sends all", open: "sends none", "half-open": "tries a few", ramping: "sends more and more" },
    cooldown: { inactive: "sends all", quiet: "waits", probing: "tries one", resuming: "sends more and more" },
  };

  // Text only ever enters the page through textContent, so that no name can be markup.
  function h(tag, options = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name === "text") element.textContent = value;
      else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }
  function s(tag, attributes = {}) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }
  const space = (digits) => digits.replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  function count(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (value >= 1e6) return `${(value / 1e6).toFixed(value >= 1e7 ? 0 : 1)}\u202fM`;
    if (value > 0 && value < 9.95 && value % 1 !== 0) return value.toFixed(1);
    return space(String(Math.round(value)));
  }
  function time(ms) {
    if (ms === null || ms === undefined || Number.isNaN(ms)) return "–";
    if (ms >= 9950) return `${Math.round(ms / 1000)} s`;
    if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
    if (ms >= 9.95) return `${Math.round(ms)} ms`;
    return `${ms.toFixed(1)} ms`;
  }
  const percent = (share) => (share > 0 && share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`);
  function ago(seconds) {
    if (seconds < 1) return "just now";
    if (seconds < 120) return `${seconds} s ago`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min ago`;
    return `${Math.floor(seconds / 3600)} h ago`;
  }

  let state = null;
  let history = new Map();
  let lastNews = 0;
  let sequence = -1;

  // Charts: an area or lines over five minutes, and what they were at the pointer.
  class Chart {
    constructor(title, lines, format) {
      this.lines = lines;
      this.format = format;
      this.at = null;
      this.keys = lines.map((line) => {
        const value = h("b");
        return { value, element: h("span", { class: `key c-${line.color} ${line.style || ""}` }, h("span", { text: line.name }), value) };
      });
      this.svg = s("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", "aria-hidden": "true" });
      for (const y of [0.5, 50]) this.svg.append(s("line", { x1: 0, x2: 300, y1: y, y2: y }));
      for (const line of lines) {
        if (line.area) this.svg.append((line.fill = s("path", { class: `area c-${line.color}` })));
        this.svg.append((line.path = s("path", { class: `c-${line.color} ${line.style || ""}` })));
      }
      this.cursor = s("line", { class: "cursor", y1: 0, y2: 100, visibility: "hidden" });
      this.svg.append(this.cursor);
      this.top = h("span");
      this.left = h("span", { text: "5 min ago" });
      this.plot = h("div", { class: "plot", role: "img", tabindex: "0", "aria-label": title }, this.svg);
      this.title = title;
      this.element = h("figure", {},
        h("figcaption", {}, h("span", { class: "legend" }, ...this.keys.map((key) => key.element))),
        this.plot, h("div", { class: "axis", "aria-hidden": "true" }, this.left, this.top, h("span", { text: "now" })));
      this.plot.addEventListener("pointermove", (event) => {
        const box = this.plot.getBoundingClientRect();
        this.show(Math.round(((event.clientX - box.left) / box.width) * (SAMPLES - 1)));
      });
      this.plot.addEventListener("pointerleave", () => this.show(null));
      this.plot.addEventListener("blur", () => this.show(null));
      this.plot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1, Home: -SAMPLES, End: SAMPLES }[event.key];
        if (!step) return;
        event.preventDefault();
        this.show(Math.min(SAMPLES - 1, Math.max(0, (this.at ?? SAMPLES - 1) + step)));
      });
    }

    show(at) {
      this.at = at;
      this.cursor.setAttribute("visibility", at === null ? "hidden" : "visible");
      if (at !== null) {
        const x = (at / (SAMPLES - 1)) * 300;
        this.cursor.setAttribute("x1", x);
        this.cursor.setAttribute("x2", x);
      }
      setText(this.left, at === null ? "5 min ago" : ago(SAMPLES - 1 - at));
      this.label();
    }

    label() {
      if (!this.series) return;
      const words = this.lines.map((line, index) => {
        const values = this.series[line.field] || [];
        const at = this.at === null ? values.length - 1 : this.at - (SAMPLES - values.length);
        const text = this.format(values[at] ?? null);
        setText(this.keys[index].value, text);
        return `${line.name} ${text}`;
      });
      this.plot.setAttribute("aria-label", `${this.title}: ${words.join(", ")}. Most in five minutes ${this.format(this.most)}.`);
    }

    update(series) {
      this.series = series;
      let most = 0;
      for (const line of this.lines) for (const value of series[line.field] || []) if (value > most) most = value;
      this.most = most;
      const scale = most > 0 ? 94 / most : 0;
      setText(this.top, most > 0 ? `most ${this.format(most)}` : "");
      for (const line of this.lines) {
        const values = series[line.field] || [];
        const from = SAMPLES - values.length;
        let path = "", area = "", started = -1;
        const close = (end) => {
          if (started >= 0) area += `L${x(end)} 100L${x(started)} 100Z`;
          started = -1;
        };
        const x = (index) => ((index / (SAMPLES - 1)) * 300).toFixed(1);
        values.forEach((value, index) => {
          const at = from + index;
          if (value === null) return close(at - 1);
          const point = `${x(at)} ${(100 - value * scale).toFixed(1)}`;
          path += (started < 0 ? "M" : "L") + point;
          area += (started < 0 ? "M" : "L") + point;
          if (started < 0) started = at;
        });
        close(SAMPLES - 1);
        // A line of nothing but zeros would say something is there.
        const isEmpty = line.style && !values.some((value) => value > 0);
        line.path.setAttribute("d", isEmpty ? "" : path);
        if (line.fill) line.fill.setAttribute("d", area);
      }
      this.label();
    }
  }

  // What is shown as one: a policy of the server, or all layers of one name in the client.
  function groups(policies) {
    const clients = new Map();
    const list = [];
    for (const policy of policies) {
      if (policy.side === "server") {
        list.push({ key: `p${policy.id}`, name: policy.name, kind: KINDS[policy.kind] || policy.kind, policies: [policy] });
        continue;
      }
      let group = clients.get(policy.name);
      if (!group) {
        group = { key: `c${policy.id}`, name: policy.name, kind: "Client", isClient: true, policies: [] };
        clients.set(policy.name, group);
        list.push(group);
      }
      group.policies.push(policy);
    }
    const column = (group) => COLUMNS.findIndex(([, belongs]) => belongs(group));
    for (const group of list) {
      const kinds = (kind) => group.policies.filter((policy) => policy.kind === kind);
      group.status = group.policies.map((policy) => policy.status).reduce((a, b) => (WORST.indexOf(b) > WORST.indexOf(a) ? b : a), "idle");
      group.pressure = Math.max(0, ...group.policies.map((policy) => policy.pressure));
      group.limits = kinds("origin-limit")[0];
      group.retry = kinds("retry")[0];
      group.main = group.limits || group.retry || group.policies[0];
      if (group.isClient) {
        const own = group.policies.filter((policy) => policy.kind !== "retry").map((policy) => KINDS[policy.kind].toLowerCase());
        group.kind = `Client${own.length ? `: ${[...new Set([...(group.retry ? ["retries"] : []), ...own])].join(", ")}` : ": retries"}`;
        const held = group.policies.flatMap((policy) => (STATES[policy.kind] ? policy.parts : []));
        const isCut = group.policies.some((policy) => policy.parts.some((part) => ["open:breaker", "quiet:cooldown"].includes(`${part.state}:${policy.kind}`)));
        if (isCut && held.length) group.cut = true;
      }
      // Instead of that of its status.
      if (group.cut) group.word = "held back";
      else if (group.status === "rejecting" && group.policies.every((policy) => policy.dry_run)) group.word = "would reject";
    }
    // In the order in which requests pass them; the sort is stable.
    return list.sort((a, b) => column(a) - column(b));
  }

  const sum = (items, read) => items.reduce((total, item) => total + (read(item) || 0), 0);

  class Card {
    constructor(group) {
      this.key = group.key;
      this.isClient = group.isClient;
      this.name = h("h3", { text: group.name, dir: "auto" });
      this.kind = h("span", { class: "kind" });
      this.status = h("span", { class: "status" });
      this.dry = h("span", { class: "tag", text: "dry run", hidden: true });
      this.pinned = h("span", { class: "tag", text: "pinned", hidden: true });
      this.why = h("p", { class: "why" });
      this.numbers = h("dl", { class: "numbers" });
      this.rows = new Map();
      const isTimed = group.main.kind !== "quota" && !group.isClient;
      this.charts = [
        this.hasLimit(group) && new Chart("In flight and limit", [
          { name: "In flight", field: "in_flight", color: "flight", area: true },
          { name: "Limit", field: "limit", color: "limit", style: "dashed" },
          { name: "Queue", field: "queued", color: "queue", style: "dotted" },
        ], count),
        new Chart("Requests a second", [
          { name: group.isClient ? "Sent/s" : "Admitted/s", field: "admitted", color: "ok", area: true },
          { name: "Rejected/s", field: "rejected", color: "reject", style: "dashed", area: true },
          ...(group.retry ? [{ name: "Retries/s", field: "retried", color: "queue", style: "dotted" }] : []),
        ], count),
        (isTimed || group.limits) && new Chart("Response time", [
          { name: "p50", field: "p50_ms", color: "flight" },
          { name: "p99", field: "p99_ms", color: "p99", style: "dashed" },
        ], time),
      ].filter(Boolean);
      this.parts = h("div", { class: "parts scroll", hidden: true, tabindex: "0", role: "region", "aria-label": `${group.name}: origins and compartments` });
      this.inside = h("div", { class: "inside" });
      this.reasons = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${group.name}: rejections` });
      this.totals = h("div");
      this.inside.append(this.reasons, this.totals);
      if (!group.isClient && state.actions.length) this.inside.append((this.actions = this.makeActions(group)));
      this.more = h("details", { class: "more" }, h("summary", { text: state.actions.length && !group.isClient ? "Rejections, totals and actions" : "Rejections and totals" }), this.inside);
      this.element = h("article", { class: "card", id: this.key, tabindex: "-1" },
        h("div", {}, h("div", { class: "name" }, this.name, this.status, this.dry, this.pinned), this.kind, this.why, this.numbers),
        h("div", { class: "charts" }, ...this.charts.map((chart) => chart.element), group.main.kind === "quota" ? this.parts : null),
        group.main.kind === "quota" ? null : this.parts, this.more);
    }

    hasLimit(group) {
      return Boolean(group.limits || group.main.limit);
    }

    number(label, value, unit = "") {
      let row = this.rows.get(label);
      if (!row) {
        row = { dt: h("dt", { text: label }), value: h("span"), unit: h("span", { class: "unit" }) };
        row.dd = h("dd", {}, row.value, row.unit);
        this.numbers.append(row.dt, row.dd);
        this.rows.set(label, row);
      }
      row.dt.hidden = row.dd.hidden = value === null;
      if (value === null) return;
      setText(row.value, value);
      setText(row.unit, unit);
    }

    update(group) {
      const { main } = group;
      const [icon, word] = STATUS[group.status] || STATUS.idle;
      this.element.className = `card is-${group.status}`;
      setText(this.status, `${icon} ${group.word || word}`);
      setText(this.kind, group.kind);
      this.dry.hidden = !group.policies.some((policy) => policy.dry_run);
      this.pinned.hidden = !(main.limit && main.limit.pinned && main.limit.adapts);
      setText(this.why, this.reason(group));
      if (group.isClient) this.clientNumbers(group);
      else this.serverNumbers(main);
      this.group = group;
      this.draw();
      this.updateParts(group);
      if (this.more.open) this.updateMore(group);
    }

    reason(group) {
      const { main } = group;
      if (main.why) return main.why;
      const part = group.limits && group.limits.parts[0];
      if (part && part.why) return group.limits.parts.length > 1 ? `${part.name}: ${part.why}` : part.why;
      if (main.kind === "quota") return `${count(main.tenant_count)} ${main.tenant_count === 1 ? "key has" : "keys have"} used tokens lately.`;
      if (main.part_count) return `${count(main.part_count)} compartments, each with a limit of its own.`;
      return "";
    }

    serverNumbers(policy) {
      const { limit } = policy;
      this.number("In flight", limit ? count(limit.in_flight) : null, limit ? ` of ${count(limit.limit)}` : "");
      this.number("In the queue", limit ? count(limit.queued) : null, "");
      this.number("Streams", limit && limit.streams ? count(limit.streams) : null);
      this.number("Wait, p99", policy.wait_ms ? time(policy.wait_ms.p99) : null);
      this.number("Admitted", count(policy.per_second.admitted), " /s");
      this.number("Rejected", count(policy.per_second.rejected), " /s");
      this.number("Would reject", policy.dry_run ? count(policy.per_second.would_reject) : null, " /s");
      this.number("Response, p50", policy.response_ms ? time(policy.response_ms.p50) : null);
      this.number("Response, p99", policy.response_ms ? time(policy.response_ms.p99) : null);
      this.number("Retry-After told", policy.retry_after_s ? time(policy.retry_after_s.p50 * 1000) : null, policy.retry_after_s ? `, up to ${time(policy.retry_after_s.max * 1000)}` : "");
    }

    clientNumbers(group) {
      const { limits, retry } = group;
      const parts = limits ? limits.parts.filter((part) => part.limit) : [];
      this.number("In flight", parts.length ? count(sum(parts, (part) => part.limit.in_flight)) : null, parts.length ? ` of ${count(sum(parts, (part) => part.limit.limit))}` : "");
      this.number("In the queue", parts.length ? count(sum(parts, (part) => part.limit.queued)) : null);
      if (retry) {
        const { retries } = retry;
        this.number("First attempts", count(retries.first_per_second), " /s");
        this.number("Retries", count(retries.retried_per_second), " /s");
        this.number("Retry budget", count(retries.budget), ` of ${count(retries.budget_max)}`);
      }
      this.number("Kept back here", count(sum(group.policies, (policy) => policy.per_second.rejected)), " /s");
      this.number("Retry wait, p50", retry && retry.wait_ms ? time(retry.wait_ms.p50) : null);
    }

    draw() {
      const { group } = this;
      // With a hundred policies most are out of sight.
      if (document.hidden || !this.isVisible) return;
      const own = history.get(String(group.main.id));
      if (!own) return;
      let series = own;
      if (group.isClient) {
        const add = (field) => group.policies.reduce((total, policy) => {
          const values = (history.get(String(policy.id)) || {})[field] || [];
          return total.length ? total.map((value, index) => value + (values[values.length - total.length + index] || 0)) : values.map((value) => value || 0);
        }, []);
        const retried = group.retry && history.get(String(group.retry.id));
        const sent = group.retry && !group.limits ? (retried || own).admitted : own.admitted;
        series = { ...own, admitted: sent, rejected: add("rejected"), retried: retried ? retried.retried : [] };
      }
      for (const chart of this.charts) chart.update(series);
    }

    updateParts(group) {
      const rows = new Map();
      for (const policy of group.policies) {
        for (const part of policy.parts) {
          if (!rows.has(part.name)) rows.set(part.name, {});
          rows.get(part.name)[policy.kind] = part;
        }
      }
      const tenants = group.main.tenants || [];
      const shape = JSON.stringify([[...rows.keys()], [...new Set(group.policies.map((policy) => policy.kind))], tenants.map((tenant) => tenant.name)]);
      this.parts.hidden = rows.size === 0 && tenants.length === 0;
      if (this.parts.hidden) return;
      const cells = tenants.length ? this.tenantCells(tenants) : this.partCells(group, rows);
      if (shape !== this.shape) {
        this.shape = shape;
        // The roles are said, as a narrow page shows the rows of a wide table as blocks.
        const isWide = cells.heads.length > 4;
        this.cells = cells.rows.map((row) => row.map((text, index) => h("td", { class: index ? "n" : "text", role: "cell", "data-head": cells.heads[index], text, dir: index ? undefined : "auto" })));
        this.parts.replaceChildren(h("table", { class: isWide ? "wide" : undefined, role: "table" }, h("caption", { text: cells.caption }),
          h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...cells.heads.map((text, index) => h("th", { scope: "col", role: "columnheader", class: index ? "n" : undefined, text })))),
          h("tbody", { role: "rowgroup" }, ...this.cells.map((row) => h("tr", { role: "row" }, ...row)))));
        return;
      }
      cells.rows.forEach((row, at) => row.forEach((text, index) => setText(this.cells[at][index], text)));
      setText(this.parts.querySelector("caption"), cells.caption);
    }

    tenantCells(tenants) {
      return {
        caption: "Busiest keys of the last ten seconds", heads: ["Key", "Requests/s", "Rejected"],
        rows: tenants.map((tenant) => [tenant.name, count(tenant.per_second), percent(tenant.rejected_share)]),
      };
    }

    partCells(group, rows) {
      const has = (kind) => group.policies.some((policy) => policy.kind === kind && policy.parts.length);
      const limited = (part) => part["origin-limit"] || part.bulkhead || part.admission;
      const isLimited = has("origin-limit") || has("bulkhead") || has("admission");
      const most = Math.max(...group.policies.map((policy) => policy.part_count));
      const noun = group.isClient ? "Origin" : "Compartment";
      const state = (kind, part) => {
        if (!part) return "–";
        const words = STATES[kind][part.state] || part.state;
        const left = part.left_s > 0 ? `, ${time(part.left_s * 1000)} left` : "";
        return `${words}${left}${part.held ? `, ${part.held} held` : ""}`;
      };
      return {
        caption: `${noun}s${most > rows.size ? `: ${rows.size} of ${count(most)}` : ""}`,
        heads: [noun, ...(isLimited ? ["In flight", "Limit", "Queue", "Pressure"] : []), ...(has("cooldown") ? ["Cool-down"] : []),
          ...(has("breaker") ? ["Breaker"] : []), ...(has("throttle") ? ["Throttled"] : [])],
        rows: [...rows].map(([name, part]) => {
          const own = limited(part);
          const numbers = own && own.limit ? [count(own.limit.in_flight), count(own.limit.limit), count(own.limit.queued), percent(own.pressure)] : ["–", "–", "–", "–"];
          return [name, ...(isLimited ? numbers : []), ...(has("cooldown") ? [state("cooldown", part.cooldown)] : []),
            ...(has("breaker") ? [state("breaker", part.breaker)] : []), ...(has("throttle") ? [part.throttle ? percent(part.throttle.rejected_share) : "–"] : [])];
        }),
      };
    }

    updateMore(group) {
      const reasons = group.policies.flatMap((policy) => policy.rejected_by);
      const gaveUp = group.retry ? group.retry.retries.gave_up : [];
      const table = (caption, first, rows) => h("table", {}, h("caption", { text: caption }),
        h("thead", {}, h("tr", {}, h("th", { scope: "col", text: first }), h("th", { scope: "col", class: "n", text: "Per second" }), h("th", { scope: "col", class: "n", text: "In all" }))),
        h("tbody", {}, ...rows.map((row) => h("tr", {}, h("td", { class: "text", text: row[0] }), h("td", { class: "n", text: count(row[1]) }), h("td", { class: "n", text: count(row[2]) })))));
      this.reasons.replaceChildren(reasons.length
        ? table("Rejected, by reason", "Reason", reasons.map((it) => [REASONS[it.reason] || it.reason, it.per_second, it.total]))
        : h("p", { class: "quiet", text: "No request has been rejected." }));
      const total = (field) => sum(group.policies, (policy) => policy.total[field]);
      const rate = (field) => sum(group.policies, (policy) => policy.per_second[field]);
      const rows = [["Admitted", "admitted"], ["Rejected", "rejected"], ["Would reject", "would_reject"], ["Exempt", "exempt"]].map(([name, field]) => [name, rate(field), total(field)]);
      this.totals.replaceChildren(gaveUp.length
        ? table("Failures returned instead of a retry", "Why", gaveUp.map((it) => [it.reason, it.per_second, it.total]))
        : table("Since the dashboard started", "Requests", group.isClient ? this.clientRows(group, rate, total) : rows));
    }

    clientRows(group, rate, total) {
      const retries = group.retry && group.retry.retries;
      const attempts = retries ? [["First attempts", retries.first_per_second, retries.first], ["Retries", retries.retried_per_second, retries.retried]] : [];
      return [...attempts, ["Kept back here", rate("rejected"), total("rejected")]];
    }

    makeActions(group) {
      const id = group.main.id;
      const isQuota = group.main.kind === "quota";
      const name = group.name;
      const button = (text, run, danger) => h("button", { type: "button", class: danger ? "danger" : undefined, text, on: { click: run } });
      const limit = h("input", { type: "number", min: "1", max: "1000000", "aria-label": `Limit of ${name} to pin`, value: group.main.limit ? group.main.limit.limit : 1 });
      const dry = button("Dry run on or off", () => act({ action: "dry_run", policy: id, on: !this.group.main.dry_run }));
      const box = h("div", { class: "actions" }, h("h4", { text: "Actions" }));
      if (isQuota) {
        box.append(h("div", { class: "row" }, dry));
        return box;
      }
      box.append(
        h("div", { class: "row" }, limit, button("Pin the limit", () => act({ action: "pin", policy: id, limit: Number(limit.value) })), button("Unpin", () => act({ action: "unpin", policy: id })), dry),
        h("div", { class: "row" },
          button("Pause 30 s", () => ask(`Pause ${name} for 30 s?`, "No request starts meanwhile. They wait, and none is rejected for it.", "Pause", { action: "pause", policy: id, seconds: 30 })),
          button("Drain", () => ask(`Drain ${name}?`, "New requests are rejected until you resume. Those in the queue are served.", "Drain", { action: "drain", policy: id }), true),
          button("Stop", () => ask(`Stop ${name}?`, "New requests and those in the queue are rejected until you resume.", "Stop", { action: "stop", policy: id }), true),
          button("Resume", () => act({ action: "resume", policy: id }))));
      return box;
    }
  }

  function toast(text) {
    setText(byId("toast"), text);
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => setText(byId("toast"), ""), 5000);
  }

  async function act(command) {
    try {
      const response = await fetch(`${base}/actions`, {
        method: "POST", headers: { "content-type": "application/json", "x-backpressure-action": "1" }, body: JSON.stringify(command),
      });
      const answer = await response.json().catch(() => ({}));
      toast(response.ok ? "Done. It shows within a second." : `Not done: ${answer.error || response.status}`);
    } catch {
      toast("Not done: the service does not answer.");
    }
  }

  function ask(title, text, yes, command) {
    const dialog = byId("dialog");
    setText(byId("dialog-title"), title);
    setText(byId("dialog-text"), text);
    setText(byId("dialog-yes"), yes);
    byId("dialog-yes").onclick = () => { dialog.close(); act(command); };
    byId("dialog-no").onclick = () => dialog.close();
    dialog.showModal();
    byId("dialog-no").focus();
  }

  // The flow: columns in the order in which a request passes them.
  const COLUMNS = [
    ["Routes", () => false],
    ["Quotas", (group) => group.main.kind === "quota"],
    ["Admission", (group) => ["admission", "queue"].includes(group.main.kind)],
    ["Bulkheads", (group) => ["bulkhead", "compartment"].includes(group.main.kind)],
    ["Clients, by origin", (group) => group.isClient],
  ];
  // A column has room for this many; of more, those that are calm are counted.
  const COLUMN = 8;
  let nodes = new Map();
  let flowShape = "";
  let isUnfolded = false;
  let drawn = new Set();

  const foldedText = (hidden) => `${count(hidden)} more, all calm`;

  // Those in trouble, and of the others those drawn before and those with the highest pressure, in their order.
  function fold(members) {
    if (isUnfolded || members.length <= COLUMN) return members;
    const rank = (group) => WORST.indexOf(group.status) * 2 + (drawn.has(group.key) ? 1 : 0) + group.pressure / 2;
    const isCalm = (group) => ["idle", "ok"].includes(group.status) && !group.cut;
    const first = new Set([...members].sort((a, b) => rank(b) - rank(a)).slice(0, COLUMN));
    return members.filter((group) => !isCalm(group) || first.has(group));
  }

  function makeFlow(columns) {
    const flow = byId("flow");
    nodes = new Map();
    const edges = s("svg", { class: "edges", "aria-hidden": "true" });
    flow.replaceChildren(edges);
    for (const { title, members, hidden } of columns) {
      const column = h("div", { class: "column" }, h("h3", { text: title }));
      for (const member of members) {
        const node = { name: h("b", { text: member.name, dir: "auto" }), left: h("span"), status: h("span", { class: "status" }), fill: h("i") };
        node.element = member.route
          ? h("div", { class: "node" }, node.name, h("small", {}, node.left))
          : h("a", { class: "node", href: `#${member.key}` }, node.name, h("small", {}, node.left, node.status), h("div", { class: "bar", "aria-hidden": "true" }, node.fill));
        column.append(node.element);
        nodes.set(member.key, node);
      }
      if (hidden || (isUnfolded && members.length > COLUMN)) {
        const text = hidden ? foldedText(hidden) : "Show fewer";
        column.append(h("button", { type: "button", class: "fold", text, on: { click: () => { isUnfolded = !isUnfolded; render(); } } }));
      }
      flow.append(column);
    }
  }

  // What the flow shows, by column.
  function columnsOf(list) {
    const routes = state.routes.map((route, index) => ({ key: `r${index}`, name: route.name, route }));
    return COLUMNS.map(([title, belongs]) => {
      const all = title === "Routes" ? routes : list.filter(belongs);
      const members = title === "Routes" ? routes : fold(all);
      return { title, members, hidden: all.length - members.length };
    }).filter((column) => column.members.length);
  }

  function updateFlow(list) {
    const columns = columnsOf(list);
    const shape = JSON.stringify(columns.map(({ members, hidden }) => [hidden > 0, members.map((member) => [member.key, member.name])]));
    if (shape !== flowShape) {
      flowShape = shape;
      const focused = document.activeElement && document.activeElement.getAttribute("href");
      makeFlow(columns);
      drawn = new Set(columns.flatMap((column) => column.members.map((member) => member.key)));
      const again = focused && byId("flow").querySelector(`a[href="${CSS.escape(focused)}"]`);
      if (again) again.focus();
    }
    const buttons = byId("flow").querySelectorAll(".fold");
    columns.filter((column) => column.hidden).forEach((column, index) => setText(buttons[index], foldedText(column.hidden)));
    byId("flow-section").hidden = list.length === 0;
    for (const group of list) {
      const node = nodes.get(group.key);
      if (!node) continue;
      const [icon, word] = STATUS[group.status] || STATUS.idle;
      node.element.className = `node is-${group.status}`;
      const { limit } = group.main;
      const parts = group.limits ? group.limits.parts.filter((part) => part.limit) : [];
      const own = limit ? `${count(limit.in_flight)} of ${count(limit.limit)}` : parts.length ? `${count(sum(parts, (part) => part.limit.in_flight))} of ${count(sum(parts, (part) => part.limit.limit))}` : `${count(group.main.per_second.admitted)}/s`;
      setText(node.left, own);
      setText(node.status, `${icon} ${group.word || word}`);
      node.fill.style.width = `${Math.round(group.pressure * 100)}%`;
    }
    state.routes.forEach((route, index) => {
      const node = nodes.get(`r${index}`);
      const ofId = (id) => list.find((group) => group.policies.some((policy) => policy.id === id));
      const passed = [...new Set(route.policies.map(ofId).filter(Boolean))];
      if (node) setText(node.left, passed.length ? `through ${passed.map((group) => group.name).join(", ")}` : "no policy of these names");
    });
    drawEdges(list);
  }

  function drawEdges(list) {
    const flow = byId("flow");
    const edges = flow.querySelector("svg.edges");
    if (!edges || document.hidden) return;
    const box = flow.getBoundingClientRect();
    const groupOf = (id) => list.find((group) => group.policies.some((policy) => policy.id === id));
    const lines = new Map();
    // What was seen on requests: the layers around each.
    for (const group of list) {
      for (const id of group.policies.flatMap((policy) => policy.around)) {
        const outer = groupOf(id);
        if (outer && outer.key !== group.key) lines.set(`${outer.key} ${group.key}`, group.status);
      }
    }
    state.routes.forEach((route, index) => {
      let from = `r${index}`;
      for (const id of route.policies) {
        const group = groupOf(id);
        if (!group || group.key === from) continue;
        lines.set(`${from} ${group.key}`, group.status);
        from = group.key;
      }
    });
    edges.setAttribute("width", flow.scrollWidth);
    const paths = [];
    for (const [pair, status] of lines) {
      const [from, to] = pair.split(" ").map((key) => nodes.get(key) && nodes.get(key).element.getBoundingClientRect());
      if (!from || !to) continue;
      const [x1, y1, x2, y2] = [from.right - box.left + flow.scrollLeft, from.top + from.height / 2 - box.top, to.left - box.left + flow.scrollLeft, to.top + to.height / 2 - box.top];
      const middle = (x1 + x2) / 2;
      paths.push(s("path", { class: `is-${status}`, d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }));
    }
    edges.replaceChildren(...paths);
  }

  function summary(list) {
    const servers = list.filter((group) => !group.isClient);
    // A request passes several policies: what the outermost one lets through may be rejected further in.
    const known = new Set(servers.flatMap((group) => group.policies.map((policy) => policy.id)));
    const isInside = (group) => group.policies.some((policy) => policy.around.some((id) => known.has(id)));
    const entered = sum(servers.filter((group) => !isInside(group)), (group) => group.main.per_second.admitted);
    const admitted = Math.max(0, entered - sum(servers.filter(isInside), (group) => group.main.per_second.rejected));
    const rejected = sum(servers, (group) => group.main.per_second.rejected);
    const by = (status) => servers.filter((group) => group.status === status).map((group) => group.name);
    const names = (list) => (list.length > 2 ? `${list.length} policies` : list.join(" and "));
    const held = ["stopped", "draining", "paused"].find((status) => by(status).length);
    let text;
    if (held) text = `${names(by(held))}: ${STATUS[held][1]}.`;
    else if (by("rejecting").length && rejected > 0) text = `${names(by("rejecting"))} ${by("rejecting").length > 1 ? "reject" : "rejects"} ${count(rejected)} requests a second, and ${count(admitted)} are served.`;
    else if (by("rejecting").length) text = `${names(by("rejecting"))} would reject requests; a dry run lets them through.`;
    else if (by("queueing").length) text = `${count(admitted)} requests a second are served. Some wait in the queue of ${names(by("queueing"))}.`;
    else if (admitted > 0) text = `All calm: ${count(admitted)} requests a second are served, and none is rejected.`;
    else text = "All calm: no requests at present.";
    setText(byId("headline"), text);
    const cut = list.filter((group) => group.cut).map((group) => group.name);
    const worst = [...list].sort((a, b) => b.pressure - a.pressure)[0];
    const parts = [];
    if (worst && worst.pressure > 0) parts.push(`Nearest to its limit: ${worst.name}, ${percent(worst.pressure)}.`);
    if (cut.length) parts.push(`Requests to ${names(cut)} are held back.`);
    setText(byId("subline"), parts.join(" "));
  }

  const cards = new Map();
  const sight = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards.get(entry.target.id);
      if (!card) continue;
      card.isVisible = entry.isIntersecting;
      card.draw();
    }
  }, { rootMargin: "300px" });

  function render() {
    const list = groups(state.policies);
    document.title = state.title;
    setText(byId("title"), state.title);
    byId("empty").hidden = list.length > 0;
    byId("reload").hidden = !state.actions.includes("reload");
    setText(byId("hidden-policies"), state.hidden_policies ? `${count(state.hidden_policies)} more policies with fewer requests are not shown.` : "");
    summary(list);
    updateFlow(list);
    const container = byId("cards");
    const known = new Set(list.map((group) => group.key));
    for (const [key, card] of cards) if (!known.has(key)) { card.element.remove(); cards.delete(key); }
    list.forEach((group, index) => {
      let card = cards.get(group.key);
      if (card && card.hasLimit(group) !== card.limited) { sight.unobserve(card.element); card.element.remove(); card = undefined; }
      if (!card) {
        card = new Card(group);
        card.limited = card.hasLimit(group);
        cards.set(group.key, card);
        sight.observe(card.element);
        card.more.addEventListener("toggle", () => { if (card.more.open) card.updateMore(card.group); });
      }
      if (container.children[index] !== card.element) container.insertBefore(card.element, container.children[index] || null);
      card.update(group);
    });
    byId("journal-section").hidden = state.events.length === 0;
    const items = state.events.map((event) => h("li", {}, h("time", { text: ago(event.age_s) }), h("b", { text: event.policy, dir: "auto" }), h("span", { text: event.text })));
    byId("journal").replaceChildren(...items);
    const mode = state.actions.length ? "Actions are recorded." : "Read-only.";
    setText(byId("footer-text"), ` · ${state.clients.now} of at most ${state.clients.max} pages open. ${mode} Running for ${ago(state.running_s).replace(" ago", "").replace("just now", "0 s")}.`);
  }

  function append() {
    for (const policy of state.policies) {
      const id = String(policy.id);
      if (!history.has(id)) history.set(id, {});
      const series = history.get(id);
      const { limit } = policy;
      const limits = policy.parts.filter((part) => part.limit).map((part) => part.limit);
      const read = (field) => (limit ? limit[field] : limits.length ? sum(limits, (it) => it[field]) : null);
      const values = {
        limit: read("limit"), in_flight: read("in_flight"), queued: read("queued"),
        admitted: policy.per_second.admitted, rejected: policy.per_second.rejected,
        p50_ms: policy.response_ms ? policy.response_ms.p50 : null, p99_ms: policy.response_ms ? policy.response_ms.p99 : null,
        wait_p99_ms: policy.wait_ms ? policy.wait_ms.p99 : null, pressure: policy.pressure, retried: policy.retries ? policy.retries.retried_per_second : null,
      };
      for (const [field, value] of Object.entries(values)) {
        const list = series[field] || (series[field] = []);
        list.push(value);
        if (list.length > SAMPLES) list.shift();
      }
    }
    for (const id of history.keys()) if (!state.policies.some((policy) => String(policy.id) === id)) history.delete(id);
  }

  async function loadHistory() {
    const response = await fetch(`${base}/history.json`, { signal: AbortSignal.timeout(STALE_AFTER_MS) });
    const loaded = await response.json();
    history = new Map(Object.entries(loaded.policies));
    sequence = loaded.sequence;
  }

  async function receive(next) {
    const isNext = next.sequence === sequence + 1;
    state = next;
    lastNews = performance.now();
    if (next.sequence !== sequence) {
      if (isNext) { sequence = next.sequence; append(); } else await loadHistory().catch(() => {});
    }
    byId("banner").hidden = true;
    render();
    checkLive();
  }

  function checkLive() {
    if (document.hidden) return;
    const silence = performance.now() - Math.max(lastNews, shown);
    const isStale = lastNews === 0 || silence > STALE_AFTER_MS;
    document.body.classList.toggle("is-stale", isStale && lastNews > 0);
    setText(byId("live-text"), lastNews === 0 ? "Connecting" : isStale ? "Not connected" : "Live");
    setText(byId("live-age"), lastNews === 0 ? "" : isStale ? `· ${ago(Math.floor(silence / 1000))}` : "· each second");
    if (isStale && lastNews > 0) banner("The service does not answer. What you see is what it last said.");
    if (isStale && performance.now() - Math.max(lastNews, opened) > RECONNECT_AFTER_MS) connect();
  }

  function banner(text) {
    const element = byId("banner");
    setText(element, text);
    element.hidden = false;
  }

  let events = null;
  let opened = 0;
  let shown = 0;
  let waiting = Promise.resolve();

  function connect() {
    if (events) events.close();
    opened = performance.now();
    events = new EventSource(`${base}/events`);
    events.onmessage = (event) => {
      waiting = waiting.then(() => receive(JSON.parse(event.data))).catch((error) => console.error(error));
    };
    events.onerror = (event) => {
      // The stream ends now and then, and the browser connects again. A refusal ends it for good, until checkLive tries again.
      if (event.target.readyState === EventSource.CLOSED) banner("This page gets no data at present: too many pages are open, or the service starts. It tries again.");
    };
  }

  const THEMES = ["system", "light", "dark"];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let theme = "system";
  try { theme = localStorage.getItem("backpressure-theme") || theme; } catch { /* A browser may forbid it. */ }
  function applyTheme() {
    document.documentElement.dataset.theme = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
    setText(byId("theme"), `Theme: ${theme}`);
  }
  byId("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    try { localStorage.setItem("backpressure-theme", theme); } catch { /* It lasts until the page is left. */ }
    applyTheme();
  });
  dark.addEventListener("change", applyTheme);
  applyTheme();
  byId("json").href = `${base}/state.json`;
  byId("reload").addEventListener("click", () => ask("Reload the policies?", "They are read again from where they come from.", "Reload", { action: "reload" }));
  addEventListener("resize", () => state && drawEdges(groups(state.policies)));
  // A page that is not seen has no stream: over HTTP/1.1 a browser opens six connections to one host, in all of its pages.
  function seen() {
    if (document.hidden) return events && events.close();
    shown = performance.now();
    connect();
    if (state) render();
  }
  document.addEventListener("visibilitychange", seen);
  setInterval(checkLive, 500);
  seen();
})();
