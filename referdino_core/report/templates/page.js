// Copyright 2026 The referdino authors
// SPDX-License-Identifier: Apache-2.0
"use strict";

const page = JSON.parse(document.getElementById("page-data").textContent);
const margins = page.margins;
const players = [...document.querySelectorAll(".player")].map((element, place) => ({
  element,
  ...page.players[place],
  media: null,
}));
let position = 0;

// ---- frames and seconds ----------------------------------------------------------------------

/** The last place whose number is not above the given one. */
function placeOf(numbers, number) {
  let low = 0;
  let high = numbers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (numbers[middle] <= number) low = middle;
    else high = middle - 1;
  }
  return low;
}

function between(from, to, number) {
  const place = Math.min(placeOf(from, number), Math.max(from.length - 2, 0));
  const next = Math.min(place + 1, from.length - 1);
  const length = from[next] - from[place];
  const share = length > 0 ? (number - from[place]) / length : 0;
  return to[place] + Math.max(share, 0) * (to[next] - to[place]);
}

const secondsOf = (frame) => between(page.positions, page.times, frame);
const indexOf = (frame) => Math.round(between(page.positions, page.indices, frame));
const inRange = (frame) => Math.min(Math.max(frame, 0), Math.max(page.frames - 1, 0));

/** The frame that is on the screen at a time: the last one that is not later. */
function frameAt(seconds) {
  const frame = between(page.times, page.positions, seconds);
  return inRange(Math.floor(frame + 1e-3));
}

// ---- showing a frame -------------------------------------------------------------------------

function show(frame) {
  frame = inRange(frame);
  for (const player of players) {
    if (player.media) {
      player.media.pause();
      player.media.currentTime = (Math.floor(frame / player.video.step) + 0.5) / player.video.rate;
    }
  }
  told(frame);
}

/** Everything that follows the frame on the screen, but the videos. */
function told(frame) {
  position = frame;
  const seconds = secondsOf(frame);
  document.documentElement.dataset.position = String(frame);
  for (const where of document.querySelectorAll(".where")) {
    where.textContent = `frame ${indexOf(frame)} · ${seconds.toFixed(2)} s`;
  }
  for (const timeline of document.querySelectorAll(".timeline")) {
    placeCursor(timeline, seconds);
    timeline.setAttribute("aria-valuenow", String(frame));
    timeline.setAttribute("aria-valuetext", `frame ${indexOf(frame)}, ${seconds.toFixed(2)} seconds`);
  }
  players.forEach((player, place) => {
    read(player, place, frame);
    showStill(player, frame);
  });
}

function read(player, place, frame) {
  const list = document.querySelector(`.readings[data-player="${place}"]`);
  if (!list) return;
  const trouble = player.troubles.length
    ? player.troubles[placeOf(player.troubles.map((change) => change[0]), frame)][1]
    : null;
  player.commands.forEach((command, row) => {
    const found = list.children[row]?.querySelector(".found");
    if (found) found.textContent = reading(player, command, frame, trouble);
  });
}

function reading(player, command, frame, trouble) {
  if (!command.starts.length || frame < command.starts[0] || frame > command.last) {
    return "not given";
  }
  const place = placeOf(command.starts, frame);
  const words = [];
  const least = player.exact ? "" : "≥ ";
  if (command.state[place] !== null) words.push(page.marks[command.state[place]]);
  if (command.score[place] !== null) words.push(`${least}${command.score[place].toFixed(2)}`);
  if (command.region[place] !== null) words.push(`J ${least}${command.region[place].toFixed(2)}`);
  if (command.failure[place] !== null) words.push(page.marks[command.failure[place]]);
  if (trouble !== null) words.push(page.marks[trouble]);
  return words.join(" · ");
}

function showStill(player, frame) {
  const film = document.querySelector(`.film[data-player="${player.element.dataset.player}"]`);
  const stills = film ? [...film.querySelectorAll("button")] : [];
  if (!stills.length) return;
  const place = placeOf(stills.map((still) => Number(still.dataset.seek)), frame);
  const distance = (still) => Math.abs(Number(still.dataset.seek) - frame);
  const next = stills[Math.min(place + 1, stills.length - 1)];
  const nearest = distance(next) < distance(stills[place]) ? next : stills[place];
  for (const still of stills) still.removeAttribute("aria-current");
  nearest.setAttribute("aria-current", "true");
  const middle = nearest.offsetLeft - film.offsetLeft - (film.clientWidth - nearest.clientWidth) / 2;
  film.scrollLeft = middle;
  const standIn = player.element.querySelector("img");
  if (standIn && !standIn.hidden) {
    standIn.src = nearest.querySelector("img").src;
    standIn.dataset.position = nearest.dataset.seek;
    player.element.querySelector(".stand-in").textContent =
      `Nearest image: frame ${indexOf(Number(nearest.dataset.seek))}.`;
  }
}

// ---- videos ----------------------------------------------------------------------------------

function bytesOf(id) {
  const text = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place += 1) bytes[place] = text.charCodeAt(place);
  return bytes;
}

function openVideo(player, place) {
  const media = player.element.querySelector("video");
  const standIn = player.element.querySelector("img");
  const giveUp = () => {
    player.media = null;
    if (media) media.hidden = true;
    standIn.hidden = false;
    showStill(player, position);
  };
  if (!player.video || !media || !media.canPlayType(player.video.type)) {
    giveUp();
    return;
  }
  player.media = media;
  media.addEventListener("error", giveUp);
  media.src = URL.createObjectURL(new Blob([bytesOf(`video-${place}`)], { type: player.video.type }));
  if (place === 0) follow(player);
}

