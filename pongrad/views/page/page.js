// Draws what the server sends (see pongrad/views/watch.py for its form) and says when it has drawn it.
"use strict";

const $ = id => document.getElementById(id);
const ORANGE = [255, 150, 60], BLUE = [90, 160, 255];
const FRAME = 1000 / 60;              // milliseconds
const STEPS_SHOWN = 150;
const LEGENDS = {1: ["went on", "went off"], 2: ["this screen", "the one before"], 4: ["brighter", "darker"]};

let socket = null, tries = 0, hello = null, status = {speed: "real", paused: false}, run = null, over = "";
let tiles = null, strongest = 1e-9, newest = null, dirty = true;
const history = [];
const queue = [];                     // frames waiting to be drawn: {lengths, colours, moment, isFirst, isLast}
let due = 0;

// ---- the line to the server

function connect() {
  socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { tries = 0; painted = 0; queue.length = 0; over = ""; line("connected", false); };
  socket.onmessage = event => typeof event.data === "string" ? hear(JSON.parse(event.data)) : see(event.data);
  socket.onclose = () => {
    line(over || "connection lost, trying again…", true);
    setTimeout(connect, Math.min(5000, 500 * 2 ** tries++));
  };
}

function line(text, isLost) {
  $("line").textContent = text;
  $("line").classList.toggle("lost", isLost);
}

function say(command) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
}

function hear(message) {
  if (message.kind === "hello") {
    hello = message;
    document.body.dataset.mode = hello.mode;
    if (hello.mode === "play") return sitDown();
    $("name").textContent = `${hello.name} plays ${hello.game}` + (hello.duel ? " against the computer" : "");
    document.body.dataset.duel = hello.duel;
    document.body.dataset.network = hello.network;
    setScreen(...hello.screen);
    [$("new").textContent, $("old").textContent] = LEGENDS[hello.channels];
    if (hello.network === "conv") layOut();
    $("actions").replaceChildren(...hello.actions.map(actionRow));
    history.length = 0;
    newest = null;
  } else if (message.kind === "status") {
    status = message;
    if (hello.mode === "play") return tellGame();
    $("pause").setAttribute("aria-pressed", status.paused);
    $("pause").textContent = status.paused ? "Go on" : "Pause";
    document.querySelector(`#speeds [value=${status.speed}]`).checked = true;
  } else if (message.kind === "run") {
    run = message;
    tell();
  } else if (message.kind === "ended") {
    over = message.text;
    line(over, true);
  }
  dirty = true;
}

// ---- what comes in binary

function see(data) {
  const view = new DataView(data);
  if (view.getUint8(0) === 3) {
    paintDuel(data);
    return;
  }
  if (view.getUint8(0) === 2) {
    tiles = pictures(new Int8Array(data, 4), view.getUint8(1), view.getUint8(2));
    dirty = true;
    return;
  }
  const actions = view.getUint8(3), units = view.getUint16(4, true), inputs = view.getUint16(6, true);
  const moment = {
    action: view.getUint8(1),
    won: view.getFloat32(16, true), lost: view.getFloat32(20, true), value: view.getFloat32(24, true),
  };
  let at = 28;
  const take = (Kind, count) => {
    const part = new Kind(data.slice(at, at + count * Kind.BYTES_PER_ELEMENT));
    at += count * Kind.BYTES_PER_ELEMENT;
    return part;
  };
  moment.places = take(Uint16Array, inputs);
  moment.values = take(Int8Array, inputs);
  moment.probabilities = take(Float32Array, actions);
  moment.hidden = take(Float32Array, units);
  moment.maps = hello.maps.map(([count, rows, columns]) => (
    {strongest: take(Float32Array, 1)[0], lit: take(Uint8Array, count * rows * columns)}));
  const frames = view.getUint8(2);
  for (let i = 0; i < frames; i++) {
    const count = take(Uint32Array, 1)[0];
    const frame = {lengths: take(Uint32Array, count), colours: take(Uint8Array, 3 * count)};
    queue.push({...frame, moment, isFirst: i === 0, isLast: i === frames - 1});
  }
}

