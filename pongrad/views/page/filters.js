// Draws the inside of a convolutional network: filters, feature maps, and the neurons above them.
"use strict";

const LIT = [255, 215, 130], UNLIT = [30, 33, 42];
let brightest = [];                   // of each layer, the strongest that anything in it has fired

function layOut() {                   // a heading and a canvas for each layer
  brightest = [...hello.maps.map(() => 1e-9), 1e-9];
  const layers = hello.maps.map(([count], i) => `Layer ${i + 1}: ${count} ${i ? "feature maps" : "filters, and where each fires"}`);
  $("first").textContent = layers.shift();
  $("deeper").replaceChildren(...[...layers, ""].flatMap(text => {
    const heading = document.createElement("h2"), canvas = document.createElement("canvas");
    heading.textContent = text;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", text || "The neurons above them; those that fire are lit");
    return [heading, canvas];
  }));
}

function drawLayers() {
  const canvases = [$("filters"), ...$("deeper").querySelectorAll("canvas")];
  hello.maps.forEach(([count, rows, columns], i) => {
    const {strongest, lit} = newest.maps[i];
    const light = brightness(lit, strongest / 255, i);
    drawMaps(canvases[i], mapPictures(light, count, rows, columns), i ? 44 : 112, i ? null : tiles, light);
  });
  const light = brightness(newest.hidden, 1, hello.maps.length);
  drawMaps(canvases.at(-1), mapPictures(light, light.length, 1, 1), 20, null, light);
  const firing = newest.hidden.reduce((sum, strength) => sum + (strength > 0), 0);
  $("deeper").querySelector("h2:last-of-type").textContent =
    `Layer ${brightest.length}: ${firing} of ${newest.hidden.length} neurons fire`;
}

function brightness(strengths, unit, layer) {     // from 0, for what does not fire, to 1
  for (const strength of strengths) brightest[layer] = Math.max(brightest[layer], strength * unit);
  return Float32Array.from(strengths, value => value > 0 ? 0.3 + 0.7 * Math.sqrt(value * unit / brightest[layer]) : 0);
}

function mapPictures(light, count, rows, columns) {    // one canvas with all maps side by side
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns * count, rows];
  const context = canvas.getContext("2d"), image = context.createImageData(columns * count, rows);
  for (let map = 0; map < count; map++)
    for (let row = 0; row < rows; row++)
      for (let column = 0; column < columns; column++) {
        const at = 4 * (row * canvas.width + map * columns + column);
        const share = light[(map * rows + row) * columns + column];
        for (let k = 0; k < 3; k++) image.data[at + k] = Math.max(UNLIT[k], share * LIT[k]);
        image.data[at + 3] = 255;
      }
  context.putImageData(image, 0, 0);
  return {canvas, rows, columns, count};
}

function drawMaps(canvas, maps, want, filters, light) {     // each under its filter, if there is one
  const all = canvas.clientWidth, {count, rows, columns} = maps, size = rows * columns;
  const most = Math.max(1, Math.floor(all / Math.min(want, all / 4)));
  const lines = Math.ceil(count / most), across = Math.ceil(count / lines);
  const pitch = all / across, gap = pitch > 30 ? 6 : 2, side = Math.min(pitch - gap, 1.5 * want);
  const small = (side - 3) / 4, above = filters ? small + 2 : 0;       // a filter is four pictures, 1 pixel apart
  const height = lines * (above + side + gap);
  canvas.style.height = `${height}px`;
  const {context} = fit(canvas, height);
  context.imageSmoothingEnabled = false;
  for (let i = 0; i < count; i++) {
    const x = i % across * pitch, y = Math.floor(i / across) * (above + side + gap);
    if (filters) {
      const kernel = filters.rows;
      context.fillStyle = "#000";
      for (let frame = 0; frame < 4; frame++) {
        const at = [x + frame * (small + 1), y, small, small];
        context.globalAlpha = 1;
        context.fillRect(...at);
        context.globalAlpha = 0.3 + 0.7 * light.subarray(i * size, (i + 1) * size).reduce((a, b) => Math.max(a, b));
        context.drawImage(filters.canvas, (4 * i + frame) * kernel, 0, kernel, kernel, ...at);
      }
      context.globalAlpha = 1;
    }
    context.drawImage(maps.canvas, i * columns, 0, columns, rows, x, y + above, side, side);
  }
}
