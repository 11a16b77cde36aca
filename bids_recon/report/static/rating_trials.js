/* Which trials a rater sees. The same as report/rating_trials.py, step by step: change both. */
const ratingTrials = (() => {
  "use strict";

  const CATCH_EVERY = 20;

  /** Mulberry32 (T. Ettinger, public domain). */
  function generator(seed) {
    let state = seed >>> 0;
    const next = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (t ^ (t >>> 14)) >>> 0;
    };
    const below = (n) => Math.floor((next() * n) / 2 ** 32);
    const shuffled = (values) => {
      const order = [...values];
      for (let last = order.length - 1; last > 0; last--) {
        const other = below(last + 1);
        [order[last], order[other]] = [order[other], order[last]];
      }
      return order;
    };
    return { below, shuffled };
  }

  /** FNV-1a of an ASCII text. */
  function hash32(text) {
    let value = 0x811c9dc5;
    for (let place = 0; place < text.length; place++) {
      value = Math.imul(value ^ text.charCodeAt(place), 0x01000193) >>> 0;
    }
    return value;
  }

  const range = (n) => [...Array(n).keys()];
  const countVariants = (group) => (group.blocks ?? group.comparisons).length;

  function draw(page, rater) {
    const own = generator(hash32(`${page.seed} ${rater}`));
    const variants = page.units.map((unit) => countVariants(page.groups[unit.group]));
    const total = variants.reduce((sum, n) => sum + n, 0);
    const most = Math.max(...variants);
    const limit = Math.min(page.max_trials, total);
    const shared = limit === total ? limit : Math.floor(limit / 4);

    let chosen = [];
    const sharedOf = page.units.map(() => 0);
    for (let turn = 0; turn < most && chosen.length < shared; turn++) {
      for (let unit = 0; unit < variants.length && chosen.length < shared; unit++) {
        if (turn >= variants[unit]) continue;
        chosen.push([unit, turn]);
        sharedOf[unit]++;
      }
    }
    const orders = page.groups.map((group) => own.shuffled(range(countVariants(group))));
    const rest = new Map();
    const restOf = (group, n) => {
      const key = `${group} ${n}`;
      if (!rest.has(key)) rest.set(key, orders[group].filter((variant) => variant >= n));
      return rest.get(key);
    };
    for (let turn = 0; turn < most && chosen.length < limit; turn++) {
      for (const unit of own.shuffled(range(variants.length))) {
        if (chosen.length === limit) break;
        const n = sharedOf[unit];
        if (n <= turn && turn < variants[unit]) {
          chosen.push([unit, restOf(page.units[unit].group, n)[turn - n]]);
        }
      }
    }

    chosen = own.shuffled(range(limit)).map((place) => chosen[place]);
    const places = (n) => own.shuffled(range(n).map((place) => place % page.alternatives));
    const targets = places(limit);
    const trials = chosen.map(([unit, variant], place) => trial(page, own, unit, variant, targets[place], false));
    const catchTargets = places(Math.ceil(limit / CATCH_EVERY));
    const all = [];
    catchTargets.forEach((target, number) => {
      const part = trials.slice(number * CATCH_EVERY, (number + 1) * CATCH_EVERY);
      const place = own.below(part.length + 1);
      const unit = own.below(variants.length);
      const extra = trial(page, own, unit, own.below(variants[unit]), target, true);
      all.push(...part.slice(0, place), extra, ...part.slice(place));
    });
    return all;
  }

  function trial(page, own, unit, variant, target, isCatch) {
    const of = page.units[unit];
    const group = page.groups[of.group];
    let question, right, foils, about;
    if (group.blocks) {
      right = group.stimuli[of.stimulus];
      foils = group.blocks[variant].map((shift) => group.stimuli[(of.stimulus + shift) % group.stimuli.length]);
      // A catch trial shows the original in place of what was made of it.
      question = isCatch ? right.picture : of.picture;
      about = { subject: group.subject, method: group.method, test_set: group.test_set, stimulus_id: of.stimulus_id };
    } else {
      const comparison = group.comparisons[variant];
      question = comparison.original;
      const sources = ["first", "second"].map((key) => ({ ...group[key], picture: comparison[key] }));
      [right, foils] = isCatch
        ? [{ original: true, picture: question }, [sources[own.below(2)]]]
        : [sources[0], [sources[1]]];
      about = { test_set: group.test_set, stimulus_id: comparison.stimulus_id };
    }
    const candidates = own.shuffled(range(foils.length)).map((place) => foils[place]);
    candidates.splice(target, 0, right);
    return { catch: isCatch, about, question, candidates };
  }

  /** The question as a file of answers describes it. */
  function record(one) {
    const shown = one.candidates.map(({ picture, ...rest }) => rest);
    return { catch: one.catch, ...one.about, candidates: shown };
  }

  return { draw, record };
})();