function pictures(weights, rows, columns) {   // one canvas with all neurons side by side
  const count = weights.length / (rows * columns);
  const canvas = document.createElement("canvas");
  canvas.width = columns * count;
  canvas.height = rows;
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, rows);
  for (let unit = 0; unit < count; unit++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const weight = weights[(unit * rows + row) * columns + column] / 127;
        const colour = weight > 0 ? ORANGE : BLUE, i = 4 * (row * canvas.width + unit * columns + column);
        for (let k = 0; k < 3; k++) image.data[i + k] = Math.abs(weight) * colour[k];
        image.data[i + 3] = 255;
      }
  context.putImageData(image, 0, 0);
  return {canvas, rows, columns, count};
}

// ---- drawing, in step with the screen

const screen = $("game").getContext("2d");
let picture, words;

function setScreen(height, width) {
  [$("game").width, $("game").height] = [width, height];
  $("game").style.aspectRatio = width === 160 ? "" : `${width} / ${height}`;   // Atari's pixels are not square
  picture = screen.createImageData(width, height);
  words = new Uint32Array(picture.data.buffer);
}

setScreen(210, 160);

function paint(frame) {
  let at = 0;
  for (let i = 0; i < frame.lengths.length; i++) {
    const [r, g, b] = frame.colours.subarray(3 * i, 3 * i + 3);
    words.fill(0xff000000 | b << 16 | g << 8 | r, at, at += frame.lengths[i]);
  }
  screen.putImageData(picture, 0, 0);
}

function tick(now) {
  requestAnimationFrame(tick);
  for (; painted; painted--) say({drew: 1});                    // not while the page is hidden
  const pace = status.speed === "slow" ? 4 * FRAME : FRAME;
  if (!queue.length) due = Math.max(due, now + pace);          // leave a little in store against jitter
  if (now - due > 100 || queue.length > 20) due = now;         // behind: catch up
  let frame = null;
  while (queue.length && (due <= now + 2 || queue.length > 20)) {
    frame = queue.shift();
    due += pace;
    if (frame.isFirst) meet(frame.moment);
    if (frame.isLast) say({drew: 1});
  }
  if (frame) {
    paint(frame);
    if (frame.isLast) {
      const {won, lost} = frame.moment;
      $("won").textContent = hello.duel ? won : (won - lost).toLocaleString("en");
      $("lost").textContent = lost;
    }
  }
  if (dirty) {
    dirty = false;
    draw();
  }
}

function meet(moment) {
  newest = moment;
  history.push(moment.probabilities);
  if (history.length > STEPS_SHOWN) history.shift();
  dirty = true;
}

function draw() {
  if (hello && newest) {
    drawSeen();
    drawActions();
    drawHistory();
    hello.network === "conv" ? drawLayers() : drawNeurons();
    $("expects").hidden = Number.isNaN(newest.value);
    $("value").textContent = signed(newest.value);
  }
  $("scoring").hidden = !run;
  if (run) drawCurve();
}

const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name);
const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

function drawSeen() {
  const canvas = $("seen"), [rows, columns] = hello.shape;
  if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d"), image = context.createImageData(columns, rows);
  for (let i = newest.places.length - 1; i >= 0; i--) {         // backwards: this screen over the one before
    const place = newest.places[i], isOld = place >= rows * columns || newest.values[i] < 0;
    const at = 4 * (place % (rows * columns));
    (isOld ? BLUE : ORANGE).forEach((value, k) => image.data[at + k] = value);
    image.data[at + 3] = hello.network === "conv" ? 255 * Math.sqrt(Math.abs(newest.values[i]) / 127) : 255;
  }
  context.putImageData(image, 0, 0);
}

function fit(canvas, height) {               // a canvas as sharp as the screen; returns its CSS size and context
  const width = canvas.clientWidth, ratio = devicePixelRatio || 1;
  height = height || canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio))
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return {context, width, height};
}

function actionRow(name) {                   // an action's name, a bar as long as its probability, the number
  const row = document.createElement("li");
  row.append(...["span", "i", "output"].map(tag => document.createElement(tag)));
  row.firstChild.textContent = name;
  return row;
}

