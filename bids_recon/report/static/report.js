(() => {
  "use strict";

  const FIRST_PAGE = 24;
  const PAGE = 60;
  const byId = (id) => document.getElementById(id);
  const text = (value) => (value === null || value === undefined ? "n/a" : format(value));
  const data = JSON.parse(byId("gallery-data").textContent);

  /** Three significant digits, as in the tables. */
  function format(value) {
    if (value === 0) return "0";
    const magnitude = Math.floor(Math.log10(Math.abs(value)));
    const shown =
      magnitude < -3 || magnitude > 5
        ? value.toExponential(2)
        : value.toFixed(Math.min(3, Math.max(0, 2 - magnitude)));
    return shown.replaceAll("-", "\u2212");
  }

  /** An element; texts are set as text, never read as markup. */
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  filterTables();
  openDetailsForPrint();
  if (byId("gallery-cards")) showGallery();

  function filterTables() {
    for (const form of document.querySelectorAll("form[data-table]")) {
      const selects = [...form.querySelectorAll("select")];
      form.addEventListener("submit", (event) => event.preventDefault());
      form.addEventListener("change", () => {
        for (const body of byId(form.dataset.table).querySelectorAll("tbody")) {
          const rows = [...body.querySelectorAll("tr:not(.group)")];
          for (const row of rows) {
            row.hidden = selects.some((select) => select.value && row.dataset[select.dataset.key] !== select.value);
          }
          body.hidden = rows.every((row) => row.hidden);
        }
      });
    }
  }

  function openDetailsForPrint() {
    let opened = [];
    window.addEventListener("beforeprint", () => {
      opened = [...document.querySelectorAll("details:not([open])")];
      for (const details of opened) details.open = true;
    });
    window.addEventListener("afterprint", () => {
      for (const details of opened) details.open = false;
    });
  }

  function showGallery() {
    const form = byId("gallery-filters");
    const cards = byId("gallery-cards");
    const highlights = byId("gallery-highlights");
    const more = byId("gallery-more");
    const dialog = byId("enlarged");
    const film = byId("film") && filmPlayer(byId("film"));
    let order = []; // indices into data.items of what the filters let through, in the order shown
    let shown = 0; // how many of them have a card
    let current = -1; // the enlarged one, as an index into data.items

    const caption = (item) => ({
      source: [data.subjects[item.subject], data.methods[item.method], data.test_sets[item.test_set]]
        .filter((part) => part)
        .join(" · "),
      score: text(item.score),
    });

    function picture(index, label, alt) {
      const [uri, width, height] = data.pictures[index];
      const image = make("img", { src: uri, alt, decoding: "async" });
      image.classList.toggle("coarse", Math.max(width, height) <= 64);
      return make("span", { className: "picture" }, image, make("small", { textContent: label }));
    }

    function pictures(item) {
      const box = make("span", { className: "pictures" }, picture(item.seen, "seen", `Seen: ${item.id}`));
      const label = item.film === null ? "reconstructed" : "reconstructed\u00a0▸";
      box.append(picture(item.reconstructed, label, `Reconstructed: ${item.id}`));
      if (item.ceiling !== null) box.append(picture(item.ceiling, "ceiling", `From true latents: ${item.id}`));
      return box;
    }

    function card(index, role) {
      const item = data.items[index];
      const { source, score } = caption(item);
      const button = make(
        "button",
        { type: "button", className: "card", title: item.id },
        pictures(item),
        make(
          "span",
          { className: "caption" },
          make("span", { className: "name", textContent: item.id }),
          make("span", { className: "score", textContent: score, title: data.score_name }),
        ),
        make("span", { className: "source", textContent: source }),
      );
      button.dataset.item = index;
      button.setAttribute("aria-label", `${role ? `${role}: ` : ""}${item.id}, ${source}, ${data.score_name} ${score}${item.film === null ? "" : ", with steps"}. Enlarge`);
      button.addEventListener("click", () => enlarge(index));
      return button;
    }

    function update() {
      const wanted = {};
      for (const select of form.querySelectorAll("select[data-key]")) {
        if (select.value) wanted[select.dataset.key] = Number(select.value);
      }
      const part = byId("gallery-search").value.trim().toLowerCase();
      // data.items are best first, those without a score last.
      const best = data.items.map((_, index) => index).filter((index) => {
        const item = data.items[index];
        return (
          Object.keys(wanted).every((key) => item[key] === wanted[key]) && (!part || item.id.toLowerCase().includes(part))
        );
      });
      const scored = best.filter((index) => data.items[index].score !== null);
      const unscored = best.filter((index) => data.items[index].score === null);
      const collator = new Intl.Collator("en", { numeric: true });
      order = {
        best: () => best,
        worst: () => [...scored].reverse().concat(unscored),
        name: () => [...best].sort((a, b) => collator.compare(data.items[a].id, data.items[b].id) || a - b),
      }[byId("gallery-order").value]();
      byId("gallery-count").textContent =
        order.length === data.items.length ? `${order.length} pictures` : `${order.length} of ${data.items.length} pictures`;
      highlight(scored);
      shown = 0;
      cards.replaceChildren();
      showMore();
    }

    function highlight(scored) {
      highlights.replaceChildren();
      if (scored.length < 3) return;
      const chosen = { Best: 0, Median: Math.floor((scored.length - 1) / 2), Worst: scored.length - 1 };
      for (const [role, place] of Object.entries(chosen)) {
        highlights.append(make("div", {}, make("h3", { textContent: role }), card(scored[place], role)));
      }
    }

    function showMore() {
      const next = order.slice(shown, shown + (shown ? PAGE : FIRST_PAGE));
      cards.append(...next.map((index) => make("li", {}, card(index))));
      shown += next.length;
      more.hidden = shown >= order.length;
      more.textContent = `Show more (${order.length - shown} left)`;
    }

    function enlarge(index) {
      current = index;
      const item = data.items[index];
      const place = order.indexOf(index);
      byId("enlarged-title").textContent = item.id;
      byId("enlarged-source").textContent = caption(item).source;
      byId("enlarged-place").textContent = place < 0 ? "" : `${place + 1} / ${order.length}`;
      byId("enlarged-previous").ariaDisabled = String(place <= 0);
      byId("enlarged-next").ariaDisabled = String(place + 1 >= order.length);
      const box = pictures(item);
      if (item.film === null) {
        film?.stop();
      } else {
        const canvas = film.show(data.films[item.film], `Steps of the reconstruction: ${item.id}`);
        box.firstChild.after(make("span", { className: "picture" }, canvas, make("small", { textContent: "step by step" })));
      }
      byId("enlarged-pictures").replaceChildren(box);
      byId("enlarged-scores").replaceChildren(scoreTable(item));
      byId("enlarged-others").replaceChildren(...others(item));
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
    }

    function scoreTable(item) {
      const heading = (name, numeric) => make("th", { scope: "col", textContent: name, className: numeric ? "num" : "" });
      const number = (value) => make("td", { className: "num", textContent: value });
      const rows = data.metrics.map((metric, place) => {
        const key = [item.subject, item.method, item.test_set, place].join();
        const set = data.references[key] ?? ["n/a", "n/a", "n/a"];
        return make("tr", {}, make("td", { textContent: metric }), number(text(item.scores[place])), ...set.map(number));
      });
      if (!data.metrics.includes(data.score_name)) {
        const cells = [number(text(item.score)), number("n/a"), number("n/a"), number("n/a")];
        rows.unshift(make("tr", {}, make("td", { textContent: data.score_name }), ...cells));
      }
      const head = make(
        "tr",
        {},
        heading("Measure"),
        ...["This picture", "Whole set", "Floor", "Ceiling"].map((name) => heading(name, true)),
      );
      const table = make("table", { className: "plain" }, make("thead", {}, head), make("tbody", {}, ...rows));
      return make("div", { className: "scroll" }, table);
    }

    /** The same picture as reconstructed from other participants or by other methods. */
    function others(item) {
      const same = data.items
        .map((_, index) => index)
        .filter((index) => data.items[index].id === item.id && data.items[index].test_set === item.test_set);
      if (same.length < 2) return [];
      const strip = make("div", { className: "strip" });
      for (const index of same) {
        const other = data.items[index];
        const label = `${data.subjects[other.subject]} · ${data.methods[other.method]}`;
        const button = make(
          "button",
          { type: "button", className: "card", title: label },
          picture(other.reconstructed, text(other.score), `Reconstructed: ${label}`),
          make("span", { className: "source", textContent: label }),
        );
        if (index === current) button.setAttribute("aria-current", "true");
        button.addEventListener("click", () => enlarge(index));
        strip.append(button);
      }
      return [make("h3", { textContent: "The same picture elsewhere" }), strip];
    }

    function step(by) {
      const place = order.indexOf(current) + by;
      if (place >= 0 && place < order.length) enlarge(order[place]);
    }

    form.addEventListener("submit", (event) => event.preventDefault());
    for (const select of form.querySelectorAll("select")) select.addEventListener("change", update);
    byId("gallery-search").addEventListener("input", update);
    more.addEventListener("click", showMore);
    byId("enlarged-previous").addEventListener("click", () => step(-1));
    byId("enlarged-next").addEventListener("click", () => step(1));
    byId("enlarged-close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    document.addEventListener("keydown", (event) => {
      if (!dialog.open || event.target.type === "range") return;
      if (event.key === "ArrowLeft") step(-1);
      else if (event.key === "ArrowRight") step(1);
      else return;
      event.preventDefault();
    });
    dialog.addEventListener("close", () => {
      film?.stop();
      // Back to the card of what was looked at last, where there is one.
      cards.querySelector(`[data-item="${current}"]`)?.focus();
    });
    update();
  }
})();
