// The widgets of the lesson: <div class="widget" data-widget="NAME"><img src="../figures/..."></div>.
//
// Without JavaScript, or without its data, a widget stays the picture inside it. The data lies beside that
// picture; docs/figures.py makes it. A widget is a function that gets the data, the address of the folder and
// an element to fill.

(() => {
  "use strict";

  /** An element with properties and children. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  /** An SVG element with attributes. */
  function shape(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  /** A labelled slider with its value in words; `show` gets its number, and returns these words. */
  function slider(name, min, max, step, value, show) {
    const input = make("input", { type: "range", min, max, step });
    input.value = value;
    input.setAttribute("aria-label", name);
    const words = make("output");
    const update = () => {
      words.textContent = show(Number(input.value));
      input.setAttribute("aria-valuetext", words.textContent);
    };
    input.addEventListener("input", update);
    return { input, update, row: make("div", { className: "widget-row" }, make("span", { textContent: name }), input, words) };
  }

  // --- gamma: how far a point's reward reaches back -----------------------------------------------------

  /** R_t = r_t + gamma R_{t+1}, starting anew where a point ends; as classic.py has it. */
  function discount(rewards, gamma) {
    const returns = new Array(rewards.length).fill(0);
    let running = 0;
    for (let t = rewards.length - 1; t >= 0; t--) {
      if (rewards[t] !== 0) running = 0;
      running = rewards[t] + gamma * running;
      returns[t] = running;
    }
    return returns;
  }

  /** Mean 0 and deviation 1. */
  function standardise(returns) {
    const mean = returns.reduce((sum, r) => sum + r, 0) / returns.length;
    const deviation = Math.sqrt(returns.reduce((sum, r) => sum + (r - mean) ** 2, 0) / returns.length);
    return returns.map((r) => (deviation < 1e-12 ? 0 : (r - mean) / deviation));
  }

  /** An area between the values and 0, of those with this sign. */
  function area(values, sign) {
    let path = "M0 0";
    values.forEach((value, t) => {
      const height = -Math.max(sign * value, 0) * sign;
      path += `L${t} ${height.toFixed(4)}L${t + 1} ${height.toFixed(4)}`;
    });
    return `${path}L${values.length} 0Z`;
  }

  function gamma(data, folder, panel) {
    const shown = Math.min(data.steps, 600);
    const rewards = new Array(data.steps).fill(0);
    for (const [t, reward] of data.rewards) rewards[t] = reward;
    const chart = shape("svg", { class: "widget-chart", preserveAspectRatio: "none", role: "img" });
    const won = shape("path", { class: "won" });
    const lost = shape("path", { class: "lost" });
    const marker = shape("line", { class: "marker" });
    const standard = make("button", { type: "button", textContent: "standardise" });
    const standardised = () => standard.getAttribute("aria-pressed") === "true";
    standard.setAttribute("aria-pressed", "false");
    const about = make("p");
    const step = slider("step", 0, shown - 1, 1, Math.min(200, shown - 1), (t) => `${t}`);
    const factor = slider("gamma", 0.8, 1, 0.005, data.gamma, (value) => value.toFixed(3));
    chart.append(shape("line", { class: "zero", x1: 0, x2: shown, y1: 0, y2: 0 }), won, lost);
    for (const [t, reward] of data.rewards) {
      if (t < shown) {
        const kind = reward > 0 ? "reward-won" : "reward-lost";
        chart.append(shape("line", { class: kind, x1: t + 0.5, x2: t + 0.5, y1: 0, y2: -reward }));
      }
    }
    chart.append(marker);
    const draw = () => {
      factor.update();
      step.update();
      const value = Number(factor.input.value);
      const returns = discount(rewards, value);
      const all = standardised() ? standardise(returns) : returns;
      const values = all.slice(0, shown);
      const reach = 1.1 * Math.max(1, ...values.map(Math.abs));
      chart.setAttribute("viewBox", `0 ${-reach} ${shown} ${2 * reach}`);
      won.setAttribute("d", area(values, 1));
      lost.setAttribute("d", area(values, -1));
      const t = Number(step.input.value);
      for (const [name, place] of [["x1", t + 0.5], ["x2", t + 0.5], ["y1", -reach], ["y2", reach]]) marker.setAttribute(name, place);
      const end = rewards.findIndex((reward, i) => i >= t && reward !== 0);
      const name = standardised() ? "advantage" : "return";
      about.textContent =
        end < 0
          ? `Step ${t}: no point ends after it, so its return is 0.`
          : `Step ${t} has the ${name} ${all[t].toFixed(3).replace("-0.000", "0.000")}: the point ends ${end - t} steps later, and is ` +
            `${rewards[end] > 0 ? "won" : "lost"}.`;
      chart.setAttribute("aria-label", `Discounted returns of a real game's first ${shown} steps. ${about.textContent}`);
    };
    const point = (event) => {
      if (event.type === "pointermove" && event.buttons === 0 && event.pointerType !== "mouse") return;
      const box = chart.getBoundingClientRect();
      step.input.value = Math.floor(((event.clientX - box.left) / box.width) * shown);
      draw();
    };
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointermove", point);
    for (const input of [factor.input, step.input]) input.addEventListener("input", draw);
    standard.addEventListener("click", () => {
      standard.setAttribute("aria-pressed", String(!standardised()));
      draw();
    });
    panel.append(chart, factor.row, step.row, about, standard);
    draw();
  }

  // --- six-steps: from the screen to the network's input ------------------------------------------------

  function sixSteps(data, folder, panel) {
    const picture = make("img", { className: "widget-picture" });
    picture.addEventListener("load", () =>
      picture.classList.toggle("wide", picture.naturalWidth > 2 * picture.naturalHeight),
    );
    const title = make("strong");
    const text = make("p");
    text.setAttribute("aria-live", "polite");
    const preload = data.map((step) => make("img", { src: new URL(step.picture, folder).href }));
    let i = 0;
    const draw = () => {
      const step = data[i];
      picture.src = preload[i].src;
      picture.alt = `${step.title}: ${step.text}`;
      title.textContent = step.title;
      text.replaceChildren(title, ` (${step.shape}). ${step.text}`);
    };
    const move = (name, by) => {
      const button = make("button", { type: "button", textContent: name });
      button.addEventListener("click", () => {
        i = (i + by + data.length) % data.length;
        draw();
      });
      return button;
    };
    const buttons = make("div", { className: "widget-row" }, move("\u2190 back", -1), move("next \u2192", 1));
    panel.append(make("div", { className: "widget-stage" }, picture), text, buttons);
    draw();
  }

  // --- neuron: a hidden neuron's weights over a run's stages --------------------------------------------

  async function neuron(data, folder, panel) {
    const sprite = make("img", { src: new URL(data.picture, folder).href });
    await sprite.decode();
    const { width, height, stages, neurons } = data;
    const canvas = () => make("canvas", { width, height });
    const paint = (target, i, stage) =>
      target.getContext("2d").drawImage(sprite, i * width, stage * height, width, height, 0, 0, width, height);
    const large = Object.assign(canvas(), { className: "widget-large" });
    large.setAttribute("role", "img");
    const grid = make("div", { className: "widget-neurons" });
    const small = Array.from({ length: neurons }, (_, i) => {
      const picture = canvas();
      picture.addEventListener("click", () => {
        choice.input.value = i + 1;
        draw();
      });
      return picture;
    });
    grid.append(...small);
    const choice = slider("neuron", 1, neurons, 1, 2, (i) => `${i} of ${neurons}`);
    const stage = slider("age", 0, stages.length - 1, 1, stages.length - 1, (i) => stages[i]);
    const draw = () => {
      stage.update();
      const age = Number(stage.input.value);
      const chosen = Number(choice.input.value) - 1;
      choice.update();
      small.forEach((picture, i) => {
        picture.classList.toggle("chosen", i === chosen);
        paint(picture, i, age);
      });
      paint(large, chosen, age);
      large.setAttribute("aria-label", `the weights of neuron ${chosen + 1}, ${stages[age]}`);
    };
    for (const input of [stage.input, choice.input]) input.addEventListener("input", draw);
    const about = make("p", {
      textContent: "Orange: a pixel that is on here makes the neuron fire; blue: it keeps it off.",
    });
    panel.append(large, stage.row, choice.row, grid, about);
    draw();
  }

  // ------------------------------------------------------------------------------------------------------

  const WIDGETS = { gamma, "six-steps": sixSteps, neuron };

  /** Turn the picture into the widget, once all of its data is there. */
  async function start(place) {
    const name = place.dataset.widget;
    const picture = place.querySelector("img");
    if (!(name in WIDGETS) || !picture || place.dataset.started) return;
    place.dataset.started = "yes";
    try {
      const answer = await fetch(new URL(`${name}.json`, picture.src));
      if (!answer.ok) return;
      const panel = make("div", { className: "widget-panel" });
      await WIDGETS[name](await answer.json(), new URL(".", picture.src), panel);
      place.replaceChildren(panel);
      place.dataset.ready = "yes";
    } catch (error) {
      console.warn(`widget ${name} stays a picture:`, error); // as with a page opened from a file
    }
  }

  const startAll = () => document.querySelectorAll(".widget[data-widget]").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startAll);
  else startAll();
})();