function drawActions() {
  [...$("actions").children].forEach((row, action) => {
    const percent = Math.round(100 * newest.probabilities[action]);
    row.classList.toggle("taken", action === newest.action);
    row.children[1].style.setProperty("--share", `${percent}%`);
    row.lastChild.textContent = `${percent} %`;
  });
}

function drawHistory() {                     // a row for each action, a column for each step
  const canvas = $("history"), rows = hello.actions.length;
  if (canvas.width !== STEPS_SHOWN || canvas.height !== rows) [canvas.width, canvas.height] = [STEPS_SHOWN, rows];
  const context = canvas.getContext("2d"), image = context.createImageData(STEPS_SHOWN, rows);
  history.forEach((probabilities, step) => probabilities.forEach((p, row) => {
    const at = 4 * (row * STEPS_SHOWN + step);
    ORANGE.forEach((value, k) => image.data[at + k] = value);
    image.data[at + 3] = 255 * p;
  }));
  context.putImageData(image, 0, 0);
}

function drawNeurons() {
  if (!tiles) return;
  const canvas = $("neurons"), all = canvas.clientWidth;
  const columns = Math.max(1, Math.floor(all / (all < 600 ? 26 : 42)));
  const side = all / columns, rows = Math.ceil(tiles.count / columns);     // CSS pixels a neuron, with its edge
  canvas.style.height = `${rows * side}px`;
  const {context} = fit(canvas, rows * side);
  context.imageSmoothingEnabled = false;
  let firing = 0;
  for (const strength of newest.hidden) {
    strongest = Math.max(strongest, strength);
    firing += strength > 0;
  }
  $("firing").textContent = `${firing} of ${tiles.count} fire`;
  for (let unit = 0; unit < tiles.count; unit++) {
    const x = unit % columns * side, y = Math.floor(unit / columns) * side;
    const strength = newest.hidden[unit];
    context.globalAlpha = 1;
    context.fillStyle = strength > 0 ? `rgba(255, 215, 130, ${0.25 + 0.75 * Math.sqrt(strength / strongest)})` : "#23262f";
    context.fillRect(x, y, side - 1, side - 1);
    context.fillStyle = "#000";
    context.fillRect(x + 2, y + 2, side - 5, side - 5);
    context.globalAlpha = strength > 0 ? 0.45 + 0.55 * Math.sqrt(strength / strongest) : 0.2;
    context.drawImage(tiles.canvas, unit * tiles.columns, 0, tiles.columns, tiles.rows, x + 2, y + 2, side - 5, side - 5);
  }
  context.globalAlpha = 1;
}

function drawCurve() {
  const {context, width, height} = fit($("curve"));
  const left = 48, bottom = height - 18, most = Math.max(1, ...run.curve.map(point => point[0]));
  const above = run.beaten_above, marks = above === null ? [] : [above];
  const scores = [...run.curve.map(point => point[1]), ...marks, ...(run.random === null ? [] : [run.random])];
  const low = Math.min(...scores, 0), high = Math.max(...scores, low + 1);
  const x = frames => left + (width - left - 6) * frames / most;
  const y = score => 10 + (bottom - 10) * (high - score) / (high - low);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour("--faint");
  context.textAlign = "right";
  for (const score of new Set([low, high, ...marks]))
    context.fillText(Math.round(score).toLocaleString("en").replace("-", "−"), left - 5, y(score) + 4);
  context.fillText(`${(most / 1e6).toFixed(2)} million frames`, width - 6, height - 4);
  context.textAlign = "left";
  if (above !== null) {
    context.fillStyle = context.strokeStyle = colour("--good");
    context.fillText(run.beaten, left + 4, y(above) < 24 ? y(above) + 14 : y(above) - 5);
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(left, y(above));
    context.lineTo(width - 6, y(above));
    context.stroke();
    context.setLineDash([]);
  }
  context.strokeStyle = colour("--down");
  context.lineWidth = 2;
  context.beginPath();
  for (const [frames, score] of run.curve) context.lineTo(x(frames), y(score));
  context.stroke();
}

