/* The page for raters. Nothing leaves it but the file that the rater saves. */
(() => {
  "use strict";

  // Nobody has judged a picture by then: what comes earlier is the end of a double tap.
  const SOONEST_MS = 200;
  const byId = (id) => document.getElementById(id);
  const page = JSON.parse(byId("rating-data").textContent);

  let trials = [];
  let state = null; // what is kept: {rater, started, ended, answers: [[place from 1, ms], ...]}
  let shownAt = null; // when all pictures of the trial were there; null while they are not

  byId("rater").value = recall("rater") ?? "";
  byId("begin").addEventListener("submit", (event) => {
    event.preventDefault();
    begin(byId("rater").value.trim().toLowerCase());
  });
  byId("halfway").addEventListener("click", save);
  byId("save").addEventListener("click", save);
  document.addEventListener("keydown", onKey);

  function begin(rater) {
    trials = ratingTrials.draw(page, rater);
    state = kept(rater) ?? { rater, started: new Date().toISOString(), ended: null, answers: [] };
    const stored = remember("rater", rater) && remember(`answers-${rater}`, JSON.stringify(state));
    byId("trouble").textContent = stored
      ? ""
      : "This browser cannot keep your answers: save them before you close the page.";
    // The warning must stay in sight while the trials are shown.
    if (!stored) byId("trial").append(byId("trouble"));
    byId("start").hidden = true;
    next();
  }

  /** What this rater answered before the page was closed. */
  function kept(rater) {
    try {
      const found = JSON.parse(recall(`answers-${rater}`));
      return Array.isArray(found?.answers) && found.answers.length <= trials.length ? found : null;
    } catch {
      return null;
    }
  }

  function next() {
    const done = state.answers.length;
    const over = done === trials.length;
    byId("trial").hidden = over;
    byId("end").hidden = !over;
    if (over) {
      byId("file-name").textContent = fileName();
      byId("end-title").focus();
    } else {
      show(trials[done], done);
    }
  }

  async function show(trial, done) {
    shownAt = null;
    const count = trial.candidates.length;
    // Two candidates stay side by side on every screen: the arrow keys mean left and right.
    const columns = Math.min(count, window.innerWidth > 600 ? 5 : count === 4 ? 2 : 3);
    byId("trial").style.setProperty("--columns", columns);
    byId("trial").style.setProperty("--rows", Math.ceil(count / columns));
    const compared = setPicture(byId("compared"), trial.question);
    const images = [compared];
    const buttons = trial.candidates.map((candidate, place) => {
      const image = setPicture(document.createElement("img"), candidate.picture);
      image.alt = `Candidate ${place + 1}`;
      image.draggable = false;
      images.push(image);
      const number = document.createElement("span");
      number.textContent = place + 1;
      number.setAttribute("aria-hidden", "true");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "candidate";
      button.append(image, number);
      button.addEventListener("click", () => answer(place));
      return button;
    });
    byId("candidates").replaceChildren(...buttons);
    byId("halfway").hidden = done === 0;
    byId("bar").max = trials.length;
    byId("bar").value = done;
    byId("place").textContent = `${done + 1} of ${trials.length}`;
    byId("question").focus({ preventScroll: true });
    await Promise.all(images.map((image) => image.decode().catch(() => {})));
    shownAt = performance.now();
  }

  function setPicture(image, index) {
    const [uri, width, height] = page.pictures[index];
    image.src = uri;
    image.classList.toggle("coarse", Math.max(width, height) <= 64);
    return image;
  }

  function answer(place) {
    const waited = shownAt === null ? 0 : performance.now() - shownAt;
    if (waited < SOONEST_MS) return;
    state.answers.push([place + 1, Math.round(waited)]);
    state.ended = new Date().toISOString();
    remember(`answers-${state.rater}`, JSON.stringify(state));
    next();
  }

  function onKey(event) {
    if (byId("trial").hidden || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    const buttons = [...byId("candidates").children];
    const two = buttons.length === 2;
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    let place = -1;
    if (/^[0-9]$/.test(event.key)) {
      place = event.key === "0" ? 9 : Number(event.key) - 1;
    } else if (two && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
      place = step < 0 ? 0 : 1;
    } else if (!two && step) {
      event.preventDefault();
      const from = buttons.indexOf(document.activeElement);
      const start = from < 0 && step < 0 ? 0 : from;
      buttons[(start + step + buttons.length) % buttons.length].focus();
      return;
    }
    if (place < 0 || place >= buttons.length) return;
    event.preventDefault();
    answer(place);
  }

  const fileName = () => `rating-${page.page}-${state.rater}.json`;

  function save() {
    const content = {
      format: "bids-recon-ratings",
      version: 1,
      page: page.page,
      task: page.task,
      rater: state.rater,
      seed: page.seed,
      started: state.started,
      ended: state.ended,
      complete: state.answers.length === trials.length,
      trials: state.answers.map(([place, ms], number) => ({
        ...ratingTrials.record(trials[number]),
        answer: place,
        reaction_ms: ms,
      })),
    };
    const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1)], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = fileName();
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  /* A browser may forbid storage, for files above all. */
  function remember(key, value) {
    try {
      localStorage.setItem(`bids-recon-rating-${page.page}-${key}`, value);
      return true;
    } catch {
      return false;
    }
  }

  function recall(key) {
    try {
      return localStorage.getItem(`bids-recon-rating-${page.page}-${key}`);
    } catch {
      return null;
    }
  }
})();
