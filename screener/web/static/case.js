// The stack: wheel, keys, slider and finger scroll through the slices; the next ones are fetched ahead.
"use strict";

const viewer = document.getElementById("viewer");

if (viewer) {
  const AHEAD = 4;
  const PIXELS_PER_SLICE = 8;
  const base = `/studies/${viewer.dataset.study}`;
  const run = `run=${viewer.dataset.run}`; // the server refuses pictures of another run than the page shows
  const stage = document.getElementById("stage");
  const note = document.getElementById("stage-note");
  const slice = document.getElementById("slice");
  const outline = document.getElementById("outline");
  const slider = document.getElementById("slider");
  const windows = document.getElementById("window");
  const outlines = document.getElementById("outlines");
  const toMass = document.getElementById("to-mass");
  const fetched = new Set();
  let stack = null;
  let now = 0;
  let outlined = new Set();

  const sliceAddress = (z) => `${base}/slices/${z}.png?window=${windows.value}&${run}`;
  const outlineAddress = (z) => `${base}/outlines/${z}.png?${run}`;

  function fetchAhead(step) {
    for (let z = now + step, left = AHEAD; left > 0 && z >= 0 && z < stack.slices; z += step, left -= 1) {
      const address = sliceAddress(z);
      if (fetched.has(address)) continue;
      fetched.add(address);
      new Image().src = address;
      if (outlined.has(z)) new Image().src = outlineAddress(z);
    }
  }

  function show(z) {
    const step = z < now ? -1 : 1;
    now = Math.min(Math.max(z, 0), stack.slices - 1);
    slice.src = sliceAddress(now);
    const hasOutline = outlines.checked && outlined.has(now);
    if (hasOutline) outline.src = outlineAddress(now);
    outline.hidden = !hasOutline;
    slider.value = now;
    document.getElementById("slice-number").textContent = `${now + 1} of ${stack.slices}, from the feet`;
    stage.setAttribute("aria-valuenow", now + 1);
    stage.setAttribute("aria-valuetext", `slice ${now + 1} of ${stack.slices}`);
    fetchAhead(step);
  }

  async function begin() {
    let answer;
    try {
      answer = await fetch(`${base}/stack.json?${run}`, { headers: { Accept: "application/json" } });
    } catch {
      note.textContent = "The slices cannot be had: the server does not answer.";
      return;
    }
    const told = await answer.json();
    if (!answer.ok) {
      note.textContent = told.sentence;
      viewer.classList.add("without-images");
      for (const part of ["planes", "glands"]) document.getElementById(part).hidden = true;
      return;
    }
    stack = told;
    outlined = new Set(stack.outlined);
    slider.max = stack.slices - 1;
    stage.setAttribute("aria-valuemax", stack.slices);
    toMass.hidden = !stack.masses.length;
    note.textContent = "";
    if (!stack.labels.length) {
      document.getElementById("legend").textContent = "No outlines: the segmentation of this run is not kept here, or cannot be read.";
    }
    show(stack.start);
    for (const image of document.querySelectorAll("#planes img")) image.src = image.dataset.src;
    showGlands();
  }

  // Both glands, each where the server has found an outline of it; of the others it is said that there is none.
  function showGlands() {
    const missing = [];
    for (const figure of document.querySelectorAll("#glands figure")) {
      const level = stack.glands[figure.dataset.side];
      if (level === undefined) { missing.push(figure.dataset.side); continue; }
      figure.querySelector(".level").textContent = `${level + 1} of ${stack.slices}`;
      const image = figure.querySelector("img");
      image.src = image.dataset.src;
      figure.hidden = false;
    }
    const note = document.getElementById("glands-note");
    note.hidden = !missing.length;
    note.textContent = `No outline of the ${missing.join(" and the ")} parotid gland: it is not shown beside the other.`;
    if (missing.length === 2) note.textContent = "No outline of either parotid gland: they are not shown side by side.";
  }

  slice.addEventListener("error", async () => {
    const answer = await fetch(slice.src, { headers: { Accept: "application/json" } });
    if (!answer.ok) note.textContent = (await answer.json()).sentence;
  });
  slice.addEventListener("load", () => { note.textContent = ""; });
  for (const image of document.querySelectorAll("#planes img, #glands img")) {
    image.addEventListener("error", () => { image.closest("figure").hidden = true; });
  }

  const keys = {
    ArrowUp: () => show(now + 1),
    ArrowDown: () => show(now - 1),
    PageUp: () => show(now + 10),
    PageDown: () => show(now - 10),
    Home: () => show(0),
    End: () => show(stack.slices - 1),
    o: () => { outlines.checked = !outlines.checked; show(now); },
    m: () => { if (stack.masses.length) show(stack.start); },
    w: () => { windows.selectedIndex = (windows.selectedIndex + 1) % windows.length; show(now); },
  };
  document.addEventListener("keydown", (event) => {
    if (!stack || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, button, a, summary, pre")) return;
    const act = keys[event.key];
    if (!act || (event.target !== stage && event.key.length > 1 && event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
    event.preventDefault();
    act();
  });
  stage.addEventListener("wheel", (event) => {
    if (!stack) return;
    event.preventDefault();
    show(now + (event.deltaY < 0 ? 1 : -1));
  }, { passive: false });
  let touched = null;
  stage.addEventListener("pointerdown", (event) => { touched = event.clientY; stage.setPointerCapture(event.pointerId); });
  stage.addEventListener("pointermove", (event) => {
    if (touched === null || !stack) return;
    const steps = Math.trunc((touched - event.clientY) / PIXELS_PER_SLICE);
    if (steps) { touched = event.clientY; show(now + steps); }
  });
  stage.addEventListener("pointerup", () => { touched = null; });
  slider.addEventListener("input", () => { if (stack) show(Number(slider.value)); });
  windows.addEventListener("change", () => { if (stack) show(now); });
  outlines.addEventListener("change", () => { if (stack) show(now); });
  toMass.addEventListener("click", () => show(stack.start));
  begin();
}