function tell() {
  const number = value => value === null ? "–" : Math.round(value).toLocaleString("en");
  $("recipe").textContent = `${run.recipe}, seed ${run.seed}`;
  $("score").textContent = run.mean_score_100 === null ? "–" : run.duel ? signed(run.mean_score_100) : run.mean_score_100.toLocaleString("en", {maximumFractionDigits: 2});
  $("games").textContent = number(run.games);
  $("frames").textContent = number(run.frames);
  $("rate").textContent = number(run.frames_per_second);
  const seconds = Math.floor(run.seconds || 0), two = value => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  $("time").textContent = (hours ? `${hours}:${two(minutes)}` : minutes) + `:${two(seconds % 60)}`;
}

// ---- what the viewer does

$("pause").onclick = () => say({pause: !status.paused});
$("step").onclick = () => say({step: 1});
$("speeds").onchange = event => say({speed: event.target.value});
addEventListener("keydown", event => {
  if (hello?.mode !== "watch" || event.target.closest("button, input, select")) return;
  if (event.key === " ") { event.preventDefault(); say({pause: !status.paused}); }
  if (event.key === ".") say({step: 1});
});
addEventListener("click", event => {  // so that the keys go on meaning the game, not the button last clicked
  if (event.detail) event.target.closest("button")?.blur();
});
addEventListener("resize", () => dirty = true);
matchMedia("(prefers-color-scheme: dark)").onchange = () => dirty = true;

// ---- playing against the agent

let painted = 0;                      // frames since the screen was last refreshed
const held = new Set();               // what is pressed: 1 for up, -1 for down
const KEYS = {ArrowUp: 1, KeyW: 1, ArrowDown: -1, KeyS: -1};
let going = 0;

function sitDown() {
  $("name").textContent = "You are on the left";
  $("left").textContent = "you";
  $("opponent").replaceChildren(...hello.opponents.map((name, i) => new Option(name, i)));
}

function tellGame() {
  const [left, right] = status.points;
  [$("lost").textContent, $("won").textContent] = [left, right];
  $("opponent").value = status.opponent;
  $("right").textContent = hello.opponents[status.opponent];
  $("break").setAttribute("aria-pressed", status.paused);
  $("break").textContent = status.paused ? "Go on" : "Pause";
  $("says").textContent = status.problem || (status.over
    ? `${left > right ? "You win" : "You lose"}, ${left} to ${right}. Rematch?`
    : status.paused ? "Paused" : "");
}

function paintDuel(data) {            // at once: who pressed a key waits for it
  const count = new DataView(data).getUint32(4, true);
  painted++;
  paint({
    lengths: new Uint32Array(data.slice(8, 8 + 4 * count)),
    colours: new Uint8Array(data, 8 + 4 * count, 3 * count),
  });
}

function go() {
  const where = held.has(1) && !held.has(-1) ? 1 : held.has(-1) && !held.has(1) ? -1 : 0;
  if (where !== going) say({move: going = where});
}

addEventListener("keydown", event => {
  if (hello?.mode !== "play" || event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.target.closest("select")) return;
  const where = KEYS[event.code];
  if (where) { event.preventDefault(); held.add(where); go(); }
  else if (event.code === "Space" && !event.target.closest("button")) { event.preventDefault(); if (!event.repeat) say({serve: 1}); }
  else if (event.code === "KeyP" && !event.repeat) say({pause: !status.paused});
});
addEventListener("keyup", event => { if (KEYS[event.code]) { held.delete(KEYS[event.code]); go(); } });
addEventListener("blur", () => { held.clear(); go(); });
for (const [id, where] of [["higher", 1], ["lower", -1]]) {
  const button = $(id);
  button.onpointerdown = event => { button.setPointerCapture(event.pointerId); held.add(where); go(); };
  button.onpointerup = button.onpointercancel = () => { held.delete(where); go(); };
}
$("serve").onclick = () => say({serve: 1});
$("break").onclick = () => say({pause: !status.paused});
$("rematch").onclick = () => say({rematch: 1});
$("opponent").onchange = event => { say({opponent: Number(event.target.value)}); event.target.blur(); };

connect();
requestAnimationFrame(tick);
