/* The steps of an enlarged picture, played or drawn by hand. Nothing moves before the button is pressed. */
const filmPlayer = (controls) => {
  "use strict";

  const STEP_MS = 1000 / 3;
  const play = controls.querySelector("#film-play");
  const slider = controls.querySelector("#film-step");
  const place = controls.querySelector("#film-place");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let strip, iterations, canvas, timer;

  /** A film [address of the strip, width and height of a step, iterations], at its first step. */
  function show([uri, width, height, all], label) {
    pause();
    iterations = all;
    slider.max = all.length - 1;
    slider.value = 0;
    canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    canvas.classList.toggle("coarse", Math.max(width, height) <= 64);
    strip = new Image();
    strip.addEventListener("load", draw);
    strip.src = uri;
    draw();
    controls.hidden = false;
    return canvas;
  }

  function draw() {
    const { width, height } = canvas;
    const at = slider.valueAsNumber;
    const text = `iteration ${iterations[at]} of ${iterations.at(-1)}`;
    place.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    if (strip.complete) canvas.getContext("2d").drawImage(strip, at * width, 0, width, height, 0, 0, width, height);
  }

  function name(text, sign) {
    play.textContent = sign;
    play.title = text;
    play.setAttribute("aria-label", text);
  }

  function pause() {
    clearInterval(timer);
    timer = undefined;
    name("Play the steps", "▶");
  }

  function start() {
    if (still.matches) return;
    if (slider.value === slider.max) slider.value = 0;
    draw();
    name("Pause", "❚❚");
    timer = setInterval(() => {
      slider.stepUp();
      draw();
      if (still.matches || slider.value === slider.max) pause();
    }, STEP_MS);
  }

  /** Leave the film. */
  function stop() {
    pause();
    controls.hidden = true;
  }

  play.addEventListener("click", () => (timer === undefined ? start() : pause()));
  slider.addEventListener("input", () => {
    pause();
    draw();
  });
  return { show, stop };
};
