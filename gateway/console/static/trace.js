// A run's trace, as docs/capsules.md describes it: which of its rows are sound, and what it says in words.

/** What is said of each status. */
export const WORDS = { ok: "served", error: "failed", skipped: "skipped" };

export const ms = (count) => (count < 10_000 ? `${count} ms` : `${(count / 1000).toFixed(1)} s`);
export const end = (row) => row.began_ms + row.ms;

/** The rows of a trace that are sound; in the order in which they began. */
export function sound(rows) {
  const fits = (row) => typeof row?.step === "string" && Object.hasOwn(WORDS, row.status) && row.began_ms >= 0 && row.ms >= 0;
  return (Array.isArray(rows) ? rows : []).filter(fits).toSorted((a, b) => a.began_ms - b.began_ms || end(a) - end(b));
}

/** The largest sets of steps that ran at the same time. */
function together(rows) {
  const ran = rows.filter((row) => row.status !== "skipped" && row.ms > 0);
  const sets = ran.map((row) => ran.filter((other) => other.began_ms <= row.began_ms && row.began_ms < end(other)).map(({ step }) => step));
  const largest = sets.filter((set, at) => set.length > 1 &&
    !sets.some((other, place) => place !== at && set.every((step) => other.includes(step)) && (other.length > set.length || place < at)));
  return largest;
}

/** What the trace says in words. */
export function said(rows, whole) {
  const listed = (names) => `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
  const parallel = together(rows).map((set) => `${listed(set)} ran at the same time.`);
  const skipped = rows.filter(({ status }) => status === "skipped").map(({ step }) => step);
  const left = skipped.length ? [`${skipped.length > 1 ? listed(skipped) : skipped[0]} ${skipped.length > 1 ? "were" : "was"} skipped, and cost nothing.`] : [];
  const worked = rows.reduce((sum, row) => sum + row.ms, 0);
  const saved = worked > whole ? ` One after the other they would have taken ${ms(worked)}.` : "";
  return [...parallel, ...left, `The steps took ${ms(whole)}.${saved}`].join(" ");
}