/** The first video leads while it plays. */
function follow(player) {
  const media = player.media;
  const shownFrame = () => inRange(Math.floor(media.currentTime * player.video.rate + 1e-3) * player.video.step);
  const step = () => {
    if (media.paused) return;
    told(shownFrame());
    requestAnimationFrame(step);
  };
  media.addEventListener("play", () => {
    for (const other of players.slice(1)) other.media?.play();
    requestAnimationFrame(step);
  });
  media.addEventListener("pause", () => {
    for (const other of players.slice(1)) other.media?.pause();
  });
  media.addEventListener("seeked", () => {
    // A frame between two of a thinned video stays the one that was asked for.
    const shown = shownFrame();
    if (position < shown || position >= shown + player.video.step) {
      told(shown);
      for (const other of players.slice(1)) {
        if (other.media) other.media.currentTime = media.currentTime;
      }
    }
  });
}

function playOrPause() {
  const media = players[0]?.media;
  if (!media) return;
  if (media.paused) media.play();
  else media.pause();
}

// ---- plots -----------------------------------------------------------------------------------

function colours(figure) {
  const style = getComputedStyle(document.documentElement);
  const resolve = (entry) => {
    if (typeof entry === "string" && entry.startsWith("var(--")) {
      return style.getPropertyValue(entry.slice(4, -1)).trim();
    }
    if (Array.isArray(entry)) return entry.map(resolve);
    if (entry !== null && typeof entry === "object") {
      return Object.fromEntries(Object.entries(entry).map(([key, value]) => [key, resolve(value)]));
    }
    return entry;
  };
  return resolve(figure);
}

async function plotAll(width) {
  for (const plot of document.querySelectorAll(".plot")) {
    const figure = colours(page.figures[Number(plot.dataset.figure)]);
    const size = width ? { width, autosize: false } : { autosize: true };
    await Plotly.react(plot, figure.data, { ...figure.layout, ...size }, {
      displayModeBar: false,
      responsive: !width,
    });
  }
  told(position);
}

function layoutOf(timeline) {
  return page.figures[Number(timeline.querySelector(".plot").dataset.figure)].layout;
}

function endOf(timeline) {
  return layoutOf(timeline).xaxis.range[1];
}

function placeCursor(timeline, seconds) {
  const cursor = timeline.querySelector(".cursor");
  const width = timeline.clientWidth - margins.left - margins.right;
  const { t, b } = layoutOf(timeline).margin;
  cursor.style.display = "block";
  cursor.style.top = `${t}px`;
  cursor.style.bottom = `${b}px`;
  cursor.style.left = `${margins.left + (width * seconds) / endOf(timeline) - 1}px`;
}

function frameUnder(timeline, clientX) {
  const left = timeline.getBoundingClientRect().left + margins.left;
  const width = timeline.clientWidth - margins.left - margins.right;
  return frameAt(((clientX - left) / width) * endOf(timeline));
}

function listen(timeline) {
  let dragging = false;
  const seek = (event) => show(frameUnder(timeline, event.clientX));
  timeline.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    dragging = event.pointerType === "mouse";
    if (dragging) seek(event);
  }, true);
  timeline.addEventListener("click", seek);
  addEventListener("pointermove", (event) => {
    if (dragging) seek(event);
  });
  addEventListener("pointerup", () => {
    dragging = false;
  });
  timeline.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
    if (event.key in steps) show(position + steps[event.key]);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(page.frames - 1);
    else if (event.key === " ") playOrPause();
    else return;
    event.preventDefault();
  });
}

// ---- tables ----------------------------------------------------------------------------------

function makeSortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    head.querySelector("button")?.addEventListener("click", () => {
      const ascending = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      sortRows(table.tBodies[0], column, ascending);
    });
  });
}

/** Numbers by size, texts by the alphabet, empty cells always last. */
function sortRows(body, column, ascending) {
  const keyOf = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (one, other) => {
    const [a, b] = [keyOf(one), keyOf(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const numbers = Number(a) - Number(b);
    const order = Number.isNaN(numbers) ? a.localeCompare(b) : numbers;
    return ascending ? order : -order;
  };
  body.append(...[...body.rows].sort(compare));
}

// ---- the page --------------------------------------------------------------------------------

async function unpackPlotly() {
  const stream = new Blob([bytesOf("plotly")]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

async function start() {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  players.forEach(openVideo);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-seek]");
    if (button) show(Number(button.dataset.seek));
  });
  document.querySelector(".back")?.addEventListener("click", () => show(position - 1));
  document.querySelector(".on")?.addEventListener("click", () => show(position + 1));
  document.querySelector(".play")?.addEventListener("click", playOrPause);
  document.querySelectorAll(".timeline").forEach(listen);
  told(0);
  await unpackPlotly();
  await plotAll();
  const paper = 680; // pixels that fit on a sheet of A4 or letter
  addEventListener("beforeprint", () => plotAll(paper));
  addEventListener("afterprint", () => plotAll());
  matchMedia("print").addEventListener("change", (query) => plotAll(query.matches ? paper : 0));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plotAll());
  new ResizeObserver(() => told(position)).observe(document.body);
  document.documentElement.dataset.ready = "yes";
}

start();
