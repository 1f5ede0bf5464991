// The flame graphs: one dimension at a time, of a stretch of time, zoomed, searched, compared with another stretch.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("profiles-data").textContent);
  const app = document.getElementById("flame-app");
  const id = (name) => document.getElementById(name);
  const last = data.buckets.length - 1;
  // Narrower boxes, as a share of the view, are not drawn; nor are more boxes than this.
  const MIN_SHARE = 0.001, MAX_BOXES = 3000, ROW = 20;
  const state = { tree: 0, zoom: 0, shown: [0, last], base: [0, 0], compare: false, search: "", focus: 0 };

  // Texts.
  const three = (value) => (value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0));
  const scaled = (value, units, step) => {
    let unit = 0;
    while (value >= step && unit < units.length - 1) { value /= step; unit += 1; }
    return (unit === 0 ? String(Math.round(value)) : three(value)) + "\u00a0" + units[unit];
  };
  const amount = (tree, value) => tree.unit === "B"
    ? scaled(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024)
    : value < 6e10 ? scaled(value, ["ns", "µs", "ms", "s"], 1000) : three(value / 6e10) + "\u00a0min";
  const percent = (share) => three(100 * share) + "\u00a0%";
  const clock = (ms) => new Date(ms).toISOString().slice(11, 19);
  const range = ([from, to]) => clock(data.buckets[from].at_ms) + "–" + clock(data.buckets[to].at_ms + data.bucket_ms);
  const covered = ([from, to]) => {
    let sum = 0;
    for (let at = from; at <= to; at += 1) sum += data.buckets[at].covered_ms;
    return sum;
  };
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // Values of a stretch of time: own and with all that was called, by node.
  const sums = (tree, [from, to]) => {
    const total = new Float64Array(tree.parent.length), own = new Float64Array(tree.parent.length);
    for (let node = 0; node < tree.own.length; node += 1) {
      const values = tree.own[node];
      for (let at = 0; at < values.length; at += 2) {
        if (values[at] >= from && values[at] <= to) own[node] += values[at + 1];
      }
      total[node] = own[node];
    }
    for (let node = tree.parent.length - 1; node > 0; node -= 1) total[tree.parent[node]] += total[node];
    return { total, own };
  };
  // Children in an order that stays whatever stretch is shown: largest over all time first.
  for (const tree of data.trees) {
    const whole = sums(tree, [0, last]).total;
    tree.children = tree.parent.map(() => []);
    tree.depth = tree.parent.map(() => 0);
    for (let node = 1; node < tree.parent.length; node += 1) {
      tree.children[tree.parent[node]].push(node);
      tree.depth[node] = tree.depth[tree.parent[node]] + 1;
    }
    for (const children of tree.children) children.sort((a, b) => whole[b] - whole[a] || a - b);
    tree.lower = tree.names.map((name) => name.toLowerCase());
    tree.perBucket = data.buckets.map((_, at) => sums(tree, [at, at]).total[0]);
  }
  const nameOf = (tree, node) => (node === 0 ? "all" : tree.names[tree.name[node]]);
  const shade = (name) => {
    let sum = 0;
    for (let at = 0; at < name.length; at += 1) sum = (Math.imul(sum, 31) + name.charCodeAt(at)) >>> 0;
    return "f" + (sum % 4);
  };
  // How much more (or less) per second than in the base, in steps: -3 is a third or less, 0 within a tenth.
  const STEPS = ["a third or less", "about half", "a little less", "about the same", "a little more", "about double",
    "three times or more"];
  const change = (now, before) => {
    if (before <= 0) return now > 0 ? 3 : 0;
    if (now <= 0) return -3;
    const log = Math.log2(now / before), size = Math.abs(log);
    return Math.sign(log) * (size < Math.log2(1.1) ? 0 : size < Math.log2(1.5) ? 1 : size < Math.log2(3) ? 2 : 3);
  };

  let boxes = [], current = null;
  const compute = () => {
    const tree = data.trees[state.tree];
    const shown = sums(tree, state.shown), base = state.compare ? sums(tree, state.base) : null;
    const seconds = Math.max(covered(state.shown), 1) / 1000, baseSeconds = Math.max(covered(state.base), 1) / 1000;
    current = { tree, shown, base, seconds, baseSeconds };
  };

  const describe = (node) => {
    const { tree, shown, base, seconds, baseSeconds } = current;
    const all = shown.total[0] || 1, value = shown.total[node];
    const parts = [nameOf(tree, node), amount(tree, value), percent(value / all) + " of all"];
    if (node !== state.zoom && state.zoom !== 0) parts.push(percent(value / (shown.total[state.zoom] || 1)) + " of the view");
    if (node !== 0 && shown.own[node] > 0) parts.push(amount(tree, shown.own[node]) + " itself");
    if (tree.slug === "cpu") parts.push(percent(value / 1e9 / seconds) + " of one CPU");
    else parts.push(amount(tree, value / seconds) + " per second");
    if (base) {
      const before = base.total[node] / baseSeconds, now = value / seconds;
      parts.push(before > 0 ? `${three(now / before)} times the base (${amount(tree, before)} per second)` : "not in the base");
    }
    return parts.join(" · ");
  };

  const draw = () => {
    const { tree, shown, base, seconds, baseSeconds } = current;
    const flame = id("flame"), fragment = document.createDocumentFragment();
    const hadFocus = flame.contains(document.activeElement);
    const query = state.search.toLowerCase();
    const hits = query ? tree.lower.map((name) => name.includes(query)) : null;
    boxes = [];
    let deepest = 0, narrow = 0;
    const put = (node, row, left, width, passed) => {
      const name = nameOf(tree, node), box = document.createElement("div");
      box.textContent = name;
      box.className = node === 0 ? "t" : base
        ? "d" + (change(shown.total[node] / seconds, base.total[node] / baseSeconds) + 3)
        : tree.depth[node] === 1 ? "t" : shade(name);
      if (hits && node !== 0) box.classList.add(hits[tree.name[node]] ? "hit" : "miss");
      if (passed) box.classList.add("passed");
      box.style.cssText = `left:${100 * left}%;width:${100 * width}%;top:${ROW * row}px`;
      box.setAttribute("role", "treeitem");
      box.setAttribute("aria-level", String(tree.depth[node] + 1));
      box.setAttribute("aria-label", describe(node));
      box.title = describe(node);
      box.tabIndex = -1;
      box.dataset.node = String(node);
      boxes.push({ node, row, left, box });
      fragment.append(box);
      deepest = Math.max(deepest, row);
    };
    const path = [];
    for (let node = state.zoom; node !== 0; node = tree.parent[node]) path.unshift(node);
    path.unshift(0);
    path.forEach((node, row) => put(node, row, 0, 1, row < path.length - 1));
    const whole = shown.total[state.zoom];
    const below = (node, row, left) => {
      for (const child of tree.children[node]) {
        const width = whole > 0 ? shown.total[child] / whole : 0;
        if (width === 0) continue;
        if (width < MIN_SHARE || boxes.length >= MAX_BOXES) narrow += 1;
        else { put(child, row, left, width, false); below(child, row + 1, left); }
        left += width;
      }
    };
    below(state.zoom, path.length, 0);
    flame.replaceChildren(fragment);
    flame.style.height = `${ROW * (deepest + 1)}px`;
    const start = boxes.find((it) => it.node === state.focus) || boxes[path.length - 1];
    start.box.tabIndex = 0;
    state.focus = start.node;
    if (hadFocus) start.box.focus({ preventScroll: true });

    const notes = [];
    if (shown.total[0] === 0) notes.push("Nothing was measured in this stretch of time.");
    if (narrow > 0) notes.push(`${narrow} places narrower than ${percent(MIN_SHARE)} of the view are not drawn.`);
    if (base) {
      const gone = [];
      for (let node = 1; node < tree.parent.length; node += 1) {
        if (base.total[node] > 0 && shown.total[node] === 0 && shown.total[tree.parent[node]] > 0) gone.push(node);
      }
      gone.sort((a, b) => base.total[b] - base.total[a]);
      if (gone.length > 0) {
        const names = gone.slice(0, 5).map((node) => `${nameOf(tree, node)} (${amount(tree, base.total[node] / baseSeconds)} per second)`);
        notes.push(`Only in the base, so without a box: ${names.join(", ")}${gone.length > 5 ? `, and ${gone.length - 5} more` : ""}.`);
      }
    }
    id("flame-notes").textContent = notes.join(" ");
    id("flame-legend").hidden = !base;
    id("flame-reset").disabled = state.zoom === 0;
    if (hits) {
      // Of nested hits the outermost counts.
      const within = new Uint8Array(tree.parent.length);
      let matched = 0;
      for (let node = 1; node < tree.parent.length; node += 1) {
        within[node] = within[tree.parent[node]] || hits[tree.name[node]] ? 1 : 0;
        if (within[node] && !within[tree.parent[node]]) matched += shown.total[node];
      }
      id("flame-matched").textContent = `${percent(matched / (shown.total[0] || 1))} of all matches`;
    } else id("flame-matched").textContent = "";
    tell(state.focus);
  };

  const tell = (node) => { id("flame-detail").textContent = describe(node); };
  const zoom = (node) => { state.zoom = node; state.focus = node; draw(); };

  const strip = () => {
    const tree = data.trees[state.tree], most = Math.max(...tree.perBucket, 1);
    id("flame-strip").replaceChildren(...tree.perBucket.map((value, at) => {
      const bar = make("i", {});
      bar.style.height = `${Math.max(value > 0 ? 4 : 0, (100 * value) / most)}%`;
      const inside = ([from, to]) => at >= from && at <= to;
      const cell = make("span", { title: `${clock(data.buckets[at].at_ms)}: ${amount(tree, value)}` }, bar);
      if (inside(state.shown)) cell.classList.add("in-shown");
      if (state.compare && inside(state.base)) cell.classList.add("in-base");
      return cell;
    }));
    id("flame-scale").textContent = `highest bar: ${amount(tree, most)} in ${three(data.bucket_ms / 1000)}\u00a0s`;
  };

  const update = () => {
    for (const [at, tab] of tabs.entries()) {
      tab.setAttribute("aria-selected", String(at === state.tree));
      tab.tabIndex = at === state.tree ? 0 : -1;
    }
    for (const [key, name] of [["shown", "shown"], ["base", "base"]]) {
      id(`flame-${name}-text`).textContent = range(state[key]);
      id(`flame-${name}-from`).value = String(state[key][0]);
      id(`flame-${name}-to`).value = String(state[key][1]);
      for (const end of [0, 1]) {
        const slider = id(`flame-${name}-${end === 0 ? "from" : "to"}`), bucket = data.buckets[state[key][end]];
        slider.setAttribute("aria-valuetext", clock(bucket.at_ms + (end === 0 ? 0 : data.bucket_ms)));
      }
    }
    id("flame-base").hidden = !state.compare;
    compute();
    const { tree, shown, seconds } = current;
    id("flame-what").textContent = `${amount(tree, shown.total[0])} of ${tree.what} in ${three(seconds)}\u00a0s of windows. `
      + "Threads on top, what they called below; a wider box took more.";
    strip();
    draw();
  };

  // Controls.
  const tabs = data.trees.map((tree, at) => make("button", {
    type: "button", textContent: tree.title, id: `tab-${tree.slug}`,
    onclick: () => { Object.assign(state, { tree: at, zoom: 0, focus: 0 }); update(); },
  }));
  tabs.forEach((tab) => { tab.setAttribute("role", "tab"); tab.setAttribute("aria-controls", "flame-panel"); });
  id("flame-tabs").append(...tabs);
  id("flame-tabs").onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(state.tree + step + tabs.length) % tabs.length];
    next.click();
    next.focus();
    event.preventDefault();
  };
  for (const key of ["shown", "base"]) {
    for (const [end, name] of [[0, "from"], [1, "to"]]) {
      const slider = id(`flame-${key}-${name}`);
      slider.max = String(last);
      slider.oninput = () => {
        state[key][end] = Number(slider.value);
        // The other end gives way.
        if (state[key][0] > state[key][1]) state[key][1 - end] = state[key][end];
        update();
      };
    }
  }
  id("flame-times").hidden = last === 0;
  id("flame-compare").onchange = (event) => {
    state.compare = event.target.checked;
    if (state.compare && state.shown[0] === 0 && state.shown[1] === last) {
      // A first proposal: the later half against the earlier one.
      const middle = Math.floor(last / 2);
      state.base = [0, middle];
      state.shown = [Math.min(middle + 1, last), last];
    }
    update();
  };
  STEPS.forEach((text, step) => id("flame-legend").append(make("span", {}, make("i", { className: `d${step}` }), text)));
  id("flame-search").oninput = (event) => { state.search = event.target.value.trim(); draw(); };
  id("flame-reset").onclick = () => zoom(0);

  // The graph: mouse and keys.
  const flame = id("flame");
  const nodeOf = (event) => {
    const box = event.target.closest("[data-node]");
    return box ? Number(box.dataset.node) : null;
  };
  flame.onclick = (event) => { const node = nodeOf(event); if (node !== null) zoom(node); };
  flame.onmouseover = (event) => { const node = nodeOf(event); if (node !== null) tell(node); };
  flame.onmouseleave = () => tell(state.focus);
  flame.addEventListener("focusin", (event) => {
    const node = nodeOf(event);
    if (node !== null) { state.focus = node; tell(node); }
  });
  flame.onkeydown = (event) => {
    const at = boxes.findIndex((it) => it.node === state.focus);
    if (at < 0) return;
    const row = boxes[at].row, sameRow = boxes.filter((it) => it.row === row).sort((a, b) => a.left - b.left);
    const place = sameRow.indexOf(boxes[at]);
    const child = boxes.find((it) => it.row === row + 1 && it.left >= boxes[at].left - 1e-9);
    const parent = boxes.find((it) => it.node === current.tree.parent[state.focus]);
    const target = {
      ArrowLeft: sameRow[place - 1], ArrowRight: sameRow[place + 1], ArrowUp: parent,
      ArrowDown: child && (current.tree.parent[child.node] === state.focus) ? child : undefined,
      Home: boxes[0],
    }[event.key];
    if (target) {
      boxes[at].box.tabIndex = -1;
      target.box.tabIndex = 0;
      target.box.focus();
    } else if (event.key === "Enter" || event.key === " ") zoom(state.focus);
    else if (event.key === "Escape") zoom(0);
    else if (event.key === "/") id("flame-search").focus();
    else if (!event.key.startsWith("Arrow")) return;
    event.preventDefault();
  };
  id("flame-search").onkeydown = (event) => {
    if (event.key !== "Escape") return;
    event.target.value = "";
    state.search = "";
    draw();
  };
  app.hidden = false;
  update();
})();
