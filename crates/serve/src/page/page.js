// The page: the data's path, the views as they move, search, and SQL.
//
// Two things feed it: one event stream with the changes of all views, whose id is the Time, and /v1/status once a second.
// Nothing that comes from data is ever parsed as HTML: el() makes all elements, and text only becomes text nodes.
'use strict';
(() => {
  const ROWS_SHOWN = 12;       // of a view's table
  const HITS_SHOWN = 20;       // of a search
  const ROWS_KEPT = 200;       // of a view, in its order, to have the next when one goes
  const RENDER_MS = 250;       // the shortest time between two drawings of a table: calm, not nervous
  const GONE_MS = 650;         // how long a removed row stays, struck out
  const STATUS_MS = 1000;
  const SEARCH_MS = 120;       // after the last key
  const SPARK_POINTS = 60;
  const HIDDEN_MS = 20000;     // a hidden page gives its connection back after this

  const byId = (id) => document.getElementById(id);
  const still = matchMedia('(prefers-reduced-motion: reduce)');
    const svgNames = new Set(['svg', 'path', 'polyline', 'polygon']);

  function el(name, attributes = {}, ...children) {
    const element = svgNames.has(name)
      ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? '' : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  // Numbers that a double would round stay text, with every digit, where the browser gives us their source.
  function parse(text) {
    return JSON.parse(text, (key, value, context) =>
      typeof value === 'number' && context?.source !== undefined && String(value) !== context.source
        ? context.source : value);
  }

  const grouped = new Intl.NumberFormat('en');
  const count = (number) => grouped.format(number);
  const rows = (number) => `${count(number)} ${Number(number) === 1 ? 'row' : 'rows'}`;
  function rate(perSecond) {
    if (perSecond < 0.05) return '';
    return perSecond < 10 ? `${perSecond.toFixed(1)}/s` : `${count(Math.round(perSecond))}/s`;
  }
  function duration(ms) {
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    if (ms < 3600000) return `${Math.floor(ms / 60000)} min ${Math.round(ms % 60000 / 1000)} s`;
    return `${Math.floor(ms / 3600000)} h ${Math.floor(ms % 3600000 / 60000)} min`;
  }
  function size(bytes) {
    const units = ['B', 'kB', 'MB', 'GB', 'TB'];
    let at = 0;
    for (; bytes >= 1000 && at < units.length - 1; at += 1) bytes /= 1000;
    return `${at === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${units[at]}`;
  }

  // ---- Tables ---------------------------------------------------------------------------------------------------

  const isNumber = (type) => /^(smallint|integer|bigint|real|double precision|numeric|decimal|int|float)/.test(type);

  // What a cell shows: shorter than the value where nothing is lost on the eye; the value itself is in the title.
  function shown(value, type) {
    if (value === null || value === undefined) return 'null';
    if (typeof value === 'object') return JSON.stringify(value);
    const text = String(value);
    if (/^(real|double|float)/.test(type) && /\.\d{5,}/.test(text)) return Number(text).toFixed(4);
    if (/^(numeric|decimal)/.test(type)) return text.replace(/(\.\d\d\d*?)0+$/, '$1');
    if (type.startsWith('timestamp')) return text.replace('T', ' ').replace(/(:\d\d)\.\d+/, '$1').replace(/(Z|\+00(:00)?)$/, '');
    return text;
  }

  function cell(value, column, wide, words) {
    const text = shown(value, column.type);
    const kinds = [(value ?? null) === null && 'null', isNumber(column.type) && 'number', column === wide && 'wide'];
    const td = el('td', { class: kinds.filter(Boolean).join(' ') || null });
    td.append(...(words?.length && !isNumber(column.type) ? marked(text, words) : [text]));
    if (text.length > 32 || (value !== null && text !== String(value))) td.title = typeof value === 'object' ? text : String(value);
    return td;
  }

  // The column with the longest texts, which takes the room that the others leave.
  function widest(columns, list) {
    const length = (column) => list.slice(0, ROWS_SHOWN)
      .reduce((most, row) => Math.max(most, shown(row[column.name], column.type).length), 0);
    const texts = columns.filter((column) => !isNumber(column.type) && !/^(time|date|uuid|bool)/.test(column.type));
    const [longest] = texts.map((column) => ({ column, length: length(column) })).sort((a, b) => b.length - a.length);
    return longest?.length > 14 ? longest.column : null;
  }

  function head(columns, wide) {
    const cells = columns.map((column) => el('th', { scope: 'col', title: column.type,
      class: isNumber(column.type) ? 'number' : column === wide && 'wide' }, column.name.replaceAll('_', ' ')));
    return el('thead', {}, el('tr', {}, ...cells));
  }

  function plainTable(columns, list, words) {
    const wide = widest(columns, list);
    const body = list.map((row) => el('tr', {}, ...columns.map((column) => cell(row[column.name], column, wide, words))));
    return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Rows' },
      el('table', {}, head(columns, wide), el('tbody', {}, ...body)));
  }

  function compareValues(a, b, type) {
    if (isNumber(type)) {
      const difference = Number(a) - Number(b);
      if (!Number.isNaN(difference)) return difference;
    }
    if (typeof a === 'object') [a, b] = [JSON.stringify(a), JSON.stringify(b)];
    return a < b ? -1 : a > b ? 1 : 0;
  }

  function blink(element, colour) {
    if (still.matches || document.hidden) return;
    const from = getComputedStyle(document.documentElement).getPropertyValue(colour);
    element.animate([{ backgroundColor: from }, { backgroundColor: 'transparent' }], { duration: 1100, easing: 'ease-out' });
  }

  // ---- A view: rows that follow the stream, and the card that shows the first of them ------------------------------

  class View {
    constructor(info) {
      this.name = info.name;
      this.columns = info.columns;
      this.key = info.key;
      const types = new Map(info.columns.map((column) => [column.name, column.type]));
      const rest = [...info.key, ...info.columns.map((column) => column.name)]
        .map((column) => ({ column, descending: false, nulls_first: false }));
      this.order = [...info.order, ...rest].map((by) => ({ ...by, type: types.get(by.column) }));
      this.kept = new Map();      // id → {row, count}
      this.gone = new Map();      // id → {row, until}
      this.drawn = new Map();     // id → <tr>
      this.edge = null;           // rows behind this one are not kept
      this.total = 0;
      this.changed = 0;           // changes seen since the page was opened
      this.fresh = true;          // the next drawing shows a snapshot: nothing flashes
      this.build();
    }

    build() {
      this.badge = el('span', { class: 'badge' });
      this.body = el('tbody');
      this.more = el('span');
      const path = `/v1/views/${encodeURIComponent(this.name)}`;
      const copy = el('button', { class: 'plain', type: 'button', title: 'Copy a command that follows this view',
        onclick: () => copyText(`curl -N ${location.origin}${path}/changes`, copy) }, 'Copy curl');
      this.card = el('article', { class: 'card', 'aria-label': `View ${this.name}` },
        el('div', { class: 'card-head' }, el('h2', {}, this.name), this.badge),
        el('div', { class: 'scroll' }, this.table = el('table', {}, head(this.columns, null), this.body)),
        el('div', { class: 'card-foot' }, this.more, el('a', { href: path }, 'JSON'), copy));
    }

    id(row) {
      return JSON.stringify(this.key.length ? this.key.map((name) => row[name]) : this.columns.map((c) => row[c.name]));
    }

    compare(a, b) {
      for (const by of this.order) {
        const [x, y] = [a[by.column], b[by.column]];
        if (x === null || y === null) {
          if (x === y) continue;
          return (x === null) === by.nulls_first ? -1 : 1;
        }
        const sign = compareValues(x, y, by.type);
        if (sign !== 0) return by.descending ? -sign : sign;
      }
      return 0;
    }

    reset(snapshot) {
      this.kept.clear();
      this.gone.clear();
      this.total = snapshot.row_count;
      for (const row of snapshot.rows) this.add(row, 1);
      this.edge = snapshot.truncated ? snapshot.rows.at(-1) ?? null : null;
      this.fresh = true;
      this.wide = widest(this.columns, snapshot.rows);
      this.table.firstChild.replaceWith(head(this.columns, this.wide));
      this.body.replaceChildren();
      this.drawn.clear();
    }

    add(row, diff) {
      const id = this.id(row);
      const held = this.kept.get(id);
      const total = (held?.count ?? 0) + diff;
      if (total > 0) this.kept.set(id, { row, count: total });
      else this.kept.delete(id);
    }

    change(list) {
      this.changed += list.length;
      for (const row of list) this.total += Number(row._diff);
      const within = list.filter((row) => this.edge === null || this.compare(row, this.edge) <= 0);
      for (const row of within) {
        const diff = Number(row._diff);
        if (diff >= 0) continue;
        const held = this.kept.get(this.id(row));
        if (!held) continue;
        this.gone.set(this.id(row), { row: held.row, until: performance.now() + GONE_MS });
        this.add(row, diff);
      }
      for (const row of within) {
        const diff = Number(row._diff);
        if (diff <= 0) continue;
        const { _diff, ...plain } = row;
        this.gone.delete(this.id(plain));
        this.add(plain, diff);
      }
      if (this.kept.size > 2 * ROWS_KEPT) this.cut();
      return this.edge !== null && this.kept.size < Math.min(ROWS_SHOWN, this.total);
    }

    cut() {
      const sorted = [...this.kept].sort(([, a], [, b]) => this.compare(a.row, b.row));
      this.kept = new Map(sorted.slice(0, ROWS_KEPT));
      this.edge = sorted[ROWS_KEPT - 1][1].row;
    }

    // The rows to draw, in order: the first of those that are there, and among them those that have just gone.
    visible() {
      const now = performance.now();
      const list = [];
      for (const [id, held] of this.kept)
        for (let copy = 0; copy < Math.min(held.count, ROWS_SHOWN); copy += 1) list.push({ id: `${id}#${copy}`, row: held.row });
      list.sort((a, b) => this.compare(a.row, b.row));
      list.length = Math.min(list.length, ROWS_SHOWN);
      const last = list.at(-1);
      let leaving = false;
      for (const [id, ghost] of this.gone) {
        if (ghost.until <= now || !this.drawn.has(`${id}#0`)) { this.gone.delete(id); continue; }
        if (this.kept.has(id) || (last && this.compare(ghost.row, last.row) > 0)) continue;
        list.push({ id: `${id}#0`, row: ghost.row, gone: true });
        leaving = true;
      }
      return [list.sort((a, b) => this.compare(a.row, b.row)), leaving];
    }

    draw(time) {
      const [list, leaving] = this.visible();
      const calm = this.fresh || still.matches || document.hidden;
      const tops = new Map();
      if (!calm) for (const [id, tr] of this.drawn) tops.set(id, tr.offsetTop);
      const drawn = new Map();
      for (const [at, { id, row, gone }] of list.entries()) {
        const before = this.drawn.get(id);
        const tr = before ?? this.newRow(row);
        if (before) this.update(tr, row, calm);
        else if (!calm) for (const td of tr.children) blink(td, '--up');
        if (gone && !tr.classList.contains('gone') && !calm) for (const td of tr.children) blink(td, '--down');
        tr.classList.toggle('gone', gone === true);
        if (this.body.children[at] !== tr) this.body.insertBefore(tr, this.body.children[at] ?? null);
        drawn.set(id, tr);
      }
      for (const [id, tr] of this.drawn) if (!drawn.has(id)) tr.remove();
      this.drawn = drawn;
      if (!calm) this.slide(tops);
      this.fresh = false;
      const here = list.filter((entry) => !entry.gone).length;
      this.badge.textContent = `${rows(this.total)} at Time ${count(time)}`;
      this.more.textContent = this.total > here ? `${count(this.total - here)} more` : this.total === 0 ? 'No rows yet' : '';
      return leaving;
    }

    newRow(row) {
      const tr = el('tr', {}, ...this.columns.map((column) => cell(row[column.name], column, this.wide)));
      tr.row = row;
      return tr;
    }

    // Rows that moved slide from where they were.
    slide(tops) {
      for (const [id, tr] of this.drawn) {
        const moved = (tops.get(id) ?? tr.offsetTop) - tr.offsetTop;
        if (moved !== 0) tr.animate([{ transform: `translateY(${moved}px)` }, { transform: 'none' }], { duration: 240, easing: 'ease-out' });
      }
    }

    update(tr, row, calm) {
      if (tr.row === row) return;
      for (const [at, column] of this.columns.entries()) {
        const [was, is] = [tr.row[column.name], row[column.name]];
        if (was === is || JSON.stringify(was) === JSON.stringify(is)) continue;
        const td = cell(is, column, this.wide);
        tr.children[at].replaceWith(td);
        if (calm) continue;
        if (!isNumber(column.type) || was === null || is === null) blink(td, '--other');
        else blink(td, compareValues(is, was, column.type) > 0 ? '--up' : '--down');
      }
      tr.row = row;
    }
  }

  async function copyText(text, button) {
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'Copied';
    } catch {
      prompt('Copy:', text);
    }
    setTimeout(() => { button.textContent = label; }, 1400);
  }

  // ---- The stream ---------------------------------------------------------------------------------------------------

  let views = new Map();
  let time = 0;
  let drawPending = false;
  let drawnAt = 0;
  let log = '';              // the log's id: a Time of another log means nothing here

  function requestDraw(wait = 0) {
    if (drawPending) return;
    drawPending = true;
    setTimeout(() => requestAnimationFrame(draw), Math.max(wait, drawnAt + RENDER_MS - performance.now()));
  }

  function draw() {
    drawPending = false;
    drawnAt = performance.now();
    byId('time').textContent = count(time);
    let leaving = false;
    for (const view of views.values()) leaving = view.draw(time) || leaving;
    if (leaving) requestDraw(GONE_MS);
  }

  const stream = { source: null, timer: 0, delay: 500, hiddenTimer: 0 };

  function openStream(afresh) {
    closeStream();
    if (views.size === 0) return;
    const after = afresh || time === 0 ? '' : `&after=${time}`;
    const source = new EventSource(`/v1/changes?limit=${ROWS_KEPT}&log=${encodeURIComponent(log)}${after}`);
    stream.source = source;
    source.onopen = () => { stream.delay = 500; say('live', 'Live'); };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) reopenStream();
      else say('waiting', 'Reconnecting…');
    };
    source.addEventListener('snapshot', (event) => {
      time = Number(event.lastEventId);
      for (const [name, snapshot] of Object.entries(parse(event.data))) views.get(name)?.reset(snapshot);
      requestDraw();
    });
    source.addEventListener('changes', (event) => {
      time = Number(event.lastEventId);
      let short = false;
      for (const [name, list] of Object.entries(parse(event.data))) short = views.get(name)?.change(list) || short;
      requestDraw();
      if (short) openStream(true);
    });
  }

  function closeStream() {
    clearTimeout(stream.timer);
    stream.source?.close();
    stream.source = null;
  }

  // The browser retries a broken connection by itself, but gives up when it is answered with an error: then we do.
  function reopenStream() {
    closeStream();
    stream.delay = Math.min(stream.delay * 2, 8000);
    say('waiting', `Reconnecting in ${Math.ceil(stream.delay / 1000)} s`);
    stream.timer = setTimeout(() => openStream(false), stream.delay);
  }

  function say(state, text) {
    const link = byId('link');
    document.body.classList.toggle('stale', state === 'waiting');
    if (link.dataset.state === state && link.lastElementChild.textContent === text) return;
    link.dataset.state = state;
    link.lastElementChild.textContent = text;
  }

  document.addEventListener('visibilitychange', () => {
    clearTimeout(stream.hiddenTimer);
    if (document.hidden) stream.hiddenTimer = setTimeout(closeStream, HIDDEN_MS);
    else if (stream.source === null) openStream(false);
    if (!document.hidden) refresh();
  });

  // ---- The path -----------------------------------------------------------------------------------------------------

  const nodes = new Map();   // 'kind/name' → node
  let edges = [];
  let shape = '';            // of what runs; when it changes, the page is built again

  function buildNode(id, name, dotted) {
    const node = { count: null, at: 0, rate: 0, points: [] };
    node.kind = el('span');
    node.main = el('b');
    node.rateText = el('span', { class: 'rate' });
    node.unit = el('span');
    node.note = el('p', { hidden: true });
    node.bar = el('progress', { max: '1', value: '0', hidden: true });
    node.spark = el('svg', { class: 'spark', viewBox: `0 0 ${SPARK_POINTS - 1} 30`, preserveAspectRatio: 'none', 'aria-hidden': 'true' },
      el('polygon'), el('polyline'));
    node.root = el('div', { class: 'node card' }, node.spark,
      el('div', { class: 'node-head' }, dotted ? el('i', { class: 'dot' }) : null, el('b', { title: name }, name), node.kind),
      el('div', { class: 'figures' }, el('span', { class: 'figure' }, node.main, ' ', node.unit), node.rateText),
      node.note, node.bar);
    nodes.set(id, node);
    return node.root;
  }

  // Takes in a counter's new value: its rate, smoothed, and the line of the last minute.
  function measure(node, value) {
    const now = performance.now();
    if (node.count !== null && now - node.at > 200) {
      const current = Math.max(0, value - node.count) * 1000 / (now - node.at);
      node.rate = node.points.length < 2 ? current : node.rate * 0.6 + current * 0.4;
      node.points.push(node.rate);
      if (node.points.length > SPARK_POINTS) node.points.shift();
    }
    if (node.count === null || now - node.at > 200) Object.assign(node, { count: value, at: now });
    const top = Math.max(...node.points, 1);
    const line = node.points.map((point, at) =>
      `${SPARK_POINTS - node.points.length + at},${(29 - 27 * point / top).toFixed(1)}`);
    node.spark.lastElementChild.setAttribute('points', line.join(' '));
    const [from, to] = [SPARK_POINTS - node.points.length, SPARK_POINTS - 1];
    node.spark.firstElementChild.setAttribute('points', line.length ? `${from},30 ${line.join(' ')} ${to},30` : '');
  }

  function note(node, text) {
    node.note.textContent = text ?? '';
    node.note.title = text ?? '';
    node.note.hidden = !text;
  }

  const column = (title, ...children) => el('div', { class: 'column' }, el('h3', {}, title),
    el('div', { class: 'nodes' }, ...children));

  function buildPath(status) {
    nodes.clear();
    const sources = status.sources.map((source) => buildNode(`source/${source.name}`, source.name, true));
    const log = buildNode('log/', 'Durable log', false);
    const middle = status.views.map((view) => buildNode(`view/${view.name}`, view.name, false));
    const place = (sink) => status.views.findIndex((view) => view.name === sink.view);
    const sinks = [...status.sinks].sort((a, b) => place(a) - place(b)).map((sink) => buildNode(`sink/${sink.name}`, sink.name, true));
    byId('columns').replaceChildren(column('Sources', ...sources), column('Log', log), column('Views', ...middle),
      ...(sinks.length ? [column('Sinks', ...sinks)] : []));
    edges = [
      ...status.sources.map((source) => [`source/${source.name}`, 'log/']),
      ...status.views.map((view) => ['log/', `view/${view.name}`]),
      ...status.sinks.filter((sink) => nodes.has(`view/${sink.view}`)).map((sink) => [`view/${sink.view}`, `sink/${sink.name}`]),
    ].map(([from, to]) => ({ from, to, base: el('path'), flow: el('path', { class: 'flow' }) }));
    byId('edges').replaceChildren(...edges.map((edge) => edge.base), ...edges.map((edge) => edge.flow));
  }

  function drawEdges() {
    const origin = byId('path').getBoundingClientRect();
    for (const { from, to, base, flow } of edges) {
      const [a, b] = [nodes.get(from).root.getBoundingClientRect(), nodes.get(to).root.getBoundingClientRect()];
      const [x1, y1] = [a.right - origin.left, a.top + a.height / 2 - origin.top];
      const [x2, y2] = [b.left - origin.left, b.top + b.height / 2 - origin.top];
      const middle = (x1 + x2) / 2;
      const d = `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`;
      base.setAttribute('d', d);
      flow.setAttribute('d', d);
    }
  }

  function showSource(source) {
    const node = nodes.get(`source/${source.name}`);
    node.root.dataset.phase = source.phase;
    node.kind.textContent = source.kind;
    node.main.textContent = count(source.rows);
    node.unit.textContent = source.rows === 1 ? 'row' : 'rows';
    measure(node, source.rows);
    node.rateText.textContent = rate(node.rate);
    const share = source.phase === 'backfill' && source.rows_estimate ? Math.min(1, source.rows / source.rows_estimate) : null;
    node.bar.hidden = share === null;
    node.bar.value = share ?? 0;
    if (share !== null) {
      const left = node.rate > 0 ? `, ${duration((source.rows_estimate - source.rows) / node.rate * 1000)} left` : '';
      note(node, `${source.detail ?? 'Backfill'} · ${Math.floor(share * 100)} %${left}`);
    } else if (source.phase === 'streaming') {
      note(node, [source.position, source.lag_ms === undefined ? null : `${duration(source.lag_ms)} behind`].filter(Boolean).join(' · '));
    } else {
      note(node, source.detail ?? `${source.phase[0].toUpperCase()}${source.phase.slice(1)}`);
    }
  }

  function showStatus(status) {
    status.sources.forEach(showSource);
    const log = nodes.get('log/');
    const transactions = Math.max(0, status.log.upper - 1);
    measure(log, transactions);
    log.kind.textContent = size(status.log.bytes);
    log.main.textContent = count(transactions);
    log.unit.textContent = transactions === 1 ? 'transaction' : 'transactions';
    log.rateText.textContent = rate(log.rate);
    const behind = transactions - status.time;
    const filling = (status.filling ?? []).map((view) => `Filling ${view.name}: ${count(view.behind_transactions)} to go`);
    note(log, filling.length ? filling.join(' · ') : behind > 100 ? `Views are ${count(behind)} transactions behind` : 'Synced to disk');
    byId('pace').textContent = log.rate < 0.05 ? '' : `+${rate(log.rate)}`;
    for (const view of status.views) {
      const node = nodes.get(`view/${view.name}`);
      node.kind.textContent = view.searchable ? 'searchable' : '';
      node.main.textContent = count(view.row_count);
      node.unit.textContent = view.row_count === 1 ? 'row' : 'rows';
      measure(node, views.get(view.name).changed);
      node.rateText.textContent = node.rate < 0.05 ? '' : rate(node.rate).replace('/s', ' changes/s');
      const lacking = view.lacking_rows ?? 0;
      note(node, lacking === 0 ? '' : `Lacks ${count(lacking)} ${lacking === 1 ? 'row' : 'rows'}: see evert.errors`);
    }
    for (const sink of status.sinks) {
      const node = nodes.get(`sink/${sink.name}`);
      node.root.dataset.phase = sink.phase;
      node.kind.textContent = sink.kind;
      node.main.textContent = `Time ${count(sink.held)}`;
      node.unit.textContent = 'held';
      const late = sink.behind_transactions > 0 ? `${count(sink.behind_transactions)} behind` : 'Up to date';
      note(node, sink.detail ?? (sink.lag_ms > 1000 ? `${late} · ${duration(sink.lag_ms)}` : late));
      measure(node, sink.held);
    }
    const moves = (id) => nodes.get(id).rate > 0.05;
    for (const edge of edges) {
      const on = edge.to === 'log/' ? moves(edge.from) : moves(edge.to);
      edge.flow.classList.toggle('on', on);
    }
    byId('version').textContent = `Evert ${status.version} · up ${duration(status.uptime_ms)}`;
    drawEdges();
  }

  let refreshTimer = 0;
  async function refresh() {
    clearTimeout(refreshTimer);
    try {
      const status = await fetchJson('/v1/status', { signal: AbortSignal.timeout(5000) });
      const now = JSON.stringify([status.log.id, status.sources.map((s) => s.name), status.sinks.map((s) => [s.name, s.view]),
        status.views.map((v) => [v.name, v.columns, v.key, v.order, v.searchable])]);
      if (now !== shape) build(status);
      shape = now;
      showStatus(status);
      if (stream.source === null && !document.hidden && views.size) openStream(false);
    } catch {
      if (stream.source?.readyState !== EventSource.OPEN) say('waiting', 'Reconnecting…');
    }
    if (!document.hidden) refreshTimer = setTimeout(refresh, STATUS_MS);
  }

  function build(status) {
    log = status.log.id;
    buildPath(status);
    views = new Map(status.views.map((info) => [info.name, new View(info)]));
    byId('views').replaceChildren(...[...views.values()].map((view) => view.card));
    buildSearch(status);
    buildExamples(status);
    openStream(true);
  }

  async function fetchJson(url, options) {
    const answer = await fetch(url, options);
    const text = await answer.text();
    if (answer.ok) return parse(text);
    let problem = { code: `HTTP ${answer.status}`, title: answer.statusText || 'The request failed', detail: text };
    try { problem = JSON.parse(text); } catch { /* Not ours: a proxy's words, shown as they are. */ }
    throw Object.assign(new Error(problem.detail), { problem });
  }

  function problemBox(error) {
    const problem = error.problem ?? { title: 'Evert does not answer', detail: error.message };
    return el('div', { class: 'problem', role: 'alert' },
      el('b', {}, problem.title), problem.code ? el('code', {}, problem.code) : null,
      el('pre', {}, problem.detail), problem.help ? el('p', {}, problem.help) : null);
  }

  // ---- Search -------------------------------------------------------------------------------------------------------

  const search = { abort: null, timer: 0, at: -1 };
  const wordsOf = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const stem = (word) => (word.length > 4 ? word.replace(/(ing|ies|ed|es|s)$/, '') : word);

  function marked(text, words) {
    const stems = words.map(stem);
    return text.split(/([\p{L}\p{N}]+)/u).map((part) =>
      (part && stems.some((start) => part.toLowerCase().startsWith(start)) ? el('mark', {}, part) : part));
  }

  function buildSearch(status) {
    const names = status.views.filter((view) => view.searchable).map((view) => view.name);
    byId('search').hidden = names.length === 0;
    document.querySelector('nav a[href="#search"]').hidden = names.length === 0;
    byId('search-view').replaceChildren(...names.map((name) => el('option', { value: name }, name)));
    document.querySelector('.pick').hidden = names.length < 2;
    const named = () => { byId('search-words').placeholder = `Search ${byId('search-view').value}…`; };
    byId('search-view').onchange = () => { named(); runSearch(); };
    named();
  }

  async function runSearch() {
    search.abort?.abort();
    const [view, query] = [byId('search-view').value, byId('search-words').value.trim()];
    const place = byId('search-result');
    if (query === '' || !views.has(view)) { place.replaceChildren(); return; }
    search.abort = new AbortController();
    search.at = time;
    try {
      const answer = await fetchJson(`/v1/search/${encodeURIComponent(view)}?q=${encodeURIComponent(query)}&limit=${HITS_SHOWN}`,
        { signal: search.abort.signal });
      const best = answer.total > answer.hits.length ? `the best ${answer.hits.length} of ` : '';
      const found = `${best}${rows(answer.total)} at Time ${count(answer.time)}`;
      place.replaceChildren(answer.hits.length === 0
        ? el('div', { class: 'empty' }, `Nothing in ${view} matches “${query}” at Time ${count(answer.time)}.`)
        : plainTable(views.get(view).columns, answer.hits.map((hit) => hit.row), wordsOf(query)),
      ...(answer.hits.length ? [el('div', { class: 'card-foot' }, el('span', {}, found))] : []));
    } catch (error) {
      if (error.name !== 'AbortError') place.replaceChildren(problemBox(error));
    }
  }

  function searchSoon() {
    clearTimeout(search.timer);
    search.timer = setTimeout(runSearch, SEARCH_MS);
  }
  byId('search-words').addEventListener('input', searchSoon);
  byId('search-form').addEventListener('submit', (event) => { event.preventDefault(); runSearch(); });
  // What was found stays true while the data moves on.
  setInterval(() => { if (byId('search-words').value && search.at !== time && !document.hidden) runSearch(); }, 2000);
  document.addEventListener('keydown', (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '');
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey && !byId('search').hidden) {
      event.preventDefault();
      byId('search-words').focus();
    }
    if (event.key === 'Escape' && document.activeElement === byId('search-words')) {
      byId('search-words').value = '';
      runSearch();
    }
  });
  document.querySelector('nav a[href="#search"]').addEventListener('click', () => setTimeout(() => byId('search-words').focus()));
  document.querySelector('nav a[href="#sql"]').addEventListener('click', () => setTimeout(() => byId('sql-text').focus()));

  // ---- SQL ----------------------------------------------------------------------------------------------------------

  const quoted = (name) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
  const sql = { abort: null };

  function buildExamples(status) {
    const texts = status.views.slice(0, 4).map((view) => [view.name, `select *\nfrom ${quoted(view.name)}\nlimit 10`]);
    byId('sql-examples').replaceChildren(...texts.map(([name, text]) => el('button',
      { type: 'button', title: text, onclick: () => { byId('sql-text').value = text; runSql(); } }, name)));
    if (byId('sql-text').value === '' && texts.length) byId('sql-text').value = texts[0][1];
  }

  async function runSql() {
    sql.abort?.abort();
    sql.abort = new AbortController();
    const mine = sql.abort;
    const place = byId('sql-result');
    const began = performance.now();
    byId('sql-run').disabled = true;
    try {
      const answer = await fetchJson('/v1/query', { method: 'POST', body: byId('sql-text').value, signal: mine.signal,
        headers: { 'content-type': 'application/sql', accept: 'application/json' } });
      const list = answer.rows.slice(0, 500);
      const hidden = answer.rows.length - list.length;
      place.replaceChildren(plainTable(answer.columns, list), el('div', { class: 'card-foot' },
        el('span', {}, `${rows(answer.rows.length)} at Time ${count(answer.time)}${hidden ? `, ${count(hidden)} not shown` : ''}`),
        duration(performance.now() - began)));
    } catch (error) {
      if (error.name !== 'AbortError') place.replaceChildren(problemBox(error));
    }
    if (sql.abort === mine) byId('sql-run').disabled = false;
  }

  byId('sql-form').addEventListener('submit', (event) => { event.preventDefault(); runSql(); });
  byId('sql-text').addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); runSql(); }
  });

  if (/Mac|iPhone|iPad/.test(navigator.platform)) byId('sql-run').lastElementChild.textContent = '⌘ ↵';
  new ResizeObserver(drawEdges).observe(byId('path'));
  refresh();
})();
